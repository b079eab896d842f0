"""Candidate pairs as items of a relation task, for the search of thresholds."""

from collections.abc import Callable, Sequence, Set

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
    ends: dict[tuple, int] = {}
    relations: dict[str, int] = {name: i for i, name in enumerate(predicates)}

    def end(document: int, text: str, label: str) -> int:
        key = (document, text, label) if level == "tm" else (document, label)
        return ends.setdefault(key, len(ends))

    def relation(name: str) -> int:
        return 0 if level == "bt" else relations.setdefault(name, len(relations))

    mention_ends = [end(i, *m) for i, document in enumerate(mentions) for m in document]
    gold_rows = [
        (end(i, key[0], key[1]), relation(key[2]), end(i, key[3], key[4]))
        for i, document in enumerate(gold)
        for key in document
    ]
    number = _numbering(len(ends), len(relations))
    gold_docs = [i for i, document in enumerate(gold) for _ in document]
    gold_keys, first = numpy.unique(
        number(numpy.asarray(gold_rows, dtype="int64").reshape((-1, 3))), return_index=True
    )
    doc_gold = numpy.bincount(numpy.asarray(gold_docs, dtype="int64")[first], minlength=len(gold))
    rows, groups = numpy.nonzero(eligible)
    of_mention = numpy.asarray(mention_ends, dtype="int64")
    pairs = candidates.pairs[rows]
    columns = [
        of_mention[pairs[:, 0]],
        numpy.zeros_like(groups) if level == "bt" else groups,
        of_mention[pairs[:, 1]],
    ]
    keys = number(numpy.stack(columns, axis=1))
    return ScoredItems(
        keys=keys,
        scores=probabilities[rows, groups],
        hits=numpy.isin(keys, gold_keys),
        groups=groups,
        n_gold=len(gold_keys),
        documents=candidates.mention_docs[pairs[:, 0]],
        doc_gold=doc_gold,
    )


def _numbering(n_ends: int, n_relations: int) -> Callable[[numpy.ndarray], numpy.ndarray]:
    def number(rows: numpy.ndarray) -> numpy.ndarray:
        return (rows[:, 0] * n_relations + rows[:, 1]) * n_ends + rows[:, 2]

    return number
