"""Words that names share, worked out by hand."""

import numpy
import pytest

from spacy_bioie.kb.word_overlap import OVERLAPS, word_overlaps


def overlaps(mentions, names):
    """The columns of each pair of a mention and a name, by the two texts."""
    asked = numpy.repeat(numpy.arange(len(mentions)), len(names))
    found = numpy.tile(numpy.arange(len(names)), len(mentions))
    rows = word_overlaps(mentions, names, asked, found)
    assert rows.dtype == numpy.float32 and rows.shape == (len(asked), len(OVERLAPS))
    return {
        (mentions[i], names[j]): [round(value, 4) for value in row]
        for i, j, row in zip(asked.tolist(), found.tolist(), rows.tolist(), strict=True)
    }


# of the mention, of the name, last word, first word, at its end, at its beginning
@pytest.mark.parametrize(
    "mention, name, expected",
    [
        ("gut flora", "gut flora", [1, 1, 1, 1, 1, 1]),
        ("gut flora", "flora", [5 / 8, 1, 1, 0, 1, 0]),
        ("gut flora", "gut", [3 / 8, 1, 0, 1, 0, 1]),
        ("flora", "gut flora", [1, 5 / 8, 1, 0, 0, 0]),
        ("flora gut", "gut flora", [1, 1, 0, 0, 0, 0]),
        ("old gut flora", "gut", [3 / 11, 1, 0, 0, 0, 0]),
        ("old gut flora", "old flora", [8 / 11, 1, 1, 1, 0, 0]),
        ("gut flora", "mood", [0, 0, 0, 0, 0, 0]),
        # a word that one of both repeats
        ("gut", "gut gut", [1, 1, 1, 1, 0, 0]),
        ("gut gut", "gut", [0.5, 1, 1, 1, 1, 1]),
        # keys: number and Greek letters; what is no letter or digit parts words
        ("human patients", "patient", [7 / 12, 1, 1, 0, 1, 0]),
        ("tnf α", "(tnf/alpha)", [1, 1, 1, 1, 1, 1]),
        ("il_6", "6", [1 / 3, 1, 1, 0, 1, 0]),
        # nothing that could be shared
        ("--", "gut", [0] * 6),
        ("gut", "--", [0] * 6),
        ("--", "--", [0] * 6),
    ],
)
def test_one_pair(mention, name, expected):
    found = overlaps([mention], [name])[mention, name]
    assert found == [round(value, 4) for value in expected]


def test_batch_equals_single():
    mentions = ["gut flora", "--", "patients with depression", "flora"]
    names = ["flora", "depression", "--", "gut floras", "depressed patients with flora"]
    batch = overlaps(mentions, names)
    for mention in mentions:
        for name in names:
            assert overlaps([mention], [name])[mention, name] == batch[mention, name]


def test_pairs_in_any_order_and_none():
    mentions, names = ["gut flora", "mood"], ["flora", "mood"]
    rows = word_overlaps(mentions, names, numpy.asarray([1, 0, 1]), numpy.asarray([1, 0, 0]))
    assert rows[:, 0].tolist() == [1.0, 0.625, 0.0]
    none = numpy.zeros((0,), dtype="int64")
    for texts in (mentions, []):
        assert word_overlaps(texts, texts, none, none).shape == (0, len(OVERLAPS))
