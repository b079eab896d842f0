"""The command ``python -m spacy bioie update-kb``."""

import json

import pytest
import spacy
from spacy.tokens import DocBin, Span
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_bioie.cli import app
from spacy_bioie.kb import Concept, build_knowledge_base, load_knowledge_base


@pytest.fixture
def folder(tmp_path):
    concepts = [Concept(f"C{i}", f"{name} disease") for i, name in enumerate("abcdefgh")]
    kb, _ = build_knowledge_base(concepts, index="HNSW8")
    kb.to_disk(tmp_path / "kb")
    (tmp_path / "new.tsv").write_text(
        "id\tname\tlang\tsab\ttype\txrefs\nN1\tfever\tENG\tMSH\tDDF\tC1\n"
        "N2\tfièvre\tFRE\tMSH\tDDF\t\nN3\tague\tENG\tNCI\tDDF\t\nN4\tglow\tENG\tMSH\tx\t\n"
    )
    (tmp_path / "more.jsonl").write_text('{"id": "M1", "name": "malaise"}\n')
    (tmp_path / "gone").write_text("C2\nC3\nC4\n")
    (tmp_path / "pairs").write_text("C0\tC5\n")
    return tmp_path


def run(folder, *args):
    return CliRunner().invoke(app, ["update-kb", str(folder / "kb"), str(folder / "out"), *args])


def test_add_remove_and_merge(folder):
    result = run(
        folder,
        *("--add", str(folder / "new.tsv"), "--add", str(folder / "more.jsonl"), "--merge-xrefs"),
        *("--remove", str(folder / "gone"), "--merge", str(folder / "pairs")),
        *("--language", "ENG", "--source", "MSH", "--json", str(folder / "report.json")),
    )
    assert result.exit_code == 0, result.output
    assert "removed concepts" in result.stdout and "C2; C3; C4" in result.stdout
    assert "Many vectors of the index are of names that are gone" in result.stdout
    assert "Encoding names" in result.stderr
    kb = load_knowledge_base(folder / "out", check="full")(Vocab())
    assert list(kb.tables.concept_ids) == ["C0", "C1", "C6", "C7", "M1", "N4"]
    assert kb.concept("N1").concept_id == "C1" and kb.concept("C5").concept_id == "C0"
    report = json.loads((folder / "report.json").read_text())
    assert (report["added_concepts"], report["unused_vectors"], report["left_out"]) == (3, 3, 2)
    assert len(load_knowledge_base(folder / "kb")(Vocab())) == 8


def test_options_of_sources(folder):
    add = ("--add", str(folder / "new.tsv"), "--quiet")
    result = run(folder, *add, "--semantic-type", "x", "--form", "table")
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(load_knowledge_base(folder / "out")(Vocab())) == 9
    result = run(folder, "--add", str(folder / "more.jsonl"), "--keep-suppressed")
    assert result.exit_code == 1 and "can be filtered by keep_suppressed" in result.output


def test_mentions(folder):
    nlp = spacy.blank("en")
    doc = nlp("malaise and mischief")
    doc.spans["m"] = [Span(doc, 0, 1, "DDF", kb_id="C3"), Span(doc, 2, 3, "DDF", kb_id="N9")]
    DocBin(docs=[doc]).to_disk(folder / "more.spacy")
    mentions = ("--mentions", str(folder / "more.spacy"))
    result = run(folder, *mentions)
    assert result.exit_code == 1 and "no Doc has the span group 'sc'" in result.output
    result = run(folder, *mentions, "--spans-key", "m")
    assert result.exit_code == 0 and "added mentions" in result.stdout, result.output
    kb = load_knowledge_base(folder / "out")(Vocab())
    assert kb.training_mentions("C3") == 1 and kb.concept("N9").name == "mischief"
    assert kb.search(["malaise"], ["DDF"])[0][0][0] == "C3"


def test_few_unused_vectors_are_not_told(folder):
    (folder / "gone").write_text("C2\n")
    result = run(folder, "--remove", str(folder / "gone"))
    assert result.exit_code == 0 and "Many vectors" not in result.stdout


def test_failures_write_nothing(folder):
    result = run(folder)
    assert result.exit_code == 2 and "one of --add, --remove, --merge and" in result.output
    (folder / "gone").write_text("C9\n")
    for args, message in (
        (("--remove", str(folder / "gone")), "gone', line 1: expected the id of a concept"),
        (("--merge", str(folder / "gone")), "gone', line 1: expected 2 ids"),
        (("--add", str(folder / "absent.jsonl")), "absent.jsonl"),
        (("--remove", str(folder / "nope")), f"No such file or directory: '{folder / 'nope'}'"),
        (("--merge", str(folder / "nope")), f"No such file or directory: '{folder / 'nope'}'"),
    ):
        result = run(folder, *args)
        assert result.exit_code == 1 and message in result.output, result.output
        assert not (folder / "out").exists()
    (folder / "kb" / "meta.json").unlink()
    result = run(folder, "--merge", str(folder / "pairs"))
    assert result.exit_code == 1 and "is no knowledge base" in result.output
