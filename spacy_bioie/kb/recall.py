"""How many of the nearest names an index finds that does not compare all vectors as they are."""

from typing import List, Sequence

import numpy

from .faiss_backend import import_faiss
from .index import NameIndex
from .normalisation import normalise_name

RECALL_AT = 10


class ExactNeighbours:
    """The k nearest of vectors that are seen a part at a time.

    queries: float32, (n, dims).
    """

    def __init__(self, queries: numpy.ndarray, k: int = RECALL_AT):
        self.queries = queries
        self.k = k
        self.scores = numpy.zeros((len(queries), 0), dtype="float32")
        self.rows = numpy.zeros((len(queries), 0), dtype="int64")
        self.seen = 0

    def add(self, vectors: numpy.ndarray) -> None:
        """Compare with further vectors, float32, (m, dims); rows are counted on."""
        faiss = import_faiss()
        k = min(self.k, len(vectors))
        scores, rows = faiss.knn(self.queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        scores = numpy.concatenate([self.scores, scores], axis=1)
        rows = numpy.concatenate([self.rows, rows + self.seen], axis=1)
        best = numpy.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        self.scores = numpy.take_along_axis(scores, best, axis=1)
        self.rows = numpy.take_along_axis(rows, best, axis=1)
        self.seen += len(vectors)

    def recall(self, index: NameIndex) -> float:
        """The share of these neighbours that are among the k that an index finds."""
        _, found = index.search(self.queries, self.k)
        return float((self.rows[:, :, None] == found[:, None, :]).any(axis=2).mean())


def misspelt_names(names: Sequence[str], n: int, seed: int = 0) -> List[str]:
    """Up to n of the names, drawn at random, with one slip each.

    A character is left out, or two neighbours change places. Names as they are would be easier to
    find than mentions: each is its own nearest neighbour, from which a graph is searched.
    """
    random = numpy.random.default_rng(seed)
    rows = random.choice(len(names), size=min(n, len(names)), replace=False)
    out = []
    for row in numpy.sort(rows).tolist():
        name = names[row]
        at = int(random.integers(max(len(name) - 1, 1)))
        if random.random() < 0.5:
            slip = name[:at] + name[at + 1 :]
        else:
            slip = name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
        out.append(normalise_name(slip) or name)
    return out
