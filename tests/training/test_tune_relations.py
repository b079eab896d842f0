"""Thresholds of a pipeline on held-out documents, in memory and on disk."""

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_bioie.training.tune_relations import tune_relations, tune_saved_pipeline

from ..relation_pipeline import (
    LISTENER,
    NAME,
    SHARED_TOK2VEC,
    TRAIN,
    initialize,
    make_examples,
    make_nlp,
    train,
)


@pytest.fixture(scope="module")
def nlp():
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    train(nlp, initialize(nlp), 7, rate=0.002)
    nlp.add_pipe("doc_cleaner", config={"attrs": {"tensor": None}})
    return nlp


@pytest.fixture
def saved(nlp, tmp_path):
    """A saved pipeline and a corpus."""
    nlp.to_disk(tmp_path / "model")
    docs = [eg.reference for eg in make_examples(nlp, TRAIN * 2)]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "held_out.spacy")
    return tmp_path / "model", tmp_path / "held_out.spacy"


def threshold_of(model):
    return spacy.load(model).get_pipe(NAME).cfg["threshold"]


@pytest.mark.parametrize("input", ["gold", "pred"])
def test_tune_relations(nlp, input):
    nlp = nlp.from_bytes(nlp.to_bytes())
    result = tune_relations(nlp, make_examples(nlp, TRAIN * 2), input=input, metric="tt")
    figures = nlp.evaluate(make_examples(nlp, TRAIN * 2))
    if input == "pred":  # no figures on gold mentions after doc_cleaner
        assert figures["rel_pred_tt_micro_f"] == pytest.approx(result["rel_pred_tt_micro_f"])
    assert nlp.get_pipe(NAME).cfg["threshold"] == result["threshold"] != 0.5
    assert nlp.pipe_names[-1] == "doc_cleaner" and not nlp.disabled


def test_output_folder(saved, tmp_path):
    model, corpus = saved
    before = (model / NAME / "cfg").read_bytes()
    result = tune_saved_pipeline(model, corpus, tmp_path / "new" / "tuned")
    assert threshold_of(tmp_path / "new" / "tuned") == pytest.approx(result["threshold"])
    assert (model / NAME / "cfg").read_bytes() == before
    # again, over the one that is there
    again = tune_saved_pipeline(model, corpus, tmp_path / "new" / "tuned", metric="bt")
    assert threshold_of(tmp_path / "new" / "tuned") == pytest.approx(again["threshold"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tuned"]


def test_in_place_only_the_settings_change(saved):
    model, corpus = saved
    files = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    result = tune_saved_pipeline(model, corpus, per_predicate=True, min_gold=1)
    after = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert set(after) == set(files)
    assert [path for path in files if after[path] != files[path]] == [model / NAME / "cfg"]
    pipe = spacy.load(model).get_pipe(NAME)
    assert pipe.cfg["threshold"] == pytest.approx(result["threshold"])
    assert pipe.cfg["thresholds"] == pytest.approx(result["thresholds"])
    assert len(pipe.schema.triples) == 6


def test_pipelines_without_the_component():
    with pytest.raises(ValueError, match="got None. The pipeline has none"):
        tune_relations(spacy.blank("en"), [])


def test_nothing_is_written_where_nothing_can_be_tuned(saved, tmp_path):
    model, _ = saved
    nlp = spacy.load(model)
    docs = [eg.reference for eg in make_examples(nlp, TRAIN[2:])]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "none.spacy")
    with pytest.raises(ValueError, match="no reference holds a relation"):
        tune_saved_pipeline(model, tmp_path / "none.spacy", tmp_path / "out")
    assert not (tmp_path / "out").exists()
