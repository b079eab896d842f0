"""The command ``python -m spacy bioie gazetteer``."""

import json

import pytest
import spacy
import srsly
from spacy.tokens import DocBin
from spacy.training import Example
from typer.testing import CliRunner

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.cli import app
from spacy_bioie.tokenization import EnglishTokenizer_v1

TEXT = "Low mood and gut flora of MICE, mice and rats; it was E. coli."


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "concepts.jsonl"
    records = [
        {"concept_id": "A", "name": "low mood", "synonyms": ["mood, low"], "types": ["DDF"]},
        {"concept_id": "B", "name": "E. coli", "synonyms": ["flora"], "types": ["bacteria"]},
        {"concept_id": "C", "name": "Mice", "synonyms": ["it", "was"], "types": ["animal"]},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def run(*args):
    return CliRunner().invoke(app, ["gazetteer", *map(str, args)])


def annotate(nlp, **settings):
    config = {"spans_key": "sc", "phrase_matcher_attr": "LOWER", **settings}
    return nlp.add_pipe("span_ruler", config=config)


def found(doc):
    return [(span.text, span.label_) for span in doc.spans["sc"]]


EXPECTED = [("Low mood", "DDF"), ("flora", "bacteria"), ("mice", "animal"), ("E. coli", "bacteria")]


def test_folder_is_read_by_the_ruler(source, nlp, tmp_path):
    result = run(source, tmp_path / "patterns")
    assert result.exit_code == 0, result.output
    assert "wrong length" in result.stdout and "Wrote 5 patterns" in result.stdout
    annotate(nlp).from_disk(tmp_path / "patterns")
    assert found(nlp(TEXT)) == EXPECTED


def test_file_is_read_by_initialize(source, nlp, tmp_path):
    result = run(source, tmp_path / "new" / "patterns.json", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    annotate(nlp)
    nlp.config["initialize"]["components"]["span_ruler"] = {
        "patterns": {
            "@readers": "srsly.read_json.v1",
            "path": str(tmp_path / "new" / "patterns.json"),
        }
    }
    nlp.initialize(lambda: [Example(nlp.make_doc(TEXT), nlp.make_doc(TEXT))])
    assert found(nlp(TEXT)) == EXPECTED
    nlp.to_disk(tmp_path / "pipeline")
    assert found(spacy.load(tmp_path / "pipeline")(TEXT)) == EXPECTED


def test_lines_are_added_to_the_ruler(source, nlp, tmp_path):
    assert run(source, tmp_path / "patterns.jsonl").exit_code == 0
    annotate(nlp).add_patterns(srsly.read_jsonl(tmp_path / "patterns.jsonl"))
    assert found(nlp(TEXT)) == EXPECTED


def patterns_of(tmp_path, *args):
    result = run(*args, tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    return [(row["label"], row["pattern"]) for row in srsly.read_jsonl(tmp_path / "out.jsonl")]


def test_types_and_label(source, tmp_path):
    names = patterns_of(tmp_path, source, "--types", "DDF=disease", "--types", "bacteria")
    assert names == [
        ("bacteria", "E. coli"),
        ("bacteria", "flora"),
        ("disease", "low mood"),
        ("disease", "mood, low"),
    ]
    names = patterns_of(tmp_path, source, "--types", "bacteria", "--label", "x")
    assert names == [("x", "E. coli"), ("x", "flora")]


def test_filters(source, tmp_path):
    stop = tmp_path / "stop.txt"
    stop.write_text("flora\n")
    args = ("--stop-names", stop, "--min-length", 5, "--max-length", 8, "--short-length", 7)
    assert patterns_of(tmp_path, source, *args) == [("bacteria", "E. coli"), ("DDF", "low mood")]


def test_corpus_and_tokenizer_of_a_pipeline(nlp, tmp_path):
    blank = spacy.blank("en")
    doc = nlp.make_doc("rats RATS/mice")
    assert len(doc) == 4 and len(blank.make_doc("RATS/mice")) == 3
    set_mentions(doc, "other", [Mention(0, 1, "a"), Mention(1, 2, "b"), Mention(1, 4, "b")])
    DocBin(docs=[doc]).to_disk(tmp_path / "train.spacy")
    blank.tokenizer.token_match = lambda text: "/" in text
    args = (tmp_path / "train.spacy", "--spans-key", "other", "--one-label")
    assert patterns_of(tmp_path, *args) == [
        ("b", "RATS/mice"),
        ("a", [{"ORTH": {"IN": ["Rats", "rats"]}}]),
        ("b", [{"ORTH": {"IN": ["RATS"]}}]),
    ]
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    nlp.tokenizer.infix_finditer = None
    nlp.to_disk(tmp_path / "pipeline")
    longer = ("--pipeline", tmp_path / "pipeline", "--short-length", "9")
    assert patterns_of(tmp_path, *args, *longer)[-1] == (
        "b",
        [{"ORTH": {"IN": ["RATS", "RATS/mice"]}}],
    )


def test_failures_name_the_file_and_write_nothing(source, tmp_path):
    out = tmp_path / "out.jsonl"
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"concept_id": "A"}\n{"concept_id": 1}\n')
    for args, message in (
        ((bad,), "line 2"),
        ((tmp_path / "absent.jsonl",), "absent.jsonl"),
        ((source, "--types", "food"), "No name is left for the gazetteer"),
        ((source, "--stop-names", tmp_path / "absent.txt"), "absent.txt"),
        ((source, "--pipeline", "no_such_pipeline"), "no_such_pipeline"),
    ):
        result = run(*args, out)
        assert result.exit_code == 1, (args, result.output)
        assert message in result.output
        assert not out.exists()
    out.write_text("old")
    assert run(bad, out).exit_code == 1 and out.read_text() == "old"


def test_wrong_usage(source, tmp_path):
    assert run(source).exit_code == 2
    assert run(source, tmp_path / "out.jsonl", "--min-length", "0").exit_code == 2


def test_help():
    result = run("--help")
    assert result.exit_code == 0 and "span_ruler" in result.output
