"""Counting rules of GutBrainIE, over plain tuples: official 2025, official 2026, strict.

An item is one annotation as a plain tuple, laid out as its task says; a document is a list of
items. The rules differ in what they do with repeated, overlapping and unknown predictions:

``official-2025``
    Predictions are counted as they come: one that is repeated counts again, so recall and F1 can
    exceed 1. A prediction whose class occurs nowhere in the gold annotation is ignored.
``official-2026``
    The same, but first repeated predictions are dropped: spans by (start, end, location) whatever
    their label, relations by the whole tuple. Of spans that overlap in a chain only the longest
    stays. Spans that share a single character do not count as overlapping, because offsets are
    inclusive and the chain test is ``start < end``.
``strict``
    Sets, and every prediction counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

RULES = ("official-2025", "official-2026", "strict")
AVERAGES = ("micro_p", "micro_r", "micro_f", "macro_p", "macro_r", "macro_f")
_TINY = 1e-10  # the official scripts add it to every denominator

Item = tuple[Any, ...]
ItemClass = tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A task: the fields of its items, in order, and which of them make up an item's class."""

    name: str
    fields: tuple[str, ...]
    class_fields: tuple[str, ...]

    def item_class(self, item: Item) -> ItemClass:
        """The class an item is counted under."""
        return tuple(item[self.fields.index(name)] for name in self.class_fields)

    @property
    def has_spans(self) -> bool:
        """Whether items begin with (start, end inclusive, location)."""
        return self.fields[0] == "start_idx"


_SPAN = ("start_idx", "end_idx", "location", "text_span", "label")
_MENTIONS = ("subject_text_span", "subject_label", "predicate", "object_text_span", "object_label")
_CONCEPTS = ("subject_uri", "subject_label", "predicate", "object_uri", "object_label")
_PAIR = ("subject_label", "object_label")
_TRIPLE = ("subject_label", "predicate", "object_label")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("ner", _SPAN, ("label",)),
        Task("nerd", (*_SPAN, "uri"), ("label",)),
        Task("bt", _PAIR, _PAIR),
        Task("tt", _TRIPLE, _TRIPLE),
        Task("tm", _MENTIONS, _TRIPLE),
        Task("m-re", _MENTIONS, _TRIPLE),
        Task("c-re", _CONCEPTS, _TRIPLE),
    )
}


@dataclass(frozen=True)
class CountTable:
    """True positives, false positives and false negatives of each document and class.

    ``counts`` is an int64 array of shape (documents, classes, 3). ``every_prediction`` says
    whether predictions of a class without gold items count. Under the 2025 rules false negatives
    can be negative: they are gold items minus true positives, and a true positive may be repeated.
    ``duplicates`` and ``overlapping`` are the numbers of repeated predictions (which the rules
    count or drop) and of predictions dropped because they overlap a longer one.
    """

    classes: list[ItemClass]
    counts: numpy.ndarray
    every_prediction: bool
    duplicates: int = 0
    overlapping: int = 0

    @property
    def totals(self) -> numpy.ndarray:
        """Counts over all documents, int64 of shape (classes, 3)."""
        return self.counts.sum(axis=0)

    @property
    def in_gold(self) -> numpy.ndarray:
        """Whether a class has gold items, bool of shape (classes,)."""
        totals = self.totals
        return totals[:, 0] + totals[:, 2] > 0

    @property
    def counted(self) -> numpy.ndarray:
        """Whether the predictions of a class count, bool of shape (classes,)."""
        return self.in_gold | self.every_prediction

    @property
    def ignored(self) -> int:
        """Number of predictions that the rules ignore, for want of gold items of their class."""
        return int(self.totals[~self.counted, 1].sum())

    def averages(self) -> dict[str, float]:
        """Micro and macro precision, recall and F1 under the names of ``AVERAGES``."""
        values = average_counts(self.totals, self.counted)
        return {name: float(value) for name, value in zip(AVERAGES, values, strict=True)}


def get_task(name: str) -> Task:
    """Find a task by its name. Raises ValueError for an unknown one."""
    if name not in TASKS:
        raise ValueError(f"Unknown task '{name}': expected one of {', '.join(TASKS)}.")
    return TASKS[name]


