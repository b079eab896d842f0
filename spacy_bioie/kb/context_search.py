"""Searching the names of a knowledge base by the vectors of mentions in their context."""

from typing import TYPE_CHECKING, Sequence, Tuple

import numpy

from .lexical import normalise_rows
from .linking import CandidatePairs, merge_mentions

if TYPE_CHECKING:
    from .knowledge_base import FaissKnowledgeBase


def search_names(
    kb: "FaissKnowledgeBase", vectors: numpy.ndarray, k: int
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The k names whose vectors are nearest to mentions in their context.

    Only the columns that contexts are compared with count (``NameVectorizer.context_slice``): a
    query is 0 in the others.

    vectors: of mentions, (mentions, kb.context_dims), of any length.
    RETURNS: cosines, float32, and rows of names, int64 (-1 where there are fewer than k), both of
        shape (mentions, min(k, names)), best first.
    """
    columns = kb.vectorizer.context_slice
    queries = numpy.zeros((len(vectors), kb.vectorizer.dims), dtype="float32")
    queries[:, columns] = normalise_rows(vectors) / numpy.sqrt(_weight(kb))
    return kb.search_vectors(queries, k)


def context_name_vectors(kb: "FaissKnowledgeBase", rows: numpy.ndarray) -> numpy.ndarray:
    """The vectors of names that contexts are compared with, of length 1.

    rows: int64, (n,). RETURNS: float32, (n, kb.context_dims).
    """
    if kb.index is None:
        return numpy.zeros((len(rows), kb.context_dims), dtype="float32")
    distinct, place = numpy.unique(rows, return_inverse=True)
    vectors = kb.index.vectors(distinct)[:, kb.vectorizer.context_slice]
    return normalise_rows(vectors)[place]


def vectors_of_names(kb: "FaissKnowledgeBase", names: Sequence[str]) -> numpy.ndarray:
    """As ``context_name_vectors`` for any normalised names, (names, kb.context_dims)."""
    distinct, place = numpy.unique(numpy.asarray(names, dtype=object), return_inverse=True)
    known = kb.tables.name_rows(distinct.tolist())
    vectors = kb.query_vectors(distinct.tolist(), known)[:, kb.vectorizer.context_slice]
    return normalise_rows(vectors)[place]


def add_context_candidates(
    kb: "FaissKnowledgeBase",
    pairs: CandidatePairs,
    vectors: numpy.ndarray,
    labels: Sequence[str],
    n_search: int,
) -> CandidatePairs:
    """Join to the candidates of mentions those whose names are nearest to their contexts.

    Of a concept the greatest similarity counts, of names that are found the cosine.

    pairs: of these mentions, from the dictionary, without details. vectors: see ``search_names``.
        labels: the entity label of each mention.
    """
    n = len(vectors)
    tables = kb.tables
    cosines, names = search_names(kb, vectors, n_search)
    mentions, rank = numpy.nonzero(names >= 0)
    which, positions = tables.name_concepts.positions(names[mentions, rank])
    similarity = cosines[mentions, rank][which].astype("float64")
    mentions = mentions[which]
    concepts = tables.name_concepts.values[positions].astype("int64")
    found = CandidatePairs(
        mentions=mentions + n,  # as if by other names of the same mentions
        concepts=concepts,
        similarity=similarity,
        evidence=numpy.zeros((len(concepts),), dtype="float64"),
        label_mismatch=tables.label_mismatch(concepts, tables.label_rows(labels)[mentions]),
        log_count=numpy.log1p(tables.concept_counts[concepts].astype("float64")),
    )
    both = CandidatePairs(
        **{
            name: numpy.concatenate([getattr(pairs, name), values])
            for name, values in vars(found).items()
            if values is not None
        }
    )
    return merge_mentions(both, numpy.tile(numpy.arange(n), 2))


def _weight(kb: "FaissKnowledgeBase") -> float:
    """Of the columns that contexts are compared with, in the inner product of two names."""
    vectorizer = kb.vectorizer
    return vectorizer.semantic_weight if vectorizer.encoder.dims else vectorizer.lexical_weight
