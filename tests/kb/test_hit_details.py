"""What search hits say of candidates, worked out by hand on names with vectors of our choice."""

import numpy
import pytest

from spacy_bioie.kb import Concept, hit_details
from spacy_bioie.kb.hit_details import DETAILS, NO_VOTE, OTHER_LABEL, VOTE_TEMPERATURES
from spacy_bioie.kb.linking import (
    FOLDED_SIMILARITY,
    LinkingSettings,
    find_candidates,
    merge_mentions,
)

from .builders import AngleEncoder, make_kb

# Degrees: the similarity of two names is the cosine of the angle between them
ANGLES = {"cold": 0, "heat": 90, "damp": 60, "chill": 20, "colds": 35}
CONCEPTS = [Concept("A", "cold"), Concept("B", "heat"), Concept("C", "frost")]
MENTIONS = [
    *[("damp", "air", "A")] * 2,
    ("damp", "sky", "B"),
    ("cold", "sky", "A"),
]
SETTINGS = LinkingSettings(details=True)


def cosine(degrees):
    return float(numpy.cos(numpy.radians(degrees)))


def angle_kb(**settings):
    encoder = AngleEncoder({**ANGLES, "frost": 180})
    return make_kb(CONCEPTS, mentions=MENTIONS, name_encoder=encoder, **settings)


@pytest.fixture(scope="module")
def kb():
    return angle_kb(lexical_weight=0.0)


def details(kb, names, labels, settings=SETTINGS):
    """The details of each mention and concept, by name of column."""
    pairs = find_candidates(kb, names, labels, settings)
    assert pairs.details.dtype == numpy.float32
    ids = kb.tables.concept_ids.take(pairs.concepts)
    return {
        (mention, concept): dict(zip(DETAILS, row, strict=True))
        for mention, concept, row in zip(
            pairs.mentions.tolist(), ids, pairs.details.tolist(), strict=True
        )
    }


def votes(label, weights):
    """Both votes of each concept; weights: (concept, label, count, similarity) of the hits."""
    out = []
    for temperature in VOTE_TEMPERATURES:
        parts = [
            (concept, n * (1 if kind == label else OTHER_LABEL), similarity)
            for concept, kind, n, similarity in weights
        ]
        parts = [(c, n * numpy.exp((s - 1) / temperature)) for c, n, s in parts]
        total = sum(weight for _, weight in parts) + NO_VOTE
        out.append({c: sum(w for d, w in parts if d == c) / total for c in "ABC"})
    return out


def test_details_of_a_name_that_is_new(kb):
    found = details(kb, ["chill"], ["air"])
    near, far = votes(
        "air",
        [
            ("A", "air", 2, cosine(40)),
            ("B", "sky", 1, cosine(40)),
            ("A", "sky", 1, cosine(20)),
        ],
    )
    assert list(found) == [(0, "A"), (0, "B"), (0, "C")]
    expected = {
        # cold is a name that sources give, damp one of training mentions
        "A": (0.0, cosine(20), cosine(20), cosine(40), near["A"], far["A"], 0.0),
        "B": (0.0, cosine(40), cosine(70), cosine(40), near["B"], far["B"], 0.0),
        # the greatest of no similarity and a negative one
        "C": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    }
    for concept, values in expected.items():
        no_words = (0.0,) * (len(DETAILS) - len(values))
        row = list(found[0, concept].values())
        assert row == pytest.approx((*values, *no_words), abs=1e-5)
    assert near["A"] > near["B"] > 0


def test_words_of_official_and_of_training_names():
    concepts = [Concept("A", "gut flora", ("flora, human",)), Concept("B", "mood")]
    kb = make_kb(concepts, mentions=[("bad mood", "x", "B"), ("old gut floras", "x", "A")])
    found = details(kb, ["old flora", "gut flora"], ["x", "x"])
    row = found[0, "A"]
    # the greatest of both names, each column for itself
    assert row["official_of_mention"] == pytest.approx(5 / 8)
    assert row["official_of_name"] == pytest.approx(5 / 8)
    assert [row["official_last_word"], row["official_first_word"]] == [1, 0]
    assert [row["official_at_end"], row["official_at_beginning"]] == [0, 0]
    assert row["training_of_mention"] == row["training_first_word"] == 1
    assert row["training_of_name"] == pytest.approx(8 / 11)
    row = found[1, "A"]
    assert row["official_at_end"] == row["official_at_beginning"] == row["official_of_name"] == 1
    assert [row["training_of_mention"], row["training_at_end"]] == [1, 0]
    assert {value for name, value in found[0, "B"].items() if "_of_" in name} == {0}


