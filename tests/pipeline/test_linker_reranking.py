"""The reranker of the component faiss_entity_linker."""

import shutil

import numpy
import pytest
import spacy

from spacy_bioie.kb import Concept, build_knowledge_base
from spacy_bioie.models.candidate_reranker import CandidateReranker_v1, is_fitted
from tests.linking_pipeline import candidates, links
from tests.reranking_pipeline import (
    CONCEPTS,
    NAME,
    NEW_STEMS,
    STEMS,
    expected,
    make_examples,
    make_nlp,
    old_scores,
    start,
    unlinked,
)

pytestmark = pytest.mark.usefixtures("few_mentions_are_enough")


def test_it_learns_from_labels_what_similarity_has_wrong(fitted):
    """Also for names and concepts that no document of the training has."""
    assert is_fitted(fitted.get_pipe(NAME).reranker)
    assert links(fitted.pipe(unlinked(fitted))) == expected()
    wrong = [row[0][0][0] for row in old_scores(fitted)]
    assert wrong == [f"CELL:{stem}" for stem in STEMS + NEW_STEMS]
    for row in candidates(fitted.pipe(unlinked(fitted))):
        for found in row:
            scores = [score for _, score in found]
            assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.0001


def test_initialized_twice_it_is_the_same(fitted):
    nlp = make_nlp()
    first = start(nlp).reranker.to_bytes()
    numpy.random.seed(7)
    start(nlp)
    again = candidates(nlp.pipe(unlinked(nlp)))
    assert nlp.get_pipe(NAME).reranker.to_bytes() == first
    assert again == candidates(fitted.pipe(unlinked(fitted)))


def test_training_leaves_it_alone():
    nlp = make_nlp(context_weight=0.5)
    examples = make_examples(nlp)
    linker = start(nlp, examples)
    before = linker.reranker.to_bytes()
    optimizer = nlp.resume_training()
    for _ in range(2):
        nlp.update(examples, sgd=optimizer)
    assert linker.reranker.to_bytes() == before


def test_survives_disk_and_bytes(fitted, tmp_path):
    docs = candidates(fitted.pipe(unlinked(fitted)))
    fitted.to_disk(tmp_path / "pipeline")
    for again in (spacy.load(tmp_path / "pipeline"), make_nlp().from_bytes(fitted.to_bytes())):
        assert is_fitted(again.get_pipe(NAME).reranker)
        assert candidates(again.pipe(unlinked(again))) == docs


def test_a_pipeline_that_was_saved_without_it_is_loaded(fitted, tmp_path):
    fitted.to_disk(tmp_path / "pipeline")
    (tmp_path / "pipeline" / NAME / "reranker").unlink()
    without = make_nlp(reranker=None)
    start(without)
    older = (spacy.load(tmp_path / "pipeline"), make_nlp().from_bytes(without.to_bytes()))
    for again in older:
        assert not is_fitted(again.get_pipe(NAME).reranker)
        assert candidates(again.pipe(unlinked(again))) == old_scores(fitted)
    # one that has no use for it passes it over
    nlp = make_nlp(reranker=None).from_bytes(fitted.to_bytes())
    assert candidates(nlp.pipe(unlinked(nlp))) == old_scores(fitted)


def test_without_a_reranker_scores_are_the_old_ones(tmp_path):
    nlp = make_nlp(reranker=None, no_link=True)
    with pytest.warns(UserWarning, match="no_link is true, but there is no reranker that has been"):
        linker = start(nlp)
    assert linker.reranker is None
    assert candidates(nlp.pipe(unlinked(nlp))) == old_scores(nlp)
    nlp.to_disk(tmp_path / "pipeline")
    assert not (tmp_path / "pipeline" / NAME / "reranker").exists()
    again = spacy.load(tmp_path / "pipeline")
    assert again.get_pipe(NAME).reranker is None
    assert candidates(again.pipe(unlinked(again))) == old_scores(nlp)


def test_search_by_context_passes_it_over(fitted):
    nlp = make_nlp(search_by="context", context_weight=0.5)
    linker = start(nlp)
    assert not is_fitted(linker.reranker)
    before = candidates(nlp.pipe(unlinked(nlp)))
    linker.reranker.from_bytes(fitted.get_pipe(NAME).reranker.to_bytes())
    assert is_fitted(linker.reranker)
    assert candidates(nlp.pipe(unlinked(nlp))) == before and before[0][0]


def test_context_joins_the_scores(fitted, monkeypatch):
    """With everything against it, the context chooses the other concept."""
    nlp = make_nlp().from_bytes(fitted.to_bytes())
    linker = nlp.get_pipe(NAME)
    linker.cfg["context_weight"] = 5.0
    cells = [i for i, c in enumerate(linker.kb.tables.concept_ids) if c.startswith("CELL")]

    def stub(model, kb, docs, mentions, pairs, component):
        return numpy.isin(pairs.concepts, cells).astype("float64")

    monkeypatch.setattr("spacy_bioie.pipeline.faiss_entity_linker.context_cosines", stub)
    found = links(nlp.pipe(unlinked(nlp)))
    assert found == [[f"CELL:{stem}"] * 2 for stem in STEMS + NEW_STEMS]


def test_another_knowledge_base_without_another_fit(fitted):
    """It reads what a candidate is like, not which concept it is."""
    nlp = make_nlp().from_bytes(fitted.to_bytes())
    other = [Concept(c.concept_id.lower(), c.name, types=c.types) for c in reversed(CONCEPTS)]
    nlp.get_pipe(NAME).set_kb(lambda vocab: build_knowledge_base(other, vocab=vocab)[0])
    found = links(nlp.pipe(unlinked(nlp)))
    assert found == [[concept_id.lower() for concept_id in row] for row in expected()]


def test_reranker_of_another_size_is_loaded_with_its_config(tmp_path):
    settings = {"@architectures": "spacy_bioie.CandidateReranker.v1", "hidden_size": 6}
    nlp = make_nlp(reranker=settings)
    start(nlp)
    docs = candidates(nlp.pipe(unlinked(nlp)))
    nlp.to_disk(tmp_path / "pipeline")
    shutil.move(tmp_path / "pipeline", tmp_path / "moved")
    again = spacy.load(tmp_path / "moved")
    assert again.get_pipe(NAME).reranker.model.layers[0].get_dim("nO") == 6
    assert candidates(again.pipe(unlinked(again))) == docs
    assert CandidateReranker_v1().model.layers[0].get_dim("nO") == 32
