"""Whether what an index gives are inner products; faiss builds some that give distances."""

from typing import Any

import numpy

_QUERIES = 16
_NEAREST = 10
# Of their own inner product so much at least must be found for vectors that were stored: quantizers
# that keep little of a vector still give more, distances and whitened vectors do not
_LEAST_SHARE = 0.1


def check_products(index: Any, vectors: numpy.ndarray) -> None:
    """Search some of the vectors that are in a faiss index, and look at the scores.

    vectors: those that the index holds, in their order: float32, (n, dims).

    Raises RuntimeError where scores ascend, as distances do (``HNSW`` over ``PQ``), where a vector
    scores far below its inner product with what it finds, or where the index gives no vectors back.
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
    products = numpy.einsum("ij,ij->i", queries[hit], vectors[found[hit, 0]])
    if ascending or scores[hit, 0].sum() < _LEAST_SHARE * products.sum():
        raise RuntimeError("its scores are no inner products: expected an index of another kind")
    index.reconstruct_batch(rows[:1])
