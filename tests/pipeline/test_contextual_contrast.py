"""The choice of names that a mention is contrasted with, on an index made by hand."""

import pickle

import numpy
import pytest

from spacy_bioie.kb import Concept
from spacy_bioie.pipeline.contextual_contrast import ContextualContrast_v1, choose_names
from tests.kb.builders import make_kb

# Names are sorted: a0 a1 a2 are rows 0 to 2 (of A), b0 b1 3 and 4 (of B), shared 5 (of both)
KB = make_kb(
    [Concept("A", "a0", ("a1", "a2", "shared")), Concept("B", "b0", ("b1", "shared"))],
    lexical_dims=8,
)
A, B = 0, 1
A0, A1, A2, B0, B1, SHARED = range(6)


def choose(hits, concepts, n_negatives):
    rows = numpy.asarray(hits, dtype="int64").reshape((len(concepts), -1))
    return choose_names(KB.tables, rows, numpy.asarray(concepts), n_negatives).tolist()


def test_names_of_the_index():
    assert list(KB.tables.names) == ["a0", "a1", "a2", "b0", "b1", "shared"]


def test_the_last_right_name_and_the_first_wrong_ones():
    assert choose([[A1, B1, A0, B0, A2]], [A], 2) == [[A2, B1, B0]]
    assert choose([[A1, B1, A0, B0, A2]], [A], 1) == [[A2, B1]]
    # the same names for another concept
    assert choose([[A1, B1, A0, B0, A2]], [B], 3) == [[B0, A1, A0, A2]]


def test_a_name_of_two_concepts_is_right_for_both():
    assert choose([[B0, SHARED, B1], [A0, SHARED, B1]], [A, B], 1) == [[SHARED, B0], [B1, A0]]


def test_without_a_right_name_one_of_the_concept_is_drawn():
    numpy.random.seed(0)
    drawn = {tuple(choose([[B0, B1]], [A], 2)[0]) for _ in range(100)}
    assert {row[0] for row in drawn} == {A0, A1, A2, SHARED}
    assert {row[1:] for row in drawn} == {(B0, B1)}


def test_missing_wrong_names_are_drawn_from_all_others():
    numpy.random.seed(0)
    rows = [choose([[A1, B1, -1, -1]], [A], 3)[0] for _ in range(100)]
    assert {tuple(row[:2]) for row in rows} == {(A1, B1)}
    assert {name for row in rows for name in row[2:]} == {B0, B1}
    assert choose([[A0, A0]] * 50, [A] * 50, 3) != choose([[A0, A0]] * 50, [A] * 50, 3)


def test_where_there_are_no_other_names():
    kb = make_kb([Concept("A", "a0", ("a1",))], lexical_dims=8)
    found = choose_names(kb.tables, numpy.asarray([[1, 0]]), numpy.asarray([0]), 2)
    assert found.tolist() == [[0, -1, -1]]
    assert choose_names(kb.tables, numpy.zeros((0, 2), dtype="int64"), found[:0, 0], 2).shape == (
        0,
        3,
    )


def test_no_negatives():
    assert choose([[A1, B1]], [A], 0) == [[A1]]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"mine": "step"}, r"mine is 'step', expected one of \['epoch', 'batch'\]"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1, expected 0 or more"),
        ({"n_search": 0}, "n_search is 0, expected 1 or more"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=f"spacy_bioie.ContextualContrast.v1: {message}"):
        ContextualContrast_v1(**settings)


def test_pickled_without_the_corpus():
    learning = ContextualContrast_v1(n_search=7)
    learning._get_examples = lambda: []  # what cannot be pickled
    again = pickle.loads(pickle.dumps(learning))
    assert again.n_search == 7 and again._get_examples is None
