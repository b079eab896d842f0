"""Thresholds that maximise the micro-F1 of sets of distinct items."""

from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional, Tuple

import numpy


@dataclass(frozen=True)
class ScoredItems:
    """What could be predicted. An item may be there several times: once predicted, it counts once.

    keys: int64, (n,): which item. scores: float, (n,). hits: bool, (n,): whether it is in the gold
    standard. groups: int64, (n,): the index of the threshold that decides it.
    n_gold: distinct items of the gold standard, those that nothing here can predict included.
    """

    keys: numpy.ndarray
    scores: numpy.ndarray
    hits: numpy.ndarray
    groups: numpy.ndarray
    n_gold: int

    def select(self, rows: numpy.ndarray) -> "ScoredItems":
        """Some of the rows, by a mask or by indices."""
        return ScoredItems(
            self.keys[rows], self.scores[rows], self.hits[rows], self.groups[rows], self.n_gold
        )


class Cut(NamedTuple):
    """The best threshold and the micro-F1 that it reaches."""

    threshold: Optional[float]
    f1: float


def best_threshold(items: ScoredItems, base: Tuple[int, int] = (0, 0)) -> Cut:
    """Find the threshold on the score with the highest micro-F1.

    It lies about half-way between the lowest score that is kept and the highest that is not. Of
    equally good ones the highest is taken.

    base: distinct items that are predicted anyway and are not among ``items``, and how many of
        them are in the gold standard.
    RETURNS: the threshold is None where none beats predicting nothing more than the base.
    """
    n_base, hits_base = base
    nothing_more = _f1(hits_base, n_base, items.n_gold)
    order = numpy.argsort(-items.scores, kind="stable")
    _, first = numpy.unique(items.keys[order], return_index=True)
    order = order[numpy.sort(first)]  # each item where its best score stands
    scores = items.scores[order].astype("float64")
    if not len(scores):
        return Cut(None, nothing_more)
    n = numpy.arange(1, len(order) + 1) + n_base
    f1 = _f1(numpy.cumsum(items.hits[order]) + hits_base, n, items.n_gold)
    following = numpy.append(scores[1:], 0.0)
    f1 = numpy.where(following < scores, f1, -1.0)  # equal scores are cut together
    best = int(f1.argmax())
    if f1[best] <= nothing_more:
        return Cut(None, nothing_more)
    return Cut(_between(float(following[best]), float(scores[best])), float(f1[best]))


def best_thresholds(
    items: ScoredItems, common: float, min_gold: int, max_rounds: int = 20
) -> Tuple[Dict[int, float], float]:
    """Find a threshold for each group, one group after the other, until micro-F1 stays.

    Each step is exact given the other groups' thresholds. Groups with few gold items keep the
    common threshold, because a threshold fitted to a handful of items does not carry over.

    common: where all thresholds begin.
    min_gold: distinct hits of a group that are needed to move its threshold.
    RETURNS: the thresholds of the groups that moved, and the micro-F1.
    """
    thresholds = numpy.full(int(items.groups.max(initial=-1)) + 1, common)
    gold = [len(set(items.keys[items.hits & (items.groups == g)])) for g in range(len(thresholds))]
    groups = [group for group, n in enumerate(gold) if n >= max(min_gold, 1)]
    f1 = _f1_at(items, thresholds)
    moved: Dict[int, float] = {}
    for _ in range(max_rounds):
        before = f1
        for group in groups:
            kept = (items.scores >= thresholds[items.groups]) & (items.groups != group)
            others, first = numpy.unique(items.keys[kept], return_index=True)
            base = (len(others), int(items.hits[kept][first].sum()))
            mine = (items.groups == group) & ~numpy.isin(items.keys, others)
            cut = best_threshold(items.select(mine), base)
            if cut.f1 > f1:
                # 1 where the group's items do more harm than good
                thresholds[group] = 1.0 if cut.threshold is None else cut.threshold
                moved[group], f1 = float(thresholds[group]), cut.f1
        if f1 <= before:
            break
    return moved, f1


def _f1_at(items: ScoredItems, thresholds: numpy.ndarray) -> float:
    kept = items.scores >= thresholds[items.groups]
    keys, first = numpy.unique(items.keys[kept], return_index=True)
    return float(_f1(int(items.hits[kept][first].sum()), len(keys), items.n_gold))


def _between(below: float, score: float) -> float:
    """The middle in the fewest decimals that still part the two, as files may round to ten."""
    middle = (below + score) / 2
    rounded = (round(middle, digits) for digits in range(2, 11))
    return next((value for value in rounded if below < value < score), middle)


def _f1(hits, n_predicted, n_gold):
    return 2 * hits / numpy.maximum(n_predicted + n_gold, 1)
