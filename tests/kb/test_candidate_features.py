"""Candidates as rows of numbers."""

import numpy
import pytest

from spacy_bioie.kb.candidate_features import FEATURES, candidate_features
from spacy_bioie.kb.hit_details import DETAILS
from spacy_bioie.kb.linking import CandidatePairs, LinkingSettings, find_candidates

from .builders import make_kb

MENTIONS = [
    *[("depression", "DDF", "C1")] * 3,
    ("low mood", "DDF", "C1"),
    ("low mood", "place", "C1"),
    ("hollow", "place", "C3"),
]


@pytest.fixture(scope="module")
def kb():
    return make_kb(mentions=MENTIONS)


def by_hand(kb):
    """Two candidates of the first mention, none of the second, one of the third."""
    rows = [kb.tables.concept_row(concept_id) for concept_id in ("C1", "C3", "C2")]
    details = numpy.zeros((3, len(DETAILS)), dtype="float32")
    details[:, 0] = (0.2, 0.6, 0.3)  # lexical
    details[:, 1] = (0.9, 0.4, -0.5)  # semantic
    details[:, 6] = (1.5, 0.0, 0.25)  # log_equal
    labels = kb.tables.label_rows(["place", "DDF", "DDF"])
    concepts, mentions = numpy.asarray(rows), numpy.asarray([0, 0, 2])
    return labels, CandidatePairs(
        mentions=mentions,
        concepts=concepts,
        similarity=numpy.asarray([0.7, 0.5, 0.8]),
        evidence=numpy.asarray([0.0, 0.6, 0.0]),
        label_mismatch=kb.tables.label_mismatch(concepts, labels[mentions]),
        log_count=numpy.log1p(kb.tables.concept_counts[concepts].astype("float64")),
        details=details,
    )


def test_features_by_hand(kb):
    labels, pairs = by_hand(kb)
    rows = candidate_features(kb, pairs, labels)
    assert rows.dtype == numpy.float32 and rows.shape == (6, len(FEATURES))
    column = {name: rows[:, i].tolist() for i, name in enumerate(FEATURES)}
    expected = {
        # the last three are the choice of no link, with the greatest values of the candidates
        "lexical": [0.2, 0.6, 0.3, 0.6, 0, 0.3],
        "semantic": [0.9, 0.4, -0.5, 0.9, 0, 0],
        "log_equal": [1.5, 0, 0.25, 1.5, 0, 0.25],
        "similarity": [0.7, 0.5, 0.8, 0.7, 0, 0.8],
        "evidence": [0, 0.6, 0, 0.6, 0, 0],
        "best_evidence": [0.6, 0.6, 0, 0.6, 0, 0],
        "log_count": [numpy.log(6), numpy.log(2), 0, numpy.log(6), 0, 0],
        # of the concept's five training mentions one has the label "place"
        "log_label_count": [numpy.log(2), numpy.log(2), 0, numpy.log(2), 0, 0],
        # of C2 no label is known: its type "microbiome" is that of no training mention
        "label_known": [1, 1, 0, 1, 0, 0],
        "label_match": [1, 1, 0, 1, 0, 0],
        "similarity_behind_best": [0, -0.2, 0, 0, 0, 0],
        "lexical_behind_best": [-0.4, 0, 0, 0, 0, 0],
        "semantic_behind_best": [0, -0.5, 0, 0, 0, 0],
        "no_link": [0, 0, 0, 1, 1, 1],
    }
    for name, values in expected.items():
        assert column[name] == pytest.approx(values, abs=1e-6), name


def test_labels_that_do_not_match_or_are_not_known(kb):
    _, pairs = by_hand(kb)
    for label in ("DDF", "never seen"):
        labels = kb.tables.label_rows([label] * 3)
        mismatch = kb.tables.label_mismatch(pairs.concepts, labels[pairs.mentions])
        pairs = CandidatePairs(**{**pairs.__dict__, "label_mismatch": mismatch})
        rows = candidate_features(kb, pairs, labels)[:3]
        column = {name: rows[:, i].tolist() for i, name in enumerate(FEATURES)}
        assert column["label_known"] == [1, 1, 0]
        assert column["label_match"] == [float(label == "DDF"), 0, 0]
        expected = [numpy.log(5), 0, 0] if label == "DDF" else [0, 0, 0]
        assert column["log_label_count"] == pytest.approx(expected)


def test_features_of_candidates_that_were_found(kb):
    names, labels = ["depression", "low moods", ""], ["DDF", "place", "DDF"]
    pairs = find_candidates(kb, names, labels, LinkingSettings(details=True))
    rows = candidate_features(kb, pairs, kb.tables.label_rows(labels))
    assert rows.shape == (len(pairs.mentions) + 3, len(FEATURES))
    numpy.testing.assert_array_equal(rows[: len(pairs.mentions), : len(DETAILS)], pairs.details)
    assert numpy.isfinite(rows).all()
    # nothing was found for the empty name
    assert rows[-1].tolist() == [0] * (len(FEATURES) - 1) + [1]


@pytest.mark.parametrize("mentions", [[], MENTIONS])
def test_nothing_is_found(mentions):
    kb = make_kb([], mentions=mentions) if mentions else make_kb([])
    settings = LinkingSettings(details=True)
    for names in ([], [""]):
        pairs = find_candidates(kb, names, [""] * len(names), settings)
        rows = candidate_features(kb, pairs, kb.tables.label_rows([""] * len(names)))
        assert rows.shape == (len(names), len(FEATURES))
