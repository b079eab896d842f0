"""Thresholds that maximise the micro-F1 of sets of distinct items."""

from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

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


Levels = Union[ScoredItems, Sequence[ScoredItems]]
Counts = Tuple[int, int]


class Cut(NamedTuple):
    """The best threshold and the micro-F1 that it reaches."""

    threshold: Optional[float]
    f1: float


def best_threshold(items: ScoredItems, base: Counts = (0, 0)) -> Cut:
    """Find the threshold on the score with the highest micro-F1.

    It lies about half-way between the lowest score that is kept and the highest that is not. Of
    equally good ones the highest is taken.

    base: distinct items that are predicted anyway and are not among ``items``, and how many of
        them are in the gold standard.
    RETURNS: the threshold is None where none beats predicting nothing more than the base.
    """
    return _Sweep([items]).best(bases=[base])


def averaged_threshold(items: Levels, samples: int = 100, seed: int = 0) -> Cut:
    """The mean of the best thresholds of resampled documents (bagging), and its micro-F1.

    The best threshold of a few documents depends much on which they are; the mean over samples
    of them, drawn with replacement, depends less, and does better on other documents.

    items: of several levels, over the same documents, the mean of their micro-F1 counts.
    RETURNS: as ``best_threshold``, which says when the threshold is None.
    """
    sweep = _Sweep(_as_list(items))
    best = sweep.best()
    if best.threshold is None:
        return best
    cuts = (sweep.best(drawn) for drawn in sweep.resample(samples, seed))
    found = [cut.threshold for cut in cuts if cut.threshold is not None]
    threshold = round(float(numpy.mean(found or [best.threshold])), 4)
    return sweep.cut(threshold)


class _Sweep:
    """Micro-F1 at every threshold: that of distinct items, or its mean over several levels."""

    def __init__(self, levels: Sequence[ScoredItems]) -> None:
        self.levels = [items.distinct() for items in levels]
        scores = [items.scores.astype("float64") for items in self.levels]
        # equal scores are cut together
        self.grid = numpy.unique(numpy.concatenate(scores))[::-1]
        self.kept = [numpy.searchsorted(-own, -self.grid, side="right") for own in scores]

    def resample(self, samples: int, seed: int) -> Iterator[numpy.ndarray]:
        """How often each document is drawn, with replacement, in each of some samples."""
        rng = numpy.random.default_rng(seed)
        n_docs = len(self.levels[0].doc_gold)
        for _ in range(samples):
            yield numpy.bincount(rng.integers(n_docs, size=n_docs), minlength=n_docs)

    def micro_f1(
        self, drawn: Optional[numpy.ndarray] = None, bases: Optional[Sequence[Counts]] = None
    ) -> numpy.ndarray:
        """Where a document counts as often as it is ``drawn``: at each score of the grid as the
        threshold and, last, where nothing but the bases is kept."""
        bases = [(0, 0)] * len(self.levels) if bases is None else bases
        total = numpy.zeros(len(self.grid) + 1)
        for items, kept, (n_base, hits_base) in zip(self.levels, self.kept, bases, strict=True):
            weights = numpy.ones(len(items.keys), dtype="int64")
            n_gold = items.n_gold
            if drawn is not None:
                weights, n_gold = drawn[items.documents], int((drawn * items.doc_gold).sum())
            places = numpy.append(kept, 0)
            n = numpy.append(0, numpy.cumsum(weights))[places] + n_base
            hits = numpy.append(0, numpy.cumsum(items.hits * weights))[places] + hits_base
            total += _f1(hits, n, n_gold) / len(self.levels)
        return total

    def best(
        self, drawn: Optional[numpy.ndarray] = None, bases: Optional[Sequence[Counts]] = None
    ) -> Cut:
        """``best_threshold``, where a document counts as often as it is ``drawn``."""
        *f1, nothing_more = self.micro_f1(drawn, bases).tolist()
        best = int(numpy.argmax(f1)) if f1 else 0
        if not f1 or f1[best] <= nothing_more:
            return Cut(None, nothing_more)
        return Cut(self.threshold(best), f1[best])

    def cut(self, threshold: float) -> Cut:
        """This threshold for all groups, over all documents."""
        return Cut(threshold, _f1_at(self.levels, numpy.full(_n_groups(self.levels), threshold)))

    def threshold(self, place: int) -> float:
        """About half-way between a score of the grid and the one below it."""
        following = self.grid[place + 1] if place + 1 < len(self.grid) else 0.0
        return _between(float(following), float(self.grid[place]))


def best_thresholds(
    items: Levels, common: float, min_gold: int, max_rounds: int = 20
) -> Tuple[Dict[int, float], float]:
    """Find a threshold for each group, one group after the other, until micro-F1 stays.

    Each step is exact given the other groups' thresholds. Groups with few gold items keep the
    common threshold, because a threshold fitted to a handful of items does not carry over.

    items: of several levels the mean of their micro-F1 counts.
    common: where all thresholds begin.
    min_gold: distinct hits of a group, at the level with most of them, that are needed to move
        its threshold.
    RETURNS: the thresholds of the groups that moved, and the micro-F1.
    """
    levels = _as_list(items)
    thresholds = numpy.full(_n_groups(levels), common)
    gold = [
        max(len(set(own.keys[own.hits & (own.groups == group)])) for own in levels)
        for group in range(len(thresholds))
    ]
    groups = [group for group, n in enumerate(gold) if n >= max(min_gold, 1)]
    f1 = _f1_at(levels, thresholds)
    moved: Dict[int, float] = {}
    for _ in range(max_rounds):
        before = f1
        for group in groups:
            mine, bases = [], []
            for own in levels:
                kept = (own.scores >= thresholds[own.groups]) & (own.groups != group)
                others, first = numpy.unique(own.keys[kept], return_index=True)
                bases.append((len(others), int(own.hits[kept][first].sum())))
                mine.append(own.select((own.groups == group) & ~numpy.isin(own.keys, others)))
            cut = _Sweep(mine).best(bases=bases)
            if cut.f1 > f1:
                # 1 where the group's items do more harm than good
                thresholds[group] = 1.0 if cut.threshold is None else cut.threshold
                moved[group], f1 = float(thresholds[group]), cut.f1
        if f1 <= before:
            break
    return moved, f1


def _as_list(items: Levels) -> List[ScoredItems]:
    return [items] if isinstance(items, ScoredItems) else list(items)


def _n_groups(levels: Sequence[ScoredItems]) -> int:
    return max(int(items.groups.max(initial=-1)) for items in levels) + 1


def _f1_at(levels: Sequence[ScoredItems], thresholds: numpy.ndarray) -> float:
    found = []
    for items in levels:
        kept = items.scores >= thresholds[items.groups]
        keys, first = numpy.unique(items.keys[kept], return_index=True)
        found.append(float(_f1(int(items.hits[kept][first].sum()), len(keys), items.n_gold)))
    return sum(found) / len(found)


def _between(below: float, score: float) -> float:
    """The middle in the fewest decimals that still part the two, as files may round to ten."""
    middle = (below + score) / 2
    rounded = (round(middle, digits) for digits in range(2, 11))
    return next((value for value in rounded if below < value < score), middle)


def _f1(hits, n_predicted, n_gold):
    return 2 * hits / numpy.maximum(n_predicted + n_gold, 1)