def test_details_of_an_equal_name_and_of_another_label(kb):
    found = details(kb, ["damp", "", "damp"], ["sky", "air", "never seen"])
    assert {mention for mention, _ in found} == {0, 2}
    hits = [("A", "air", 2, 1.0), ("B", "sky", 1, 1.0), ("A", "sky", 1, cosine(60))]
    for mention, label in ((0, "sky"), (2, "never seen")):
        near, far = votes(label, hits)
        a, b = found[mention, "A"], found[mention, "B"]
        assert a["official"] == pytest.approx(0.5, abs=1e-5)
        assert a["training"] == b["training"] == pytest.approx(1)
        assert b["official"] == pytest.approx(cosine(30), abs=1e-5)
        assert (a["near_vote"], b["near_vote"]) == pytest.approx((near["A"], near["B"]), abs=1e-5)
        assert (a["far_vote"], b["far_vote"]) == pytest.approx((far["A"], far["B"]), abs=1e-5)
        # whatever the label of the mention is
        assert a["log_equal"] == pytest.approx(numpy.log(3))
        assert b["log_equal"] == pytest.approx(numpy.log(2))
    assert found[0, "B"]["near_vote"] > found[2, "B"]["near_vote"]


def test_details_of_names_with_the_same_key(kb):
    """The similarity is that of the dictionary, the one in meaning that of the vectors."""
    found = details(kb, ["colds"], ["air"], LinkingSettings(n_search=0, details=True))
    assert list(found) == [(0, "A")]
    row = found[0, "A"]
    assert row["official"] == pytest.approx(FOLDED_SIMILARITY)
    assert row["semantic"] == pytest.approx(cosine(35), abs=1e-5)
    assert row["log_equal"] == row["training"] == 0.0
    near, far = votes("air", [("A", "sky", 1, FOLDED_SIMILARITY)])
    assert (row["near_vote"], row["far_vote"]) == pytest.approx((near["A"], far["A"]), abs=1e-5)


def test_similarities_in_spelling_and_in_meaning():
    kb = angle_kb(lexical_weight=1.0, semantic_weight=3.0, lexical_dims=64)
    assert kb.vectorizer.lexical_weight == 0.25
    pairs = find_candidates(kb, ["chill"], ["air"], SETTINGS)
    found = details(kb, ["chill"], ["air"])
    spelling = kb.vectorizer.lexical.transform(["chill", "heat", "damp"])
    heat, damp = spelling[1:] @ spelling[0]
    row = found[0, "B"]
    assert row["lexical"] == pytest.approx(max(heat, damp, 0), abs=1e-5)
    assert row["semantic"] == pytest.approx(cosine(40), abs=1e-5)
    assert row["official"] == pytest.approx(0.25 * heat + 0.75 * cosine(70), abs=1e-5)
    assert row["training"] == pytest.approx(0.25 * damp + 0.75 * cosine(40), abs=1e-5)
    greatest = numpy.maximum(pairs.details[:, 2], pairs.details[:, 3])
    numpy.testing.assert_allclose(greatest, numpy.maximum(pairs.similarity, 0), atol=1e-5)


def test_vectors_are_compared_in_parts(kb, monkeypatch):
    names, labels = ["chill", "damp", "cold"], ["air", "sky", "sky"]
    whole = find_candidates(kb, names, labels, SETTINGS).details
    monkeypatch.setattr(hit_details, "_AT_ONCE", 2)
    parts = find_candidates(kb, names, labels, SETTINGS).details
    numpy.testing.assert_allclose(parts, whole, atol=1e-6)


def test_batch_equals_single(kb):
    names, labels = ["damp", "chill", "damp", "colds", "heat"], ["air", "sky", "sky", "x", "air"]
    batch = details(kb, names, labels)
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        for (_, concept), row in details(kb, [name], [label]).items():
            assert list(batch[i, concept].values()) == pytest.approx(list(row.values()), abs=1e-6)


def test_merged_names_have_the_greatest_details(kb):
    names = ["chill", "damp", "heat"]
    pairs = find_candidates(kb, names, ["air"] * 3, SETTINGS)
    merged = merge_mentions(pairs, numpy.asarray([0, 1, 0]))
    alone = details(kb, names, ["air"] * 3)
    ids = kb.tables.concept_ids.take(merged.concepts)
    for mention, concept, row in zip(merged.mentions, ids, merged.details, strict=True):
        rows = [alone[name, concept] for name in ((0, 2) if mention == 0 else (1,))]
        assert row.tolist() == [max(other[column] for other in rows) for column in DETAILS]


def test_nothing_is_found():
    empty = make_kb([])
    for names in ([], ["", ""], ["chill"]):
        pairs = find_candidates(empty, names, [""] * len(names), SETTINGS)
        assert pairs.details.shape == (0, len(DETAILS))
    assert find_candidates(empty, ["chill"], [""], LinkingSettings()).details is None
