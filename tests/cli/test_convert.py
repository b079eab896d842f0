"""The command ``python -m spacy bioie convert``."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from spacy_bioie.cli import app
from spacy_bioie.cli import convert as _  # noqa: F401 (registers the command)
from spacy_bioie.formats import blank_pipeline, doc_to_article, read_docbin, read_inline

TEXT = """id: {id}
split: {split}
title: {{Inulin}}[dietary supplement|X:1|a] in {{mice}}[animal|X:2|b]
abstract: Text.
relations:
a | administered | b
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "articles"
    folder.mkdir()
    for name, split in (("S1", "train"), ("S2", "dev"), ("S3", "train")):
        text = TEXT.format(id=name, split=split)
        (folder / f"{name}.txt").write_text(text, encoding="utf8")
    (tmp_path / "prefixes.json").write_text('{"X": "http://x.org/"}', encoding="utf8")
    return folder


def run(*args):
    return CliRunner().invoke(app, ["convert", *map(str, args)])


def test_inline_to_json_to_docbin(folder, tmp_path):
    result = run(folder, tmp_path / "train.json", "--split", "train")
    assert result.exit_code == 0, result.output
    assert "train.json: 2 documents, 4 mentions, 2 relations; 0 mentions (0.00%)" in result.stdout
    assert "articles" in result.stderr and "2/2" in result.stderr  # the progress bar
    values = json.loads((tmp_path / "train.json").read_text(encoding="utf8"))
    assert values["S1"]["entities"][0]["uri"] == "http://x.org/1"
    result = run(tmp_path / "train.json", tmp_path / "new" / "train.spacy", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    docs = read_docbin(tmp_path / "new" / "train.spacy", blank_pipeline().vocab)
    assert [doc_to_article(doc) for doc in docs] == list(read_inline(folder, split="train"))


def test_several_inputs_and_files_of_ids(folder, tmp_path):
    for split in ("train", "dev"):
        run(folder, tmp_path / f"{split}.json", "--split", split, "-q")
    inputs = (tmp_path / "train.json", tmp_path / "dev.json")
    ids = tmp_path / "ids.txt"
    ids.write_text("S2\nS3\n")
    result = run(*inputs, tmp_path / "some.jsonl", "--documents", ids)
    assert "2 documents" in result.stdout
    ids.write_text("S2\nS9\n")
    result = run(*inputs, tmp_path / "rest.jsonl", "--exclude-documents", ids)
    assert result.exit_code == 0 and "2 documents" in result.stdout
    assert "1 documents of" in result.stderr and "the first: S9" in result.stderr
    result = run(*inputs, tmp_path / "none.jsonl", "--documents", ids)
    assert result.exit_code == 1 and "in no input, the first: S9" in result.stderr


def test_tier(folder, tmp_path):
    result = run(folder, tmp_path / "gold.spacy", "--tier", "gold", "-q")
    assert result.exit_code == 0, result.output
    docs = read_docbin(tmp_path / "gold.spacy", blank_pipeline().vocab)
    assert [doc._.tier for doc in docs] == ["gold"] * 3
    result = run(folder, tmp_path / "gold.json", "--tier", "gold", "-q")
    assert result.exit_code == 1 and "only docbin and jsonl keep it" in result.stderr


def test_invalid_input(folder, tmp_path):
    (folder / "S3.txt").write_text("id: S3\ntitle: {x}\nabstract:\nrelations:\n")
    out = tmp_path / "out.spacy"
    result = run(folder, out, "--quiet")
    assert result.exit_code == 1 and not out.exists()
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ") and "S3.txt: line 2: found '}': expected" in line
    result = run(folder, out, "--skip-invalid")
    assert result.exit_code == 0 and out.exists()
    assert "Skipped: " in result.stderr and "2 documents" in result.stdout
    assert "1 skipped" in result.stdout


@pytest.mark.parametrize(
    "name,problem",
    [
        ("nowhere.json", "nowhere.json: No such file or directory"),
        ("nowhere", "cannot tell the format from the name"),
        ("prefixes.json", "PMID X: expected an object, found a string"),
    ],
)
def test_one_line_errors(folder, tmp_path, name, problem):
    result = run(tmp_path / name, tmp_path / "out.spacy", "--quiet")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert problem in line


def test_output_in_the_place_of_a_folder(folder, tmp_path):
    result = run(folder, tmp_path, "--to", "jsonl", "-q")
    assert result.exit_code == 1
    assert "a folder is in the place of the file to write" in result.stderr


def test_wrong_usage(folder, tmp_path):
    assert run(folder, tmp_path / "out.spacy", "--from", "bioc").exit_code == 2
    assert run(folder).exit_code == 2


def test_help():
    result = run("--help")
    assert result.exit_code == 0
    for name in ("--from", "--to", "--split", "--documents", "--skip-invalid", "Exit codes"):
        assert name in result.stdout


@pytest.mark.slow
def test_as_a_command_of_spacy(folder, tmp_path):
    command = [sys.executable, "-m", "spacy", "bioie", "convert", folder, tmp_path / "a.spacy"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 documents" in done.stdout and (tmp_path / "a.spacy").exists()
