"""From probabilities to relations."""

import numpy
import pytest

from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.relation_decoding import decode_relations, eligible
from spacy_bioie.models.relation_schema import RelationSchema

SCHEMA = RelationSchema(
    [["A", "p", "B"], ["A", "q", "B"], ["B", "p", "B"]],
    labels=["A", "B"],
    predicates=["p", "q", "r"],
)
TABLES = [
    numpy.asarray([[0, 1, 1], [0, 1, 0], [3, 4, 1]]),
    numpy.zeros((0, 3), dtype="int64"),
    numpy.asarray([[5, 6, 0], [0, 2, 1]]),
    numpy.asarray([[5, 6, 0]]),
]
# pairs: document 0: (0, 2), (1, 0), (1, 2), (2, 0); document 2: (0, 1)
PROBABILITIES = numpy.asarray(
    [[0.3, 0.9, 0.9], [0.6, 0.7, 0.9], [0.8, 0.6, 0.1], [0.5, 0.9, 0.2], [0.2, 0.4, 1.0]],
    dtype="float32",
)


def decoded(thresholds, one_per_pair):
    found = decode_relations(
        pair_candidates(TABLES, SCHEMA), PROBABILITIES, numpy.asarray(thresholds), one_per_pair
    )
    assert len(found) == len(TABLES)
    rows = [list(zip(*(x.tolist() for x in document[:3]), strict=True)) for document in found]
    assert [len(document.scores) for document in found] == [len(document) for document in rows]
    return rows


def test_all_legal_predicates_above_the_threshold():
    rows = decoded([0.5, 0.5, 0.0], False)
    assert rows == [[(0 + 1, 0, 0), (1, 1, 0), (1, 0, 2), (1, 1, 2), (2, 0, 0)], [], [], []]
    assert decoded([0.0, 0.0, 0.0], False)[2] == [(0, 0, 1), (0, 1, 1)]


def test_one_predicate_for_a_pair():
    assert decoded([0.5, 0.5, 0.0], True) == [[(1, 1, 0), (1, 0, 2), (2, 0, 0)], [], [], []]
    assert decoded([0.0, 0.0, 0.0], True) == [
        [(0, 0, 2), (1, 1, 0), (1, 0, 2), (2, 0, 0)],
        [],
        [(0, 1, 1)],
        [],
    ]


def test_a_predicate_that_misses_its_threshold_does_not_make_way():
    assert decoded([0.0, 0.75, 0.0], True)[0] == [(0, 0, 2), (1, 0, 2), (2, 0, 0)]


def test_scores_and_types():
    found = decode_relations(pair_candidates(TABLES, SCHEMA), PROBABILITIES, numpy.zeros(3), True)
    assert found[0].scores.tolist() == pytest.approx([0.3, 0.7, 0.8, 0.5])
    assert found[0].scores.dtype == numpy.float32
    assert {found[1].heads.dtype, found[1].predicates.dtype, found[1].tails.dtype} == {
        numpy.dtype("int64")
    }


def test_equal_probabilities_give_the_first():
    candidates = pair_candidates(TABLES[2:3], SCHEMA)
    same = numpy.full((1, 3), 0.5, dtype="float32")
    assert eligible(candidates, same, True).tolist() == [[True, False, False]]
    assert eligible(candidates, same, False).tolist() == [[True, True, False]]


def test_no_pairs():
    candidates = pair_candidates([TABLES[1]] * 2, SCHEMA)
    found = decode_relations(candidates, numpy.zeros((0, 3), "float32"), numpy.zeros(3), True)
    assert [len(document.heads) for document in found] == [0, 0]
