"""Indexing names, a part of them at a time."""

from typing import Iterator, Optional, Sequence, Tuple

import numpy
from tqdm import tqdm

from .index import NameIndex, spread_rows
from .name_vectors import NameVectorizer
from .recall import ExactNeighbours, misspelt_names

# So many vectors are in memory beside the index and the sample that it is trained on
CHUNK = 8192


def index_names(
    vectorizer: NameVectorizer,
    names: Sequence[str],
    factory: str = "Flat",
    search_parameters: str = "",
    *,
    train_sample: int = 200_000,
    recall_queries: int = 500,
    seed: int = 0,
    progress: bool = False,
) -> Tuple[NameIndex, Optional[float]]:
    """Index names, each of which is turned into a vector once.

    factory, search_parameters, train_sample: see ``NameIndex.build``.
    recall_queries: measure recall with so many misspelt names, see ``misspelt_names``; 0 for no
        measurement.
    seed: of their choice.

    RETURNS: the index, and recall@10: the share of the 10 nearest names by exact search over all
    vectors that the index finds among its first 10; None where it is exact or nothing is measured.
    Raises ValueError where faiss refuses the strings, or has too few names to train on.
    """
    index = NameIndex.create(vectorizer.dims, factory, search_parameters)
    rows = numpy.zeros((0,), dtype="int64")
    if not index.is_trained:
        rows = spread_rows(len(names), train_sample)
    exact = None
    if recall_queries and not index.is_exact:
        exact = ExactNeighbours(vectorizer.vectors(misspelt_names(names, recall_queries, seed)))
    with tqdm(desc="Encoding names", total=len(names), unit="name", disable=not progress) as bar:
        sample = numpy.empty((len(rows), vectorizer.dims), dtype="float32")
        for begin in range(0, len(rows), CHUNK):
            part = [names[row] for row in rows[begin : begin + CHUNK].tolist()]
            sample[begin : begin + len(part)] = vectorizer.vectors(part)
            bar.update(len(part))
        if len(rows):
            index.train(sample)
        index.reserve(len(names))
        for begin in range(0, len(names), CHUNK):
            part = list(names[begin : begin + CHUNK])
            known = slice(*numpy.searchsorted(rows, [begin, begin + len(part)]))
            new = numpy.ones((len(part),), dtype="bool")
            new[rows[known] - begin] = False
            vectors = numpy.empty((len(part), vectorizer.dims), dtype="float32")
            vectors[~new] = sample[known]
            vectors[new] = vectorizer.vectors([part[i] for i in numpy.nonzero(new)[0].tolist()])
            index.add(vectors)
            if exact is not None:
                exact.add(vectors)
            bar.update(int(new.sum()))
    return index, None if exact is None else exact.recall(index)


def vectors_in_parts(
    vectorizer: NameVectorizer, names: Sequence[str], progress: bool = False
) -> Iterator[numpy.ndarray]:
    """The vectors of names, some at a time: float32, (some, dims)."""
    with tqdm(desc="Encoding names", total=len(names), unit="name", disable=not progress) as bar:
        for begin in range(0, len(names), CHUNK):
            part = names[begin : begin + CHUNK]
            yield vectorizer.vectors(part)
            bar.update(len(part))
