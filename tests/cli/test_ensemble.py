"""The commands ``ensemble`` and ``pseudo-label``, and ``convert`` with a list of corrections."""

import json

import pytest
import spacy
from spacy.cli._util import app as spacy_app
from typer.testing import CliRunner

import spacy_bioie.cli  # noqa: F401  (adds the sub-commands to spaCy's app)

from ..span_pipeline import TRAIN, make_examples, make_nlp


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(spacy_app, ["bioie", *map(str, arguments)])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    nlp = make_nlp()
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    for i in range(40):
        nlp.update(examples, sgd=optimizer)
        if i >= 38:
            nlp.to_disk(folder / f"step_{i}")
    return folder


@pytest.mark.parametrize("method", ["emissions", "tokens", "spans", "weights"])
def test_ensembles_label_texts(run, saved, tmp_path, method):
    members = sorted(saved.iterdir())
    output = tmp_path / "joint"
    options = ["--merge", "union", "--min-score", "0.1"] if method == "spans" else []
    result = run("ensemble", *members, output, "--method", method, *options, "-w", 1, "-w", 2)
    assert result.exit_code == 0, result.output
    assert f"joint: 2 pipelines joined ({method})" in result.stdout
    meta = spacy.load(output).meta["ensemble"]
    assert meta["method"] == method
    assert [round(member["weight"], 2) for member in meta["members"]] == [0.33, 0.67]
    texts, exclude = tmp_path / "texts.jsonl", tmp_path / "dev.txt"
    rows = [{"id": str(i), "text": text} for i, (text, _) in enumerate(TRAIN)]
    texts.write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    exclude.write_text("1\n", encoding="utf8")
    arguments = ["--exclude-documents", exclude, "--tier", "silver", "-q"]
    result = run("pseudo-label", output, texts, tmp_path / "new.spacy", *arguments)
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)
    assert (counts["read"], counts["excluded"], counts["written"]) == (4, 1, 1)
    assert (tmp_path / "new.spacy").is_file()


def test_what_is_wrong_is_said(run, saved, tmp_path):
    (member, _) = sorted(saved.iterdir())
    result = run("ensemble", member, tmp_path / "absent", tmp_path / "out")
    assert result.exit_code == 1 and "absent" in result.output
    result = run("ensemble", member, member, tmp_path / "out", "--merge", "vote")
    assert result.exit_code == 1 and "for the method 'spans' alone" in result.output
    assert run("ensemble", member, tmp_path / "out", "--method", "soup").exit_code == 2
    result = run("pseudo-label", member, tmp_path / "absent.jsonl", tmp_path / "out.spacy")
    assert result.exit_code == 1 and "absent.jsonl" in result.output
    assert run("pseudo-label", member, member, tmp_path / "x", "--min-score", 2).exit_code == 2
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.spacy").exists()


def test_convert_reports_on_the_list_of_bad_annotations(run, tmp_path):
    row = {"id": "7", "text": "Gut of mice", "mentions": [{"start": 0, "end": 3, "label": "x"}]}
    source, table = tmp_path / "in.jsonl", tmp_path / "list.tsv"
    source.write_text(json.dumps(row), encoding="utf8")
    table.write_text("id\tstart\tend\treason\n7\t0\t3\twrong\n8\t\t\tan index\n", encoding="utf8")
    arguments = ("convert", source, tmp_path / "out.spacy", "--exclude-annotations", table)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "list.tsv: 0 documents and 1 mentions with 0 relations left out" in result.stdout
    assert "Warning: 1 documents of" in result.stderr and "the first: 8" in result.stderr
    table.write_text("id\tstart\tend\treason\n7\t0\t5\twrong\n", encoding="utf8")
    result = run(*arguments)
    assert result.exit_code == 1 and "list.tsv: line 2: id 7: no mention" in result.stderr
