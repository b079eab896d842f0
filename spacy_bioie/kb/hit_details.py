"""What the search hits of a mention say of its candidates, as columns that a reranker reads."""

from typing import TYPE_CHECKING, Iterator, List, Sequence, Tuple

import numpy

from .ragged import RaggedRows
from .word_overlap import OVERLAPS, word_overlaps

if TYPE_CHECKING:
    from .knowledge_base import FaissKnowledgeBase

# Of the hits of a mention: the greatest similarity in spelling and in meaning, that of the names
# that sources give and of those that training mentions give; the two votes; log(1 + training
# mentions of any label) of the concept under equal names; the greatest of each of ``OVERLAPS`` with
# the names that sources give, and with those that training mentions give
DETAILS = (
    *("lexical", "semantic", "official", "training", "near_vote", "far_vote", "log_equal"),
    *(f"{kind}_{name}" for kind in ("official", "training") for name in OVERLAPS),
)
# A hit votes for the concepts of its training mentions with exp((similarity - 1) / temperature)
VOTE_TEMPERATURES = (0.05, 0.12)
# What a training mention of another label counts
OTHER_LABEL = 0.3
# Keeps the votes of a mention without near training names small
NO_VOTE = 0.05
# Vectors of hits that are compared at once
_AT_ONCE = 65_536


def hit_details(
    kb: "FaissKnowledgeBase",
    hits: Tuple[RaggedRows, numpy.ndarray],
    names: Sequence[str],
    queries: numpy.ndarray,
    mentions: numpy.ndarray,
    of_name: numpy.ndarray,
    label_rows: numpy.ndarray,
    pairs: Tuple[numpy.ndarray, numpy.ndarray],
) -> numpy.ndarray:
    """The columns ``DETAILS`` of candidates: float32, (pairs, 19).

    A vote is that of a nearest-neighbour classifier: the share of a concept in the training
    mentions of the hits, each weighed by its similarity and label.

    hits: for each distinct name the rows of the names found, and their similarities, aligned with
        ``values``. names, queries: the distinct names, and their vectors, (names, dims).
    mentions, of_name: mentions, and the row of each one's name. label_rows: of all mentions.
    pairs: mention and concept of each candidate, sorted; the hits give all of them.
    """
    tables = kb.tables
    n = len(tables.concept_ids)
    keys = pairs[0] * n + pairs[1]
    out = numpy.zeros((len(keys), len(DETAILS)), dtype="float32")
    which, at = hits[0].positions(of_name)
    if not len(which):
        return out
    rows, similarity = hits[0].values[at].astype("int64"), hits[1][at]
    mention = mentions[which]
    lexical, semantic = _part_similarities(kb, queries, hits[0])[:, at]
    hit, position = tables.name_concepts.positions(rows)
    place = numpy.searchsorted(keys, mention[hit] * n + tables.name_concepts.values[position])
    official = tables.official[position]
    overlaps = _overlaps(kb, names, hits[0])[at][hit]
    _greatest_of(out, place, [lexical[hit], semantic[hit]], [0, 1])
    for kind, column, first in ((official, 2, 7), (~official, 3, 7 + len(OVERLAPS))):
        values = [similarity[hit][kind], *overlaps[kind].T]
        _greatest_of(out, place[kind], values, [column, *range(first, first + len(OVERLAPS))])
    hit, position = tables.evidence.positions(rows)
    place = numpy.searchsorted(keys, mention[hit] * n + tables.evidence.values[position])
    same = tables.evidence_labels[position] == label_rows[mention[hit]]
    counts = tables.evidence_counts[position] * numpy.where(same, 1.0, OTHER_LABEL)
    for column, temperature in enumerate(VOTE_TEMPERATURES, start=4):
        weights = counts * numpy.exp((similarity[hit] - 1) / temperature)
        totals = numpy.bincount(mention[hit], weights=weights, minlength=len(label_rows))
        votes = numpy.bincount(place, weights=weights, minlength=len(keys))
        out[:, column] = votes / (totals[pairs[0]] + NO_VOTE)
    equal = tables.evidence_counts[position] * (similarity[hit] > 1 - 1e-6)
    out[:, 6] = numpy.log1p(numpy.bincount(place, weights=equal, minlength=len(keys)))
    return out


def _greatest_of(
    out: numpy.ndarray, place: numpy.ndarray, values: Sequence[numpy.ndarray], columns: List[int]
) -> None:
    """Write the greatest of the values of each row, or 0, into some columns of ``out``.

    place: for each value its row, int64.
    """
    order = numpy.argsort(place, kind="stable")
    rows, starts = numpy.unique(place[order], return_index=True)
    if not len(rows):
        return
    for column, row_values in zip(columns, values, strict=True):
        greatest = numpy.maximum.reduceat(row_values[order], starts)
        out[rows, column] = numpy.maximum(greatest, 0.0)


def _overlaps(kb: "FaissKnowledgeBase", names: Sequence[str], found: RaggedRows) -> numpy.ndarray:
    """What names and their hits share of their words, see ``word_overlaps``: (hits, 6)."""
    query, _ = found.positions(numpy.arange(len(found)))
    distinct, place = numpy.unique(found.values, return_inverse=True)
    return word_overlaps(names, kb.tables.names.take(distinct.tolist()), query, place)


def _part_similarities(
    kb: "FaissKnowledgeBase", queries: numpy.ndarray, found: RaggedRows
) -> numpy.ndarray:
    """The cosines of spelling and of meaning of names and their hits: float32, (2, hits).

    A part without weight has 0.
    """
    vectorizer = kb.vectorizer
    split = vectorizer.lexical.dims
    out = numpy.zeros((2, len(found.values)), dtype="float32")
    assert kb.index is not None
    for first, last in _chunks(found.offsets):
        begin, end = found.offsets[first], found.offsets[last]
        distinct, place = numpy.unique(found.values[begin:end], return_inverse=True)
        vectors = kb.index.vectors(distinct)
        for query in range(first, last):
            own = slice(found.offsets[query], found.offsets[query + 1])
            names = vectors[place[own.start - begin : own.stop - begin]]
            out[0, own] = names[:, :split] @ queries[query, :split]
            out[1, own] = names[:, split:] @ queries[query, split:]
    out[0] /= vectorizer.lexical_weight or 1.0
    out[1] /= vectorizer.semantic_weight or 1.0
    return out


def _chunks(offsets: numpy.ndarray) -> Iterator[Tuple[int, int]]:
    """Ranges of queries whose hits are compared at once; one with more of them stands alone."""
    first, n = 0, len(offsets) - 1
    while first < n:
        last = int(numpy.searchsorted(offsets, offsets[first] + _AT_ONCE, side="right")) - 1
        yield first, (first := max(last, first + 1))
