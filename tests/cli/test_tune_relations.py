import json

import pytest
import spacy
from spacy.cli._util import app as spacy_app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_bioie.cli  # noqa: F401  (adds the sub-commands to spaCy's app)
import spacy_bioie.cli.tune_relations  # noqa: F401

from ..relation_pipeline import NAME, TRAIN, initialize, make_examples, make_nlp, train


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        spacy_app, ["bioie", "tune-relations", *map(str, arguments)]
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved pipeline and a corpus."""
    folder = tmp_path_factory.mktemp("saved")
    nlp = make_nlp()
    train(nlp, initialize(nlp), 7, rate=0.002)
    nlp.to_disk(folder / "model")
    docs = [eg.reference for eg in make_examples(nlp, TRAIN * 2)]
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "held_out.spacy")
    return folder / "model", folder / "held_out.spacy"


def test_writes_a_tuned_pipeline_and_prints_the_thresholds(run, saved, tmp_path):
    done = run(*saved, "--metric", "bt", "--input", "pred", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) == {"threshold", "thresholds", "rel_pred_bt_micro_f"}
    cfg = spacy.load(tmp_path / "out").get_pipe(NAME).cfg
    assert cfg["threshold"] == pytest.approx(result["threshold"])


def test_progress_bar(run, saved, tmp_path):
    done = run(*saved, "-o", tmp_path / "out")
    assert f"{len(TRAIN) * 2 - 2}/{len(TRAIN) * 2 - 2}" in done.stderr, done.stderr
    quiet = run(*saved, "-o", tmp_path / "out", "--quiet")
    assert quiet.stderr == "" and quiet.stdout == done.stdout


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
    assert run(model, corpus, "--metric", "ner").exit_code == 2
