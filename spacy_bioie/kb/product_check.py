"""Whether what an index gives are inner products; faiss builds some that give distances."""

from typing import Any

import numpy

_QUERIES = 16
_NEAREST = 10
# So much of its inner product with itself a vector that is stored has to find. Quantizers that keep
# little of a vector give more; distances and products of whitened vectors are far below
_LEAST_SHARE = 0.1


def check_products(index: Any, vectors: numpy.ndarray) -> None:
    """Search some of the vectors that are in a faiss index, and look at the scores.

    vectors: those that the index holds, in their order: float32, (n, dims).

    Raises RuntimeError where scores ascend, as distances do (``HNSW`` over ``PQ``), where what a
    vector finds scores far below its inner product with itself, or where the index cannot give
    vectors back.
    """
    rows = numpy.flatnonzero(vectors.any(axis=1))
    rows = rows[numpy.linspace(0, len(rows) - 1, min(len(rows), _QUERIES)).astype("int64")]
    if not len(rows):
        return
    queries = numpy.ascontiguousarray(vectors[rows], dtype="float32")
    scores, found = index.search(queries, min(_NEAREST, len(vectors)))
    both = (found[:, 1:] >= 0) & (found[:, :-1] >= 0)
    ascending = bool((numpy.diff(scores, axis=1)[both] > 1e-6).any())
    hit = found[:, 0] >= 0
    if ascending or scores[hit, 0].sum() < _LEAST_SHARE * (queries[hit] ** 2).sum():
        raise RuntimeError("its scores are no inner products: expected an index of another kind")
    index.reconstruct_batch(rows[:1])
