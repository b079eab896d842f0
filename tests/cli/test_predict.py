import json

import pytest
from spacy.cli._util import app as spacy_app
from typer.testing import CliRunner

import spacy_bioie.cli  # noqa: F401  (adds the sub-commands to spaCy's app)

from ..rule_pipeline import make_rule_pipeline


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(spacy_app, ["bioie", *map(str, arguments)])


@pytest.fixture
def pipeline(tmp_path):
    make_rule_pipeline().to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_predict_writes_a_file_for_each_task(run, pipeline, tmp_path):
    articles = tmp_path / "articles.json"
    articles.write_text(json.dumps({"7": {"title": "Gut", "abstract": "Butyrate in mice."}}))
    result = run(
        "predict", pipeline, articles, tmp_path / "out", "--format", "gutbrainie-2026", "-q"
    )
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_predict_names_what_is_wrong(run, pipeline, tmp_path):
    result = run("predict", pipeline, tmp_path / "absent.json", tmp_path / "out", "-q")
    assert result.exit_code == 1 and "absent.json" in result.output
    result = run("predict", tmp_path / "no_pipeline", tmp_path / "x.txt", tmp_path / "out", "-q")
    assert result.exit_code == 1 and "no_pipeline" in result.output
    assert run("predict", pipeline, tmp_path, tmp_path, "--format", "xml").exit_code == 2


def test_annotate_prints_a_report(run, pipeline, tmp_path):
    text = tmp_path / "article.txt"
    text.write_text("Butyrate in mice\nIt reached the gut.\n", encoding="utf8")
    result = run("annotate", pipeline, text)
    assert result.exit_code == 0, result.output
    assert "Mentions (3)" in result.output and "located in" in result.output
    assert run("annotate", pipeline, tmp_path / "absent.txt").exit_code == 1


@pytest.mark.parametrize("command", ["annotate", "convert", "evaluate", "predict"])
def test_help(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0 and "Exit codes" in result.output
