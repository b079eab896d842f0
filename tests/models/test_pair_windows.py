"""What is kept of a text around two mentions."""

import numpy
import pytest

from spacy_bioie.models.pair_windows import arrange, choose_text, share

# a head and a tail that stand to each other in every way, within 30 pieces
HEADS = [(3, 5), (3, 5), (8, 9), (3, 9), (4, 6), (3, 6), (5, 9), (3, 5), (3, 5), (4, 4), (3, 6)]
TAILS = [(8, 9), (5, 6), (3, 5), (4, 6), (3, 9), (5, 9), (3, 6), (3, 5), (3, 6), (4, 4), (4, 4)]


def random_pairs(n, length, longest=4, seed=0):
    rng = numpy.random.default_rng(seed)
    begins = rng.integers(0, length - longest, size=(2, n))
    ends = begins + rng.integers(0, longest + 1, size=(2, n))
    return [numpy.stack(side, axis=1) for side in zip(begins, ends, strict=True)]


def kept_pieces(layout, kept, row):
    """The pieces of one pair that are kept, in order."""
    q = layout.borders[row].tolist()
    before, first, gap_begin, _, gap_end, third, after = (int(part[row]) for part in kept)
    assert before >= 0 and first <= q[1] - q[0] and third <= q[3] - q[2]
    return [
        *range(q[0] - before, q[0] + first),
        *range(q[1], q[1] + gap_begin),
        *range(q[2] - gap_end, q[2] + third),
        *range(q[3], q[3] + after),
    ]


def choose(heads, tails, begin, end, room):
    layout = arrange(numpy.asarray(heads), numpy.asarray(tails))
    n = len(layout.borders)
    kept = choose_text(layout, *(numpy.full(n, value) for value in (begin, end, room)))
    return layout, kept


def test_order_of_borders():
    layout = arrange(numpy.asarray(HEADS), numpy.asarray(TAILS))
    assert layout.borders[0].tolist() == [3, 5, 8, 9]
    assert layout.borders[5].tolist() == [3, 5, 6, 9]
    swapped = [(h, t) for h, t, s in zip(HEADS, TAILS, layout.swapped, strict=True) if s]
    assert swapped == [((8, 9), (3, 5)), ((4, 6), (3, 9)), ((5, 9), (3, 6)), ((3, 5), (3, 6))]
    kinds = numpy.where(layout.apart, "apart", numpy.where(layout.nested, "nested", "crossing"))
    expected = ["apart"] * 3 + ["nested"] * 2 + ["crossing"] * 2 + ["nested"] * 2
    assert kinds.tolist() == [*expected, "apart", "nested"]


@pytest.mark.parametrize(
    "room, wanted, given",
    [
        (10, [2, 3, 4], [2, 3, 4]),
        (9, [9, 9, 9], [3, 3, 3]),
        (10, [9, 1, 9], [4, 1, 5]),
        (3, [0, 9, 0], [0, 3, 0]),
        (0, [4, 4, 4], [0, 0, 0]),
    ],
)
def test_room_is_shared(room, wanted, given):
    assert share(numpy.asarray([room]), numpy.asarray([wanted])).tolist() == [given]


@pytest.mark.parametrize(
    "head, tail, room, pieces",
    [
        ((10, 12), (14, 15), 9, [8, 9, 10, 11, 12, 13, 14, 15, 16]),  # both sides alike
        ((0, 1), (3, 4), 8, range(8)),  # what one side lacks goes to the other
        ((28, 30), (25, 26), 8, range(22, 30)),
        ((5, 6), (8, 9), 4, [5, 6, 7, 8]),  # what lies between fits, and nothing else
        ((5, 6), (24, 25), 11, [3, 4, 5, 6, 7, 22, 23, 24, 25, 26]),  # one is for the cut
        ((24, 25), (5, 6), 11, [3, 4, 5, 6, 7, 22, 23, 24, 25, 26]),
        ((0, 1), (29, 30), 8, [0, 1, 2, 26, 27, 28, 29]),
        ((2, 20), (25, 26), 8, [2, 3, 4, 5, 6, 7, 25]),  # a long one keeps its begin
        ((2, 20), (10, 11), 8, [2, 3, 4, 10, 11, 12, 13, 14]),  # and does not hide the other
        ((4, 20), (2, 8), 8, [2, 3, 4, 5, 6, 8, 9, 10]),
    ],
)
def test_what_is_kept(head, tail, room, pieces):
    layout, kept = choose([head], [tail], 0, 30, room)
    assert kept_pieces(layout, kept, 0) == list(pieces)
    assert bool(kept.cut[0]) == (len(pieces) < room)


@pytest.mark.parametrize("room", [3, 5, 8, 13, 29, 30, 40])
def test_nothing_is_kept_twice_and_no_mention_is_lost(room):
    n = 400
    heads, tails = random_pairs(n, 26)
    heads, tails = heads + 2, tails + 2
    layout, kept = choose(heads, tails, 2, 28, room)
    for row in range(n):
        pieces = kept_pieces(layout, kept, row)
        assert pieces == sorted(set(pieces)) and set(pieces) <= set(range(2, 28))
        assert len(pieces) + kept.cut[row] <= room
        if room >= 26:
            assert pieces == list(range(2, 28))
            continue
        assert len(pieces) + kept.cut[row] == room  # no room is wasted
        mentions = [set(range(*side[row].tolist())) for side in (heads, tails)]
        fit = len(mentions[0] | mentions[1]) < room
        for mention in mentions:
            assert mention <= set(pieces) if fit else bool(mention & set(pieces)) == bool(mention)
        begin, *inner, end = layout.borders[row].tolist()
        if end - begin <= room - 1:
            assert set(range(begin, end)) <= set(pieces)
            sides = [sum(p < begin for p in pieces), sum(p >= end for p in pieces)]
            assert (
                abs(sides[0] - sides[1]) <= 1 or min(begin - 2 - sides[0], 28 - end - sides[1]) == 0
            )


def test_texts_and_rooms_of_different_pairs():
    heads, tails = numpy.asarray([[5, 6], [105, 106]]), numpy.asarray([[8, 9], [124, 125]])
    begin, end, room = numpy.asarray([[0, 100], [30, 130], [40, 11]])
    layout = arrange(heads, tails)
    kept = choose_text(layout, begin, end, room)
    assert kept_pieces(layout, kept, 0) == list(range(30))
    assert kept_pieces(layout, kept, 1) == [*range(103, 108), *range(122, 127)]


def test_no_pairs():
    nothing = numpy.zeros((0, 2), dtype="int64")
    layout, kept = choose(nothing, nothing, 0, 5, 8)
    assert [part.shape for part in kept] == [(0,)] * 7
