"""The arrays of codes inside a faiss index, in the order of its vectors."""

from typing import Any, List, Optional, Tuple

import numpy

from .faiss_backend import import_faiss


class FlatCodes:
    """What an index is made of that is nothing but codes, one after another.

    arrays: the indexes that hold them: ``Flat``, ``SQ..`` or ``PQ..`` alone or behind ``OPQ..`` or
    ``PCA..``, and two of them where one refines the other. wrappers: the indexes around them.
    """

    def __init__(self, wrappers: List[Any], arrays: List[Any]):
        self.wrappers = wrappers
        self.arrays = arrays

    @classmethod
    def of(cls, index: Any) -> Optional["FlatCodes"]:
        """The codes of an index; None where it holds more, such as lists or a graph."""
        found = _parts(index)
        return cls(*found) if found else None

    def keep(self, ids: numpy.ndarray) -> None:
        """Drop all vectors but these (sorted, int64); they move up and keep their order."""
        for array in self.arrays:
            array.remove_ids(numpy.setdiff1d(numpy.arange(array.ntotal), ids))
        for wrapper in self.wrappers:
            wrapper.ntotal = len(ids)

    def reorder(self, ids: numpy.ndarray) -> None:
        """Bring the vector that is now at ``ids[i]`` to place i: int64, each of them once."""
        for array in self.arrays:
            array.permute_entries(ids)


def reserve_codes(index: Any, n: int) -> None:
    """Make room for n vectors in the arrays of codes of an index, also of one that holds more.

    Arrays that grow are copied, which takes them twice: those of a refinement over lists too.
    """
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexFlatCodes):
        size = index.codes.size()
        index.codes.resize(n * index.code_size)
        index.codes.resize(size)
    for part in _inner(index):
        reserve_codes(part, n)


def _parts(index: Any) -> Optional[Tuple[List[Any], List[Any]]]:
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexFlatCodes):
        return [], [index]
    found = [_parts(part) for part in _inner(index)]
    if not found or any(part is None for part in found):
        return None
    wrappers, arrays = zip(*filter(None, found), strict=True)
    return [index, *sum(wrappers, [])], sum(arrays, [])


def _inner(index: Any) -> List[Any]:
    """The indexes that an index, downcast, is wrapped around."""
    faiss = import_faiss()
    if isinstance(index, faiss.IndexPreTransform):
        return [index.index]
    if isinstance(index, faiss.IndexRefine):
        return [index.base_index, index.refine_index]
    return []
