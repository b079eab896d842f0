"""What was tuned on held-out documents, for a pipeline that was trained on them as well."""

import json

import pytest
import spacy
from typer.testing import CliRunner

from spacy_bioie.cli import app
from spacy_bioie.models.span_head import TEMPERATURE, temperature_of
from spacy_bioie.training.copy_thresholds import copy_saved_thresholds, copy_thresholds

from ..relation_pipeline import NAME, initialize
from ..relation_pipeline import make_nlp as make_relation_nlp
from ..span_pipeline import make_examples, make_nlp, scores_of

SPANS = "nested_spancat"


@pytest.fixture
def tuned():
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp))
    nlp.get_pipe(SPANS).cfg.update(threshold=0.25, thresholds={"DDF": 0.5})
    nlp.get_pipe(SPANS).model.attrs[TEMPERATURE] = 2.0
    nlp.meta["performance"] = {"spans_sc_f": 0.5}
    return nlp


@pytest.fixture
def refitted():
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


def test_mentions(tuned, refitted):
    found = copy_thresholds(tuned, refitted)
    expected = {"threshold": 0.25, "thresholds": {"DDF": 0.5}, TEMPERATURE: 2.0}
    assert found == {SPANS: expected}
    pipe = refitted.get_pipe(SPANS)
    assert pipe.cfg["threshold"] == 0.25 and pipe.cfg["thresholds"] == {"DDF": 0.5}
    assert temperature_of(pipe.model) == 2.0
    assert refitted.meta["performance"] == {"spans_sc_f": 0.5}
    # the tuned one keeps its own
    pipe.cfg["thresholds"]["DDF"] = 1.0
    assert tuned.get_pipe(SPANS).cfg["thresholds"] == {"DDF": 0.5}


def test_relations_links_and_codes():
    pipelines = []
    for _ in range(2):
        nlp = make_relation_nlp()
        initialize(nlp)
        nlp.add_pipe("faiss_entity_linker")
        pipelines.append(nlp)
    tuned, refitted = pipelines
    tuned.get_pipe(NAME).cfg.update(threshold=0.2, thresholds={"located in": 0.3}, temperature=1.5)
    tuned.get_pipe("faiss_entity_linker").cfg["threshold"] = 0.4
    copy_thresholds(tuned, refitted)
    for name in (NAME, "faiss_entity_linker"):
        assert refitted.get_pipe(name).cfg == tuned.get_pipe(name).cfg
    assert refitted.get_pipe("faiss_entity_linker").cfg["temperature"] == 0.05


def test_saved(tuned, refitted, tmp_path):
    tuned.to_disk(tmp_path / "tuned")
    refitted.to_disk(tmp_path / "refitted")
    found = copy_saved_thresholds(tmp_path / "tuned", tmp_path / "refitted", tmp_path / "final")
    assert found[SPANS]["threshold"] == 0.25
    final = spacy.load(tmp_path / "final")
    assert final.meta["performance"] == {"spans_sc_f": 0.5}
    text = make_examples(final)[0].text
    doc, other = final(text), tuned(text)
    # both were made with one seed, so that they differ in what was copied alone
    assert scores_of(doc) == pytest.approx(scores_of(other))
    assert spacy.load(tmp_path / "refitted").get_pipe(SPANS).cfg["threshold"] == 0.0


def test_what_does_not_fit(tuned, refitted, tmp_path):
    refitted.get_pipe(SPANS).cfg["labels"].append("gene")
    with pytest.raises(ValueError, match=r"'nested_spancat': expected the same labels .*'gene'"):
        copy_thresholds(tuned, refitted)
    with pytest.raises(ValueError, match=r"expected a NestedSpanCategorizer .*, got none"):
        copy_thresholds(spacy.blank("en"), refitted)
    other = spacy.blank("en")
    other.add_pipe("sentencizer", name=SPANS)
    with pytest.raises(ValueError, match="got a Sentencizer"):
        copy_thresholds(other, refitted)
    with pytest.raises(ValueError, match="finds mentions, links, codes or relations"):
        copy_thresholds(tuned, spacy.blank("en"))
    assert refitted.get_pipe(SPANS).cfg["threshold"] == 0.0


def run(*arguments):
    return CliRunner().invoke(app, ["copy-thresholds", *map(str, arguments)])


def test_command(tuned, refitted, tmp_path):
    tuned.to_disk(tmp_path / "tuned")
    refitted.to_disk(tmp_path / "refitted")
    done = run(tmp_path / "tuned", tmp_path / "refitted", "-o", tmp_path / "final")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[SPANS]["thresholds"] == {"DDF": 0.5}
    assert spacy.load(tmp_path / "final").get_pipe(SPANS).cfg["threshold"] == 0.25
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine", encoding="utf8")
    done = run(tmp_path / "tuned", tmp_path / "refitted", "-o", tmp_path / "notes")
    assert done.exit_code == 1 and "no pipeline" in done.output
    done = run(tmp_path / "absent", tmp_path / "refitted", "-o", tmp_path / "other")
    assert done.exit_code == 1 and "absent" in done.output
    assert run(tmp_path / "tuned", tmp_path / "refitted").exit_code == 2
