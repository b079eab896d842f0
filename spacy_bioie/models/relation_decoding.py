"""From probabilities of candidate pairs to relations."""

from typing import List, NamedTuple

import numpy

from .candidates import PairCandidates


class ScoredRelations(NamedTuple):
    """The relations of one document, sorted by head, tail and predicate; none is twice there.

    heads, tails: int64, (relations,): indices of mentions of the document.
    predicates: int64, (relations,). scores: float32, (relations,): probabilities.
    """

    heads: numpy.ndarray
    predicates: numpy.ndarray
    tails: numpy.ndarray
    scores: numpy.ndarray


def eligible(
    candidates: PairCandidates, probabilities: numpy.ndarray, one_per_pair: bool
) -> numpy.ndarray:
    """Which predicates of each pair may be predicted, whatever the threshold.

    probabilities: float32, (pairs, predicates).
    one_per_pair: only the most probable of the legal ones, the first of equally probable ones.
    RETURNS: bool, (pairs, predicates).
    """
    legal = candidates.pair_legal()
    if not one_per_pair or not len(legal):
        return legal
    best = numpy.where(legal, probabilities, -1.0).argmax(axis=1)
    chosen = numpy.zeros_like(legal)
    chosen[numpy.arange(len(legal)), best] = True
    return chosen


def decode_relations(
    candidates: PairCandidates,
    probabilities: numpy.ndarray,
    thresholds: numpy.ndarray,
    one_per_pair: bool,
) -> List[ScoredRelations]:
    """Choose the relations of each document.

    probabilities: float32, (pairs, predicates). thresholds: float, (predicates,): the least
    probability of each predicate.
    one_per_pair: a pair stands in no more than one relation, see ``eligible``; a predicate that
        misses its threshold does not make way for a less probable one.
    """
    chosen = eligible(candidates, probabilities, one_per_pair) & (probabilities >= thresholds)
    rows, predicates = numpy.nonzero(chosen)
    pairs = candidates.pairs[rows]
    mentions = pairs - candidates.mention_starts[candidates.mention_docs[pairs]]
    columns = (mentions[:, 0], predicates, mentions[:, 1], probabilities[rows, predicates])
    ends = numpy.cumsum(candidates.doc_mentions)[:-1]
    borders = numpy.searchsorted(pairs[:, 0], ends)
    parts = zip(*(numpy.split(column, borders) for column in columns), strict=True)
    return [ScoredRelations(*part) for part in parts]
