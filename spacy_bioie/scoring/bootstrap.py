"""Confidence intervals and paired comparisons by resampling documents.

Documents are drawn with replacement, as many as there are; each draw is a vector of weights, so
all resamples are one matrix product with the counts of (documents, classes). Which predictions are
ignored is settled by the full gold set: a resample holds fewer classes, and ignoring more
predictions for that would push its figures up. Macro figures of a resample are means over the
classes with gold items in it.
Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16; Koehn,
Statistical Significance Tests for Machine Translation Evaluation (EMNLP 2004).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from tqdm import tqdm

from .gutbrainie import count
from .rules import AVERAGES, CountTable, average_counts

_CHUNK = 400_000  # counts held at a time: resamples x classes x 3


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Figure of system A minus that of system B, with its percentile confidence interval.

    ``p_value`` is two-sided: twice the share of resamples on the rarer side of zero, ties
    counted on both sides, with one added to share and total; 1 where the systems never differ.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float


def confidence_intervals(
    gold: Mapping[str, Any],
    pred: Mapping[str, Any],
    task: str,
    rules: str = "official-2025",
    n: int = 1000,
    seed: int = 0,
    *,
    level: float = 0.95,
    **names: Any,
) -> dict[str, Interval]:
    """Confidence intervals of one system's figures, keyed by the names of ``rules.AVERAGES``.

    ``n`` is the number of resamples, ``level`` the coverage. Further arguments and errors are
    those of ``gutbrainie.count``; ValueError as well where there is no document or no resample.
    """
    return table_intervals(count(gold, pred, task, rules, **names), n, seed, level=level)


def paired_bootstrap(
    gold: Mapping[str, Any],
    pred_a: Mapping[str, Any],
    pred_b: Mapping[str, Any],
    task: str,
    rules: str = "official-2025",
    n: int = 1000,
    seed: int = 0,
    *,
    level: float = 0.95,
    name_a: str = "predictions A",
    name_b: str = "predictions B",
    **names: Any,
) -> dict[str, Difference]:
    """Compare two systems on the same documents, keyed by the names of ``rules.AVERAGES``.

    Both systems are scored on the same resamples. Further arguments and errors are those of
    ``confidence_intervals``.
    """
    return paired_table_bootstrap(
        count(gold, pred_a, task, rules, pred_name=name_a, **names),
        count(gold, pred_b, task, rules, pred_name=name_b, **names),
        n,
        seed,
        level=level,
    )


def table_intervals(
    table: CountTable,
    n: int = 1000,
    seed: int = 0,
    *,
    level: float = 0.95,
    progress: bool = False,
) -> dict[str, Interval]:
    """``confidence_intervals`` from counts; ``progress`` shows a bar on standard error."""
    weights = document_weights(len(table.counts), n, seed)
    resampled = resample_averages(table, weights, progress=progress)
    low, high = _borders(resampled, level)
    return {
        name: Interval(value, float(low[i]), float(high[i]))
        for i, (name, value) in enumerate(table.averages().items())
    }


def paired_table_bootstrap(
    a: CountTable,
    b: CountTable,
    n: int = 1000,
    seed: int = 0,
    *,
    level: float = 0.95,
    progress: bool = False,
) -> dict[str, Difference]:
    """``paired_bootstrap`` from the counts of two systems over the same documents.

    ``progress`` shows a bar for each system on standard error.
    """
    if len(a.counts) != len(b.counts):
        raise ValueError(
            f"The counts cover {len(a.counts)} and {len(b.counts)} documents: expected the same."
        )
    weights = document_weights(len(a.counts), n, seed)
    averages_a = resample_averages(a, weights, progress=progress)
    differences = averages_a - resample_averages(b, weights, progress=progress)
    low, high = _borders(differences, level)
    rarer = numpy.minimum((differences <= 0).sum(axis=0), (differences >= 0).sum(axis=0))
    p_values = numpy.minimum(2.0 * (rarer + 1) / (n + 1), 1.0)
    values_a, values_b = a.averages(), b.averages()
    return {
        name: Difference(
            a=values_a[name],
            b=values_b[name],
            difference=values_a[name] - values_b[name],
            low=float(low[i]),
            high=float(high[i]),
            p_value=float(p_values[i]),
        )
        for i, name in enumerate(AVERAGES)
    }


def document_weights(documents: int, n: int, seed: int) -> numpy.ndarray:
    """Draw ``n`` resamples: how often each document occurs, int64 of shape (n, documents)."""
    if documents < 1 or n < 1:
        raise ValueError(
            f"Cannot draw {n} resamples of {documents} documents: expected at least one of each."
        )
    generator = numpy.random.default_rng(seed)
    return generator.multinomial(documents, numpy.full(documents, 1.0 / documents), size=n)


def resample_averages(
    table: CountTable, weights: numpy.ndarray, *, progress: bool = False
) -> numpy.ndarray:
    """Figures of every resample, float64 of shape (resamples, 6), see ``rules.AVERAGES``."""
    documents, classes, _ = table.counts.shape
    flat = table.counts.reshape(documents, classes * 3).astype("float64")
    step = max(1, _CHUNK // max(1, classes * 3))
    averages = numpy.empty((len(weights), len(AVERAGES)))
    bar = tqdm(total=len(weights), desc="Bootstrap", unit="resample", disable=not progress)
    with bar:
        for i in range(0, len(weights), step):
            counts = (weights[i : i + step] @ flat).reshape(-1, classes, 3)
            averages[i : i + step] = average_counts(counts, table.counted)
            bar.update(len(counts))
    return averages


def _borders(values: numpy.ndarray, level: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    if not 0 < level < 1:
        raise ValueError(f"The level of a confidence interval is {level}: expected 0 < level < 1.")
    low, high = numpy.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
