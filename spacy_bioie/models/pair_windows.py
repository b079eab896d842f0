"""How much of a text stays around two mentions, where it is longer than an encoder takes.

A mention is never lost. All is counted in word pieces, for many pairs at a time.
"""

from typing import NamedTuple

import numpy


class PairLayout(NamedTuple):
    """Where the mentions of pairs stand to each other.

    borders: int64, (pairs, 4), ascending: where one of the mentions begins or ends.
    swapped: bool, (pairs,): the tail begins before the head, or with it and is the longer one.
    apart: bool, (pairs,): the first two borders are those of one mention, the last two those of
        the other.
    nested: bool, (pairs,): the inner two borders are those of one mention.
    """

    borders: numpy.ndarray
    swapped: numpy.ndarray
    apart: numpy.ndarray
    nested: numpy.ndarray


def arrange(heads: numpy.ndarray, tails: numpy.ndarray) -> PairLayout:
    """Put the borders of heads and tails in order.

    heads, tails: int64, (pairs, 2): begin and end (exclusive). Mentions may nest, cross, have
        equal borders, or be empty.
    """
    length = (heads[:, 1] - heads[:, 0], tails[:, 1] - tails[:, 0])
    together = heads[:, 0] == tails[:, 0]
    swapped = (tails[:, 0] < heads[:, 0]) | (together & (length[1] > length[0]))
    outer = numpy.where(swapped[:, None], tails, heads)
    inner = numpy.where(swapped[:, None], heads, tails)
    apart = outer[:, 1] <= inner[:, 0]
    nested = ~apart & (inner[:, 1] <= outer[:, 1])
    borders = numpy.sort(numpy.concatenate([outer, inner], axis=1), axis=1)
    return PairLayout(borders, swapped, apart, nested)


class KeptText(NamedTuple):
    """What is kept of a text: int64, (pairs,) each, in pieces.

    before: just before the first border. first, gap_begin, third: from the first, second and
    third border on. gap_end: just before the third border. after: from the last border on.
    cut: bool, (pairs,): something is left out between ``gap_begin`` and ``gap_end``, and a piece
    is reserved to say so.
    """

    before: numpy.ndarray
    first: numpy.ndarray
    gap_begin: numpy.ndarray
    cut: numpy.ndarray
    gap_end: numpy.ndarray
    third: numpy.ndarray
    after: numpy.ndarray


def choose_text(
    layout: PairLayout, begin: numpy.ndarray, end: numpy.ndarray, room: numpy.ndarray
) -> KeptText:
    """Choose ``room`` pieces of a text around two mentions.

    The mentions come first; of mentions that do not fit, each keeps its first pieces. Then comes
    what lies between them. If that fits, the room that is left is for the text before and after
    them, in equal parts. If not, the middle between them is cut out, and the room is for both
    sides of both mentions, in equal parts. What one side does not need goes to the others.

    begin, end: int64, (pairs,): the text. room: int64, (pairs,): at least 3.
    """
    parts = numpy.diff(numpy.column_stack([begin, layout.borders, end]), axis=1)
    gap = numpy.where(layout.apart, parts[:, 2], 0)
    mentions = parts[:, 1:4].copy()
    mentions[:, 1] -= gap
    kept = share(room - (gap > 0), mentions)
    left = room - kept.sum(axis=1)
    cut = gap > left
    left = numpy.where(cut, left - 1, left - gap)
    beside = numpy.where(cut, gap, 0)
    before, gap_begin, gap_end, after = share(
        left, numpy.column_stack([parts[:, 0], beside, beside, parts[:, 4]])
    ).T
    gap_begin = numpy.where(cut, gap_begin, gap) + kept[:, 1]
    return KeptText(before, kept[:, 0], gap_begin, cut, gap_end, kept[:, 2], after)


def share(room: numpy.ndarray, wanted: numpy.ndarray) -> numpy.ndarray:
    """Divide room as equally as possible among takers that want no more than they need.

    room: int64, (n,). wanted: int64, (n, takers). RETURNS: int64, (n, takers).
    """
    order = numpy.argsort(wanted, axis=1, kind="stable")
    given = numpy.zeros_like(wanted)
    n_takers = wanted.shape[1]
    for i in range(n_takers):  # who wants least is served first
        taker = order[:, i : i + 1]
        part = numpy.take_along_axis(wanted, taker, axis=1)[:, 0]
        part = numpy.minimum(part, room // (n_takers - i))
        numpy.put_along_axis(given, taker, part[:, None], axis=1)
        room = room - part
    return given
