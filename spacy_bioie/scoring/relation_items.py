"""Candidate pairs as items of a relation task, for the search of thresholds."""

from collections.abc import Collection, Hashable, Sequence, Set
from typing import Any

import numpy

from ..models.candidates import PairCandidates
from ..models.threshold_search import ScoredItems
from .relations import RelationKey

LEVELS = ("bt", "tt", "tm")


def relation_items(
    level: str,
    candidates: PairCandidates,
    probabilities: numpy.ndarray,
    eligible: numpy.ndarray,
    predicates: Sequence[str],
    mentions: Sequence[Sequence[tuple[str, str]]],
    gold: Sequence[Set[RelationKey]],
) -> ScoredItems:
    """Turn what could be predicted for the pairs of documents into items.

    level: "bt" (label pairs), "tt" (triples of labels and predicate) or "tm" (triples with the
        texts of the mentions), as in ``scoring.relations``.
    probabilities: float32, (pairs, predicates). eligible: bool, the same shape: what may be
        predicted.
    mentions: text and label of each mention of the candidates, document by document.
    gold: the relations of each document.

    RETURNS: one row for each eligible predicate of each pair; its group is the predicate.
    Raises ValueError for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"Unknown metric '{level}': expected one of {', '.join(LEVELS)}.")

    def end(text: str, label: str) -> Hashable:
        return (text, label) if level == "tm" else label

    def name(predicate: str) -> str:
        return "" if level == "bt" else predicate

    return end_items(
        candidates,
        probabilities,
        eligible,
        [name(predicate) for predicate in predicates],
        [[[end(*mention)] for mention in document] for document in mentions],
        [{(end(*key[:2]), name(key[2]), end(*key[3:5])) for key in document} for document in gold],
    )


def end_items(
    candidates: PairCandidates,
    probabilities: numpy.ndarray,
    eligible: numpy.ndarray,
    predicates: Sequence[str],
    ends: Sequence[Sequence[Sequence[Hashable]]],
    gold: Sequence[Set[tuple[Any, str, Any]]],
    symmetric: Collection[str] = (),
) -> ScoredItems:
    """``relation_items`` over any kind of heads and tails.

    predicates: the name of each, under which it is compared.
    ends: for each mention, document by document, what it is as a head or a tail: its label, its
        concepts and so on. A pair stands for all combinations, and for none where a list is empty.
    gold: the distinct (head, predicate, tail) of each document.
    symmetric: predicates whose head and tail have no order; "*" for all.
    """
    number: dict[Hashable, int] = {}
    relations: dict[str, int] = {}
    names = [relations.setdefault(name, len(relations)) for name in predicates]
    of_mention = [
        [number.setdefault((i, end), len(number)) for end in mention]
        for i, document in enumerate(ends)
        for mention in document
    ]
    gold_rows = [
        (
            number.setdefault((i, head), len(number)),
            relations.setdefault(name, len(relations)),
            number.setdefault((i, tail), len(number)),
            i,
        )
        for i, document in enumerate(gold)
        for head, name, tail in document
    ]
    unordered = numpy.asarray(["*" in symmetric or name in symmetric for name in relations], bool)

    def keys_of(heads: numpy.ndarray, kinds: numpy.ndarray, tails: numpy.ndarray) -> numpy.ndarray:
        swap = unordered[kinds] & (heads > tails)
        heads, tails = numpy.where(swap, tails, heads), numpy.where(swap, heads, tails)
        return (heads * len(relations) + kinds) * len(number) + tails

    table = numpy.asarray(gold_rows, dtype="int64").reshape((-1, 4))
    gold_keys, first = numpy.unique(keys_of(*table[:, :3].T), return_index=True)
    rows, groups = numpy.nonzero(eligible)
    pairs = candidates.pairs[rows]
    index, heads, tails = _combinations(of_mention, pairs)
    groups = groups[index]
    keys = keys_of(heads, numpy.asarray(names, dtype="int64")[groups], tails)
    return ScoredItems(
        keys=keys,
        scores=probabilities[rows[index], groups],
        hits=numpy.isin(keys, gold_keys),
        groups=groups,
        n_gold=len(gold_keys),
        documents=candidates.mention_docs[pairs[index, 0]],
        doc_gold=numpy.bincount(table[first, 3], minlength=len(gold)),
    )


def _combinations(
    values: Sequence[Sequence[int]], pairs: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """All combinations of the values of heads and tails.

    values: of each mention. pairs: int64, (pairs, 2): mentions.
    RETURNS: the row of ``pairs``, a value of its head and one of its tail, int64 each.
    """
    counts = numpy.asarray([len(own) for own in values], dtype="int64")
    starts = numpy.cumsum(counts) - counts
    flat = numpy.asarray([value for own in values for value in own], dtype="int64")
    heads, tails = pairs[:, 0], pairs[:, 1]
    n = counts[heads] * counts[tails]
    index = numpy.repeat(numpy.arange(len(pairs)), n)
    place = numpy.arange(n.sum()) - numpy.repeat(numpy.cumsum(n) - n, n)
    width = counts[tails][index]
    return (
        index,
        flat[starts[heads][index] + place // width],
        flat[starts[tails][index] + place % width],
    )
