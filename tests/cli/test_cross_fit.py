"""``python -m spacy bioie cross-fit``."""

import json

import pytest
import spacy
from spacy.cli._util import app as spacy_app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_bioie.cli  # noqa: F401  (adds the sub-commands to spaCy's app)

from ..pipelines import make_pipeline, save_corpus, training_config


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        spacy_app, ["bioie", "cross-fit", *map(str, arguments)]
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    nlp = make_pipeline("", heads=["nested_spancat"])
    corpus = save_corpus(nlp, folder / "train.spacy")
    training_config(nlp, corpus, score_weights={}).to_disk(folder / "spans.cfg")
    return folder / "spans.cfg", corpus


def test_writes_the_corpus_and_prints_the_numbers(run, files, tmp_path):
    steps = ("--training.max_steps", "2", "--training.eval_frequency", "1")
    code = tmp_path / "code.py"
    code.write_text("LOADED = True", encoding="utf8")
    output = tmp_path / "new" / "out.spacy"
    done = run(*files, output, "--folds", 2, "--key", "found", "--quiet", "--code", code, *steps)
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)) == {"documents", "folds", "gold", "predicted", "exact"}
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert len(docs) == 4 and all("found" in doc.spans for doc in docs)
    assert [path.name for path in output.parent.iterdir()] == ["out.spacy"]


def test_names_what_is_wrong(run, files, tmp_path):
    config, corpus = files
    output = tmp_path / "out.spacy"
    for arguments, message in (
        ([tmp_path / "absent.cfg", corpus, output, "--folds", "2"], "absent.cfg"),
        ([config, tmp_path / "absent.spacy", output], "absent.spacy"),
        ([config, corpus, output, "--folds", "9"], "9 folds of 4 different documents"),
        ([config, corpus, output, "--folds", "2", "--nothing.there", "1"], "nothing"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1 and message in done.output, done.output
    assert run(config, corpus, output, "--folds", "1").exit_code == 2
    assert list(tmp_path.iterdir()) == []