def check_rules(name: str) -> str:
    """Return the name of a set of rules. Raises ValueError for an unknown one."""
    if name not in RULES:
        raise ValueError(f"Unknown rules '{name}': expected one of {', '.join(RULES)}.")
    return name


def count_items(
    gold: Sequence[Iterable[Item]], predicted: Sequence[Iterable[Item]], task: Task, rules: str
) -> CountTable:
    """Count the items of aligned documents; ``gold`` and ``predicted`` have the same length.

    Gold items are distinct by definition: a repeated one counts once.
    """
    check_rules(rules)
    index: dict[ItemClass, int] = {}
    kinds: list[tuple[int, int, int]] = []
    duplicates = overlapping = 0
    for document, (true, given) in enumerate(zip(gold, predicted, strict=True)):
        expected = set(true)
        items = list(given)
        kept = distinct_items(items, by_span=task.has_spans and rules == "official-2026")
        duplicates += len(items) - len(kept)
        if rules == "official-2025":
            kept = items
        elif rules == "official-2026" and task.has_spans:
            longest = longest_of_chains(kept)
            overlapping += len(kept) - len(longest)
            kept = longest
        # a gold item starts as a false negative; a hit takes one away again
        for item in expected:
            kinds.append((document, index.setdefault(task.item_class(item), len(index)), 2))
        for item in kept:
            hit = 0 if item in expected else 1
            kinds.append((document, index.setdefault(task.item_class(item), len(index)), hit))
    counts = numpy.zeros((len(gold), len(index), 3), dtype="int64")
    if kinds:
        rows = numpy.asarray(kinds, dtype="int64")
        numpy.add.at(counts, (rows[:, 0], rows[:, 1], rows[:, 2]), 1)
    counts[:, :, 2] -= counts[:, :, 0]
    return CountTable(list(index), counts, rules == "strict", duplicates, overlapping)


def average_counts(totals: numpy.ndarray, counted: numpy.ndarray) -> numpy.ndarray:
    """Average counts of shape (..., classes, 3) into figures of shape (..., 6), see ``AVERAGES``.

    Micro figures come from the summed counts of the classes that are ``counted`` (bool, shape
    (classes,)). Macro figures are unweighted means of the figures of the classes that have gold
    items; macro-F1 is the mean of their F1, not the harmonic mean of macro precision and recall.
    """
    micro = precision_recall_f1(totals[..., counted, :].sum(axis=-2))
    present = (totals[..., 0] + totals[..., 2] > 0)[..., None]
    per_class = numpy.where(present, precision_recall_f1(totals), 0.0)
    macro = per_class.sum(axis=-2) / numpy.maximum(present.sum(axis=-2), 1)
    return numpy.concatenate([micro, macro], axis=-1)


def precision_recall_f1(counts: numpy.ndarray) -> numpy.ndarray:
    """Turn (true positives, false positives, false negatives) into (P, R, F1), on the last axis."""
    hits, false, missed = (counts[..., i].astype("float64") for i in range(3))
    precision = hits / (hits + false + _TINY)
    recall = hits / (hits + missed + _TINY)
    f1 = 2 * precision * recall / (precision + recall + _TINY)
    return numpy.stack([precision, recall, f1], axis=-1)


def distinct_items(items: Iterable[Item], *, by_span: bool = False) -> list[Item]:
    """Keep the first of equal items, or of items with equal (start, end, location)."""
    first: dict[Item, Item] = {}
    for item in items:
        first.setdefault(item[:3] if by_span else item, item)
    return list(first.values())


def longest_of_chains(items: Sequence[Item]) -> list[Item]:
    """Keep the longest span of every chain of overlapping spans, the earliest of equally long ones.

    Items begin with (start, end inclusive, location). A span joins the chain when it starts before
    the last character that the chain has reached.
    """
    kept: list[Item] = []
    location, reach = None, -1
    for item in sorted(items, key=lambda item: (item[2], item[0])):
        start, end = item[:2]
        if kept and item[2] == location and start < reach:
            reach = max(reach, end)
            if end - start > kept[-1][1] - kept[-1][0]:
                kept[-1] = item
        else:
            location, reach = item[2], end
            kept.append(item)
    return kept
