"""Searching names by the vectors of mentions in their context."""

import numpy
import pytest

from spacy_bioie.kb import Concept, TransformerNameEncoder
from spacy_bioie.kb.context_search import (
    add_context_candidates,
    context_name_vectors,
    search_names,
    vectors_of_names,
)
from spacy_bioie.kb.lexical import normalise_rows
from spacy_bioie.kb.linking import LinkingSettings, find_candidates
from tests.tiny_encoder import make_tiny_bert

from .builders import make_kb

FORMS = ("both", "semantic", "lexical")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return TransformerNameEncoder(make_tiny_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def kbs(encoder):
    return {
        "both": make_kb(name_encoder=encoder, lexical_weight=0.8, semantic_weight=0.2),
        "semantic": make_kb(name_encoder=encoder, lexical_weight=0.0),
        "lexical": make_kb(lexical_dims=64),
    }


@pytest.mark.parametrize("form", FORMS)
def test_names_are_ranked_by_the_cosine_with_the_context(kbs, form):
    kb = kbs[form]
    vectors = numpy.random.default_rng(0).normal(size=(3, kb.context_dims)).astype("float32") * 9
    names = context_name_vectors(kb, numpy.arange(len(kb.tables.names)))
    numpy.testing.assert_allclose(numpy.linalg.norm(names, axis=1), 1, atol=1e-5)
    expected = normalise_rows(vectors) @ names.T
    cosines, rows = search_names(kb, vectors, 4)
    assert rows.shape == (3, 4)
    numpy.testing.assert_array_equal(rows, numpy.argsort(-expected, axis=1)[:, :4])
    numpy.testing.assert_allclose(cosines, -numpy.sort(-expected, axis=1)[:, :4], atol=1e-5)
    # the part that is for spelling alone plays no part
    assert search_names(kb, vectors[:0], 4)[1].shape == (0, 4)


@pytest.mark.parametrize("form", FORMS)
def test_vectors_of_names_known_or_not(kbs, form):
    kb = kbs[form]
    names = ["melancholia", "never seen", "depression", "melancholia"]
    vectors = vectors_of_names(kb, names)
    columns = kb.vectorizer.context_slice
    expected = normalise_rows(kb.vectorizer.vectors(names)[:, columns])
    numpy.testing.assert_allclose(vectors, expected, atol=1e-5)
    (row,) = kb.tables.name_rows(["melancholia"])
    numpy.testing.assert_allclose(context_name_vectors(kb, [row, row])[1], vectors[0], atol=1e-5)


def test_candidates_of_dictionary_and_context_are_joined(kbs):
    kb = kbs["semantic"]
    names = ["depression", "unheard", "e coli"]
    labels = ["DDF", "DDF", "bacteria"]
    by_name = find_candidates(kb, names, labels, LinkingSettings(n_search=0))
    asked = vectors_of_names(kb, ["gut microbiota", "escherichia coli", "hollow"])
    both = add_context_candidates(kb, by_name, asked, labels, 2)
    ids = kb.tables.concept_ids
    found = [
        {
            ids[int(c)]: float(s)
            for m, c, s in zip(both.mentions, both.concepts, both.similarity, strict=True)
            if m == i
        }
        for i in range(3)
    ]
    # equal names have a similarity of 1, the others that of their nearest name
    assert found[0]["C1"] == found[0]["C3"] == 1 and found[0]["C2"] == pytest.approx(1, abs=1e-5)
    assert found[1]["C4"] == pytest.approx(1, abs=1e-5)
    assert found[2]["C3"] == pytest.approx(1, abs=1e-5)
    assert both.mentions.tolist() == sorted(both.mentions.tolist())
    keys = list(zip(both.mentions.tolist(), both.concepts.tolist(), strict=True))
    assert keys == sorted(set(keys))
    mismatch = dict(zip(keys, both.label_mismatch.tolist(), strict=True))
    assert mismatch[(1, kb.tables.concept_row("C4"))] and not mismatch[(0, 0)]


def test_evidence_of_the_dictionary_is_kept(encoder):
    kb = make_kb(
        mentions=[("depression", "DDF", "C1")] * 3, name_encoder=encoder, lexical_weight=0.0
    )
    by_name = find_candidates(kb, ["depression"], ["DDF"], LinkingSettings(n_search=0))
    both = add_context_candidates(kb, by_name, vectors_of_names(kb, ["hollow"]), ["DDF"], 20)
    at = both.concepts.tolist().index(kb.tables.concept_row("C1"))
    assert both.evidence[at] == pytest.approx(3 / 3.5)
    assert numpy.count_nonzero(both.evidence) == 1
    assert both.log_count[at] == pytest.approx(numpy.log(4))


def test_knowledge_base_without_names():
    for concepts in ([], [Concept("C9")]):
        kb = make_kb(concepts)
        vectors = numpy.ones((2, kb.context_dims), dtype="float32")
        by_name = find_candidates(kb, ["a", "b"], ["", ""], LinkingSettings(n_search=0))
        both = add_context_candidates(kb, by_name, vectors, ["", ""], 5)
        assert len(both.mentions) == 0
        assert search_names(kb, vectors, 5)[1].shape == (2, 0)
