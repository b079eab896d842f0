"""Thresholds that maximise the micro-F1 of sets of distinct items."""

from dataclasses import dataclass, replace
from typing import Dict, NamedTuple, Optional, Tuple

import numpy


@dataclass(frozen=True)
class ScoredItems:
    """What could be predicted. An item may be there several times: once predicted, it counts once.

    keys: int64, (n,): which item. scores: float, (n,). hits: bool, (n,): whether it is in the gold
    standard. groups: int64, (n,): the index of the threshold that decides it.
    n_gold: distinct items of the gold standard, those that nothing here can predict included.
    documents: int64, (n,): the document of each item; an item is in one document only.
    doc_gold: int64, (documents,): how many of ``n_gold`` are in each document.
    """

    keys: numpy.ndarray
    scores: numpy.ndarray
    hits: numpy.ndarray
    groups: numpy.ndarray
    n_gold: int
    documents: numpy.ndarray
    doc_gold: numpy.ndarray

    def select(self, rows: numpy.ndarray) -> "ScoredItems":
        """Some of the rows, by a mask or by indices."""
        return replace(
            self,
            keys=self.keys[rows],
            scores=self.scores[rows],
            hits=self.hits[rows],
            groups=self.groups[rows],
            documents=self.documents[rows],
        )

    def distinct(self) -> "ScoredItems":
        """Each item once, with its best score, from the highest score to the lowest."""
        order = numpy.argsort(-self.scores, kind="stable")
        _, first = numpy.unique(self.keys[order], return_index=True)
        return self.select(order[numpy.sort(first)])


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
    items = items.distinct()
    weights = numpy.ones(len(items.scores), dtype="int64")
    return _best_cut(items, weights, items.n_gold, base)


def averaged_threshold(items: ScoredItems, samples: int = 100, seed: int = 0) -> Cut:
    """The mean of the best thresholds of resampled documents (bagging), and its micro-F1.

    The best threshold of a few documents depends much on which they are; the mean over samples
    of them, drawn with replacement, depends less, and does better on other documents.

    RETURNS: as ``best_threshold``, which says when the threshold is None.
    """
    best = best_threshold(items)
    if best.threshold is None:
        return best
    items = items.distinct()
    rng = numpy.random.default_rng(seed)
    n_docs = len(items.doc_gold)
    found = []
    for _ in range(samples):
        drawn = numpy.bincount(rng.integers(n_docs, size=n_docs), minlength=n_docs)
        n_gold = int((drawn * items.doc_gold).sum())
        cut = _best_cut(items, drawn[items.documents], n_gold, (0, 0))
        if cut.threshold is not None:
            found.append(cut.threshold)
    threshold = round(float(numpy.mean(found or [best.threshold])), 4)
    return Cut(threshold, _f1_at(items, numpy.full(items.groups.max() + 1, threshold)))


def _best_cut(
    items: ScoredItems, weights: numpy.ndarray, n_gold: int, base: Tuple[int, int]
) -> Cut:
    """``best_threshold`` over distinct items, each of which counts ``weights`` times."""
    n_base, hits_base = base
    nothing_more = float(_f1(hits_base, n_base, n_gold))
    scores = items.scores.astype("float64")
    if not len(scores):
        return Cut(None, nothing_more)
    n = numpy.cumsum(weights) + n_base
    f1 = _f1(numpy.cumsum(items.hits * weights) + hits_base, n, n_gold)
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
