"""Sets of spans in which any two are nested or apart: vectorised, in numpy."""

import numpy


def select_nested(
    starts: numpy.ndarray, ends: numpy.ndarray, ranking: numpy.ndarray
) -> numpy.ndarray:
    """Choose spans that do not cross: going down the ranking, each that crosses none chosen.

    Two spans cross where they share a position and each has one of its own.

    starts, ends: int64, shape (spans,): ranges of at least one position, ``ends`` exclusive.
    ranking: int64, shape (spans,): indices of the spans, best first.
    RETURNS: bool, shape (spans,).
    """
    chosen = numpy.zeros(len(starts), dtype=bool)
    if not len(starts):
        return chosen
    score = numpy.empty(len(starts), dtype="int64")
    score[ranking] = numpy.arange(len(starts), 0, -1)
    remaining = numpy.arange(len(starts))
    shape = (int(ends.max()) + 1, int((ends - starts).max()) + 1)
    while len(remaining):
        # Every span that is better than all that cross it is chosen, and bars those. The rounds
        # end: the best of all remaining spans is always chosen.
        i, j = starts[remaining], ends[remaining]
        best = _best_crossing(i, j, score[remaining], i, j, shape)
        wins = score[remaining] > best
        chosen[remaining[wins]] = True
        barred = _best_crossing(i[wins], j[wins], score[remaining[wins]], i, j, shape) > 0
        remaining = remaining[~wins & ~barred]
    return chosen


def _best_crossing(
    starts: numpy.ndarray,
    ends: numpy.ndarray,
    score: numpy.ndarray,
    of_starts: numpy.ndarray,
    of_ends: numpy.ndarray,
    shape: tuple,
) -> numpy.ndarray:
    """The highest score, or 0, of the spans [starts, ends) that cross each of other spans.

    score: int64, (spans,), above 0. of_starts, of_ends: int64, (others,).
    shape: positions and widths, each one more than the largest.
    RETURNS: int64, (others,).
    """
    # at_start[i, n]: best of the spans that begin with i and are n or more wide; at_end likewise
    at_start, at_end = (_wider(borders, ends - starts, score, shape) for borders in (starts, ends))
    widths = of_ends - of_starts
    best = numpy.zeros(len(of_starts), dtype="int64")
    for inside in range(1, int(widths.max(initial=1))):
        rows = numpy.flatnonzero(widths > inside)
        place = of_starts[rows] + inside
        begins_here = at_start[place, widths[rows] - inside + 1]  # and ends behind the span
        ends_here = at_end[place, inside + 1]  # and begins before the span
        best[rows] = numpy.maximum(best[rows], numpy.maximum(begins_here, ends_here))
    return best


def _wider(
    borders: numpy.ndarray, widths: numpy.ndarray, score: numpy.ndarray, shape: tuple
) -> numpy.ndarray:
    table = numpy.zeros(shape, dtype="int64")
    numpy.maximum.at(table, (borders, widths), score)
    return numpy.maximum.accumulate(table[:, ::-1], axis=1)[:, ::-1]
