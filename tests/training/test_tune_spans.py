"""Temperature and thresholds of a pipeline on held-out documents, in memory and on disk."""

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_bioie.models.span_head import TEMPERATURE
from spacy_bioie.training.tune_spans import tune_saved_pipeline, tune_spans

from ..span_pipeline import TRAIN, make_examples, make_shared_nlp

NAME = "nested_spancat"
# what the pipeline learns, and the same with a mention that it finds and that is none
HELD_OUT = [*TRAIN[1:], (TRAIN[0][0], TRAIN[0][1][:2])] * 2


@pytest.fixture(scope="module")
def trained():
    nlp = make_shared_nlp()
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    nlp.add_pipe("doc_cleaner", config={"attrs": {"tensor": None}})
    return nlp


@pytest.fixture
def saved(trained, tmp_path):
    """A saved pipeline and a corpus."""
    trained.to_disk(tmp_path / "model")
    docs = [eg.reference for eg in make_examples(trained, HELD_OUT)]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "held_out.spacy")
    return tmp_path / "model", tmp_path / "held_out.spacy"


@pytest.fixture
def nlp(saved):
    return spacy.load(saved[0])


def settings_of(nlp):
    pipe = nlp.get_pipe(NAME)
    return pipe.cfg["threshold"], pipe.cfg["thresholds"], pipe.model.attrs[TEMPERATURE]


def test_tune_spans(nlp):
    result = tune_spans(
        nlp, make_examples(nlp, HELD_OUT), calibrate=True, per_label=True, min_gold=2
    )
    expected = (result["threshold"], result["thresholds"], result["temperature"])
    assert settings_of(nlp) == expected
    assert result["temperature"] != 1.0 and result["ece_after"] < result["ece_before"]
    figures = nlp.evaluate(make_examples(nlp, HELD_OUT))
    assert figures["ner_strict_micro_f"] == pytest.approx(result["ner_strict_micro_f"])
    assert nlp.pipe_names[-1] == "doc_cleaner" and not nlp.disabled


def test_calibration_is_a_choice(nlp):
    nlp.get_pipe(NAME).model.attrs[TEMPERATURE] = 1.5
    result = tune_spans(nlp, make_examples(nlp, HELD_OUT))
    assert set(result) == {"threshold", "thresholds", "ner_strict_micro_f"}
    assert settings_of(nlp) == (result["threshold"], {}, 1.5)


def test_output_folder(saved, tmp_path):
    model, corpus = saved
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    result = tune_saved_pipeline(model, corpus, tmp_path / "new" / "tuned", calibrate=True)
    found = settings_of(spacy.load(tmp_path / "new" / "tuned"))
    assert found == (pytest.approx(result["threshold"]), {}, pytest.approx(result["temperature"]))
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before
    # again, over the one that is there
    again = tune_saved_pipeline(model, corpus, tmp_path / "new" / "tuned")
    found = settings_of(spacy.load(tmp_path / "new" / "tuned"))
    assert found == (pytest.approx(again["threshold"]), {}, 1.0)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tuned"]


def test_in_place_only_the_component_changes(saved):
    model, corpus = saved
    files = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    result = tune_saved_pipeline(model, corpus, calibrate=True, per_label=True, min_gold=2)
    after = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert set(after) == set(files)
    changed = {path.name for path in files if after[path] != files[path]}
    assert changed == {"cfg", "model"}
    assert all(path.parent == model / NAME for path in files if after[path] != files[path])
    threshold, thresholds, temperature = settings_of(spacy.load(model))
    assert threshold == pytest.approx(result["threshold"])
    assert thresholds == pytest.approx(result["thresholds"])
    assert temperature == pytest.approx(result["temperature"])


def test_pipelines_without_the_component():
    with pytest.raises(ValueError, match="a nested_spancat, got None. The pipeline has none"):
        tune_spans(spacy.blank("en"), [])


def test_nothing_is_written_where_nothing_can_be_tuned(saved, tmp_path):
    model, _ = saved
    nlp = spacy.load(model)
    docs = [eg.reference for eg in make_examples(nlp, TRAIN[2:])]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "none.spacy")
    with pytest.raises(ValueError, match="no reference holds a mention"):
        tune_saved_pipeline(model, tmp_path / "none.spacy", tmp_path / "out")
    assert not (tmp_path / "out").exists()
