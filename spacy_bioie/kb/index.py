"""The faiss index over name vectors."""

import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional, Tuple, Union

import numpy
from thinc.compat import has_torch_cuda_gpu

from .faiss_backend import import_faiss
from .flat_codes import FlatCodes, reserve_codes
from .product_check import check_products
from .torch_search import TorchSearcher

DEVICES = ("auto", "cpu", "gpu", "gpu_fp16")
_ADDED_AT_ONCE = 65_536
# faiss ends the process where a graph or lists like these are filled or searched
_EMPTY_PARTS = re.compile(r"IVF0+(?![0-9])|HNSW0*[01](?![0-9])")


class NameIndex:
    """Inner-product search over name vectors.

    index: of faiss.
    positions: for each name the place of its vector in the index, int32, (names,); by default
        vector i is that of name i. Vectors that no name has are passed over in every search.
    device: ``cpu``; ``gpu``, which raises where there is none that can hold the index;
    ``gpu_fp16``, the same with vectors stored in half precision; or ``auto``, a GPU where one can
    hold the index. faiss searches on a GPU that it sees. Where torch alone sees one, torch
    searches an exact index there. What is saved and pickled always is the CPU index; each process
    makes its own copy on the GPU at its first search.
    """

    def __init__(self, index: Any, device: str = "auto", positions: Optional[numpy.ndarray] = None):
        self.index = index
        self.device = check_device(device)
        self.positions = positions
        self.factory = ""  # for errors, where it is known
        self._rows: Optional[numpy.ndarray] = None  # the inverse of positions, -1 for no name
        if positions is not None:
            self._rows = numpy.full((index.ntotal,), -1, dtype="int32")
            self._rows[positions] = numpy.arange(len(positions))
        # of (process id, device): resources of faiss, and the index on the GPU
        self._clone: Optional[Tuple[Tuple[int, str], Any, Any]] = None

    @classmethod
    def create(cls, dims: int, factory: str = "Flat", search_parameters: str = "") -> "NameIndex":
        """An index without vectors, of this width; see ``build``."""
        faiss = import_faiss()
        with _refusals(
            f"faiss cannot build the index '{factory}' (search parameters '{search_parameters}') "
            f"for vectors of width {dims}"
        ):
            if _EMPTY_PARTS.search(factory):
                raise RuntimeError("expected lists above 0 (IVF), or links above 1 (HNSW)")
            index = faiss.index_factory(dims, factory, faiss.METRIC_INNER_PRODUCT)
            if search_parameters:
                faiss.ParameterSpace().set_index_parameters(index, search_parameters)
        _make_reconstructable(faiss, index)
        created = cls(index)
        created.factory = factory
        return created

    @classmethod
    def build(
        cls,
        vectors: numpy.ndarray,
        factory: str = "Flat",
        search_parameters: str = "",
        train_sample: int = 200_000,
    ) -> "NameIndex":
        """Index vectors: float32, (names, dims), in memory or mapped.

        factory: a faiss index factory string, such as ``Flat``, ``SQ8``, ``HNSW32``,
            ``IVF1024,PQ64``, ``OPQ32,PQ32`` or ``SQ4,Refine(SQ8)``, of a kind that takes inner
            products, and vectors in parts. For many names with vectors of 640 dimensions
            ``PCAR384,PQ64x4fs_64,Refine(RR640,SQ8)`` compares all of them by 32 bytes each, and
            with ``k_factor_rf=300`` the best 3000 again, when 10 are asked for; turned at random
            (``RR640``), all dimensions are alike, and ``SQ8`` loses less of them.
        search_parameters: faiss parameters of the search, such as ``nprobe=32``,
            ``efSearch=64`` or ``k_factor_rf=4``; they are saved.
        train_sample: an index that has to be trained is trained on so many vectors, evenly spread.

        Raises ValueError where faiss refuses the strings, or has too few vectors to train on.
        """
        n, dims = vectors.shape
        index = cls.create(dims, factory, search_parameters)
        if n and not index.is_trained:
            index.train(vectors[spread_rows(n, train_sample)])
        index.reserve(n)
        for begin in range(0, n, _ADDED_AT_ONCE):
            index.add(vectors[begin : begin + _ADDED_AT_ONCE])
        return index

    @property
    def is_trained(self) -> bool:
        """Whether vectors can be added."""
        return bool(self.index.is_trained)

    def train(self, vectors: numpy.ndarray) -> None:
        """Train an index that has to be trained. Raises ValueError where these are too few."""
        with self._refusals(f"{len(vectors)} vectors to train on"):
            self.index.train(numpy.ascontiguousarray(vectors, dtype="float32"))

    def reserve(self, n: int) -> None:
        """Make room for n vectors, as far as the index lies in arrays that would grow."""
        reserve_codes(self.index, n)

    def add(self, vectors: numpy.ndarray) -> None:
        """Add the vectors of further names to an index that was not updated.

        Raises ValueError where faiss cannot add them, or the index does not give inner products.
        """
        with self._refusals(f"{len(self)} vectors and {len(vectors)} more"):
            is_first = not self.index.ntotal
            self.index.add(numpy.ascontiguousarray(vectors, dtype="float32"))
            if is_first:
                check_products(self.index, vectors)
        self._clone = None

    def updated(self, kept: numpy.ndarray, vectors: Iterable[numpy.ndarray]) -> "NameIndex":
        """The index of other names, some of which it has already; it stays as it is itself.

        kept: for each name of the result its row here, -1 for a new name: int64.
        vectors: those of the new names in their order, float32, some at a time.

        What is stored of a name stays as it is. An index that consists of codes (``Flat``, and
        see ``FlatCodes``) becomes what it would be if it were trained as before and filled anew.
        In others (``IVF``, ``HNSW``) new vectors come last, and those of names that are gone stay
        behind, see ``unused``.

        Raises ValueError where faiss cannot add vectors to the index.
        """
        index = NameIndex(_writable_copy(self.index), self.device)
        known = kept >= 0
        positions = numpy.empty((len(kept),), dtype="int64")
        rows = kept[known]
        positions[known] = rows if self.positions is None else self.positions[rows]
        codes = FlatCodes.of(index.index)
        if codes is not None:
            remaining = numpy.sort(positions[known])
            codes.keep(remaining)
            positions[known] = numpy.searchsorted(remaining, positions[known])
        positions[~known] = numpy.arange(len(kept) - len(rows)) + len(index)
        for part in vectors:
            index.add(part)
        if codes is not None:
            codes.reorder(positions)
            return index
        return NameIndex(index.index, self.device, positions.astype("int32"))

    @classmethod
    def read(
        cls,
        path: Union[str, Path],
        *,
        mmap: bool = True,
        positions: Optional[numpy.ndarray] = None,
    ) -> "NameIndex":
        """Read a saved index, memory-mapped or into memory.

        positions: of an index that was updated; they are saved apart from it.

        Raises ValueError that names the file where faiss cannot read it.
        """
        faiss = import_faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mmap else 0)
        except RuntimeError as error:
            raise ValueError(f"'{path}': expected an index written by faiss, but {error}") from None
        return cls(index, positions=positions)

    def write(self, path: Union[str, Path]) -> None:
        """Save the CPU index."""
        import_faiss().write_index(self.index, str(path))

    def __len__(self) -> int:
        """The number of names."""
        return int(self.index.ntotal) if self.positions is None else len(self.positions)

    @property
    def unused(self) -> int:
        """How many vectors are those of names that are gone."""
        return int(self.index.ntotal) - len(self)

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
        if self._rows is None:
            return self._searcher().search(queries, k)
        return self._search_used(queries, k, self._rows)

    def vectors(self, rows: numpy.ndarray) -> numpy.ndarray:
        """The vectors of these rows, as far as the index keeps them: float32, (rows, dims)."""
        if not len(rows):
            return numpy.zeros((0, self.dims), dtype="float32")
        if self.positions is not None:
            rows = self.positions[rows]
        return self.index.reconstruct_batch(numpy.ascontiguousarray(rows, dtype="int64"))

    def _search_used(
        self, queries: numpy.ndarray, k: int, rows: numpy.ndarray
    ) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """Search, and search for more where unused vectors take the places of names."""
        total = len(rows)
        products = numpy.full((len(queries), k), -numpy.inf, dtype="float32")
        found = numpy.full((len(queries), k), -1, dtype="int64")
        asked = numpy.arange(len(queries))
        wanted = k + min(k, self.unused)
        while len(asked):
            scores, places = self._searcher().search(queries[asked], wanted)
            names = numpy.where(places >= 0, rows[places], -1)
            rank = numpy.cumsum(names >= 0, axis=1) - 1
            which, column = numpy.nonzero((names >= 0) & (rank < k))
            at = asked[which], rank[which, column]
            products[at], found[at] = scores[which, column], names[which, column]
            # -1 in the last place: the index has no more for this query
            asked = asked[(rank[:, -1] < k - 1) & (places[:, -1] >= 0) & (wanted < total)]
            wanted = min(2 * wanted, total)
        return products, found

    def _refusals(self, what: str) -> Any:
        kind = self.factory or type(import_faiss().downcast_index(self.index)).__name__
        return _refusals(f"faiss cannot build the index '{kind}' of width {self.dims} with {what}")

    def _searcher(self) -> Any:
        if self.device == "cpu":
            return self.index
        faiss = import_faiss()
        by_faiss = bool(_gpu_count(faiss))
        if not by_faiss and not (_torch_has_gpu() and self.is_exact):
            if self.device != "auto":
                raise ValueError(
                    f"The device of the knowledge base is '{self.device}', but faiss sees no GPU, "
                    "and torch none on which it could search an exact index. Expected 'auto' or "
                    "'cpu' here, or `pip install spacy_bioie[gpu]` (without faiss-cpu) on a "
                    "machine with CUDA."
                )
            return self.index
        key = (os.getpid(), self.device)
        if self._clone is None or self._clone[0] != key:
            resources, clone = None, self.index
            half = self.device == "gpu_fp16"
            try:
                if by_faiss:
                    resources = faiss.StandardGpuResources()
                    options = faiss.GpuClonerOptions()
                    options.useFloat16 = half
                    clone = faiss.index_cpu_to_gpu(resources, 0, self.index, options)
                else:
                    clone = TorchSearcher.from_index(self.index, "cuda", half)
            except RuntimeError as error:
                if self.device != "auto":
                    raise ValueError(
                        f"The device of the knowledge base is '{self.device}', but "
                        f"{'faiss' if by_faiss else 'torch'} cannot copy an index of this kind to "
                        f"one: {error}"
                    ) from error
            self._clone = (key, resources, clone)
        return self._clone[2]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_clone": None}


def spread_rows(n: int, most: int) -> numpy.ndarray:
    """Up to ``most`` of n rows, evenly spread: int64, ascending.

    Raises ValueError where ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"train_sample is {most}: expected at least 1.")
    kept = min(n, most)
    return numpy.arange(kept, dtype="int64") * n // max(kept, 1)


def check_device(device: str) -> str:
    """Return ``device``; raises ValueError where it is none of ``DEVICES``."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}: expected one of {list(DEVICES)}.")
    return device


def _gpu_count(faiss: Any) -> int:
    return faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0


def _torch_has_gpu() -> bool:
    return bool(has_torch_cuda_gpu)


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"{what}: {error}") from error


def _writable_copy(index: Any) -> Any:
    """A copy in memory; faiss' own copy of an index that is mapped is mapped as well."""
    faiss = import_faiss()
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        file = str(Path(folder) / "index")
        faiss.write_index(index, file)
        return faiss.read_index(file)


def _make_reconstructable(faiss: Any, index: Any) -> None:
    """Let an inverted-file index find a vector by its row."""
    try:
        faiss.extract_index_ivf(index).make_direct_map()
    except RuntimeError:  # it has no inverted file
        return
