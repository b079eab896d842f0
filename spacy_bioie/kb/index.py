"""The faiss index over name vectors."""

import os
from pathlib import Path
from typing import Any, Optional, Tuple, Union

import numpy

from .faiss_backend import import_faiss

DEVICES = ("auto", "cpu", "gpu")


class NameIndex:
    """Inner-product search over name vectors; row i of the index is name i.

    device: ``cpu``; ``gpu``, which raises where faiss sees none; or ``auto``, a GPU where faiss
    sees one that can hold the index. What is saved and pickled always is the CPU index; each
    process makes its own copy on the GPU at its first search.
    """

    def __init__(self, index: Any, device: str = "auto"):
        self.index = index
        self.device = check_device(device)
        self._clone: Optional[Tuple[int, Any, Any]] = None  # process id, resources, GPU index

    @classmethod
    def build(
        cls,
        vectors: numpy.ndarray,
        factory: str = "Flat",
        search_parameters: str = "",
        train_sample: int = 200_000,
    ) -> "NameIndex":
        """Index vectors: float32, (names, dims).

        factory: a faiss index factory string, such as ``Flat``, ``SQ8``, ``HNSW32`` or
            ``IVF1024,PQ64``.
        search_parameters: faiss parameters of the search, such as ``nprobe=32``; they are saved.
        train_sample: an index that has to be trained is trained on so many vectors, evenly spread.

        Raises ValueError where faiss refuses the strings, or has too few vectors to train on.
        """
        faiss = import_faiss()
        vectors = numpy.ascontiguousarray(vectors, dtype="float32")
        n, dims = vectors.shape
        try:
            index = faiss.index_factory(dims, factory, faiss.METRIC_INNER_PRODUCT)
            if not index.is_trained and n:
                step = max(n // train_sample, 1)
                index.train(numpy.ascontiguousarray(vectors[::step][:train_sample]))
            if n:
                index.add(vectors)
                _make_reconstructable(faiss, index)
            if search_parameters:
                faiss.ParameterSpace().set_index_parameters(index, search_parameters)
        except RuntimeError as error:
            raise ValueError(
                f"faiss cannot build the index '{factory}' (search parameters "
                f"'{search_parameters}') over {n} vectors of width {dims}: {error}"
            ) from error
        return cls(index)

    @classmethod
    def read(cls, path: Union[str, Path], *, mmap: bool = True) -> "NameIndex":
        """Read a saved index, memory-mapped or into memory.

        Raises ValueError that names the file where faiss cannot read it.
        """
        faiss = import_faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mmap else 0)
        except RuntimeError as error:
            raise ValueError(f"'{path}': expected an index written by faiss, but {error}") from None
        return cls(index)

    def write(self, path: Union[str, Path]) -> None:
        """Save the CPU index."""
        import_faiss().write_index(self.index, str(path))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def dims(self) -> int:
        return int(self.index.d)

    @property
    def is_exact(self) -> bool:
        """Whether the index holds the vectors as they are and compares all of them."""
        faiss = import_faiss()
        return isinstance(faiss.downcast_index(self.index), faiss.IndexFlat)

    def search(self, queries: numpy.ndarray, k: int) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """The k nearest names of each query, best first.

        queries: float32, (n, dims).
        RETURNS: inner products, float32, and rows, int64 (-1 where there are fewer than k), both
            of shape (n, min(k, names)).
        """
        k = min(k, len(self))
        n = len(queries)
        if not n or not k:
            return numpy.zeros((n, k), dtype="float32"), numpy.full((n, k), -1, dtype="int64")
        queries = numpy.ascontiguousarray(queries, dtype="float32")
        return self._searcher().search(queries, k)

    def vectors(self, rows: numpy.ndarray) -> numpy.ndarray:
        """The vectors of these rows, as far as the index keeps them: float32, (rows, dims)."""
        if not len(rows):
            return numpy.zeros((0, self.dims), dtype="float32")
        return self.index.reconstruct_batch(numpy.ascontiguousarray(rows, dtype="int64"))

    def _searcher(self) -> Any:
        if self.device == "cpu":
            return self.index
        faiss = import_faiss()
        if not _gpu_count(faiss):
            if self.device == "gpu":
                raise ValueError(
                    "The device of the knowledge base is 'gpu', but faiss sees no GPU. Expected "
                    "'auto' or 'cpu' here, or `pip install spacy_bioie[gpu]` (without faiss-cpu) "
                    "on a machine with CUDA."
                )
            return self.index
        if self._clone is None or self._clone[0] != os.getpid():
            resources = faiss.StandardGpuResources()
            try:
                clone = faiss.index_cpu_to_gpu(resources, 0, self.index)
            except RuntimeError as error:
                if self.device == "gpu":
                    raise ValueError(
                        "The device of the knowledge base is 'gpu', but faiss cannot copy an "
                        f"index of this kind to one: {error}"
                    ) from error
                clone = self.index
            self._clone = (os.getpid(), resources, clone)
        return self._clone[2]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_clone": None}


def check_device(device: str) -> str:
    """Return ``device``; raises ValueError where it is none of ``auto``, ``cpu`` and ``gpu``."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}: expected one of {list(DEVICES)}.")
    return device


def _gpu_count(faiss: Any) -> int:
    return faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0


def _make_reconstructable(faiss: Any, index: Any) -> None:
    """Let an inverted-file index find a vector by its row."""
    try:
        faiss.extract_index_ivf(index).make_direct_map()
    except RuntimeError:  # it has no inverted file
        return
