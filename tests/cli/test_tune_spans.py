import json

import pytest
import spacy
from spacy.cli._util import app as spacy_app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_bioie.cli  # noqa: F401  (adds the sub-commands to spaCy's app)

from ..span_pipeline import TRAIN, make_examples, make_nlp

NAME = "nested_spancat"


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        spacy_app, ["bioie", "tune-spans", *map(str, arguments)]
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved pipeline and a corpus."""
    folder = tmp_path_factory.mktemp("saved")
    nlp = make_nlp()
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder / "model")
    docs = [eg.reference for eg in examples]
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "held_out.spacy")
    return folder / "model", folder / "held_out.spacy"


def test_writes_a_tuned_pipeline_and_prints_what_was_set(run, saved, tmp_path):
    done = run(*saved, "--calibrate", "--per-label", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    names = {"threshold", "thresholds", "ner_strict_micro_f"}
    assert set(result) == names | {"temperature", "ece_before", "ece_after"}
    cfg = spacy.load(tmp_path / "out").get_pipe(NAME).cfg
    assert cfg["threshold"] == pytest.approx(result["threshold"])
    assert f"{len(TRAIN) - 1}/{len(TRAIN) - 1}" in done.stderr  # the empty document is no example
    quiet = run(*saved, "-o", tmp_path / "out", "--quiet")
    assert quiet.stderr == "" and set(json.loads(quiet.stdout)) == names


def test_names_what_is_wrong(run, saved, tmp_path):
    model, corpus = saved
    (tmp_path / "notes.txt").write_text("mine", encoding="utf8")
    for arguments, message in (
        ([model, tmp_path / "absent.spacy"], "absent.spacy"),
        ([tmp_path / "absent", corpus], "absent"),
        ([model, corpus, "-o", tmp_path], "no pipeline"),
        ([model, corpus, "--component", "tagger"], "'tagger'"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1 and message in done.output, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert run(model, corpus, "--min-gold", "0").exit_code == 2
