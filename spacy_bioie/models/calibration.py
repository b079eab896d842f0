"""Temperature scaling of probabilities, and how far they are from what happens."""

from typing import Callable

import numpy


def best_temperature(probabilities: Callable[[float], numpy.ndarray], gold: numpy.ndarray) -> float:
    """Find the temperature under which the gold standard is most likely (Guo et al. 2017).

    probabilities: from a temperature to probabilities of the items, float, (items,).
    gold: bool, (items,): which are true. RETURNS: between 0.05 and 20, in steps of about 1 %.
    """

    def loss(log_temperature: float) -> float:
        p = numpy.clip(probabilities(float(numpy.exp(log_temperature))), 1e-7, 1.0 - 1e-7)
        p = p.astype("float64")
        return -float(numpy.where(gold, numpy.log(p), numpy.log1p(-p)).sum())

    low, high = numpy.log(0.05), numpy.log(20.0)
    while True:
        grid = numpy.linspace(low, high, 13)
        best = int(numpy.argmin([loss(float(value)) for value in grid]))
        if high - low < 0.02:
            return round(float(numpy.exp(grid[best])), 6)
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]


def calibration_error(probabilities: numpy.ndarray, gold: numpy.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean distance of probability and frequency over bins of equal
    width, weighted by their items; 0 where there are none.

    probabilities: float, (items,). gold: bool, (items,).
    """
    if not len(gold):
        return 0.0
    index = numpy.minimum((probabilities * bins).astype("int64"), bins - 1)
    gaps = numpy.bincount(index, probabilities.astype("float64") - gold, minlength=bins)
    return float(numpy.abs(gaps).sum() / len(gold))
