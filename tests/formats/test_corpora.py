"""Conversions from and to the corpus formats; their files' own tests say how each is read."""

import json

import pytest

from spacy_bioie.annotation import get_concept_rows, get_mentions, get_relation_rows
from spacy_bioie.formats import (
    FormatError,
    blank_pipeline,
    convert,
    get_fragments,
    guess_format,
    read_articles,
    read_docbin,
)

PUBTATOR = """1|t|Lithium toxicity.
1|a|Lithium was given. Severe toxicity came.
1\t0\t7\tLithium\tChemical\tD1
1\t8\t16\ttoxicity\tDisease\tD2
1\t18\t25\tLithium\tChemical\tD1
1\t44\t52\ttoxicity\tDisease\tD2
1\tCID\tD1\tD2\tNovel
1\tCID\tD1\tD9

2|t|None
2|a|

"""
BRAT = "T1\tDiso 0 4;15 23\tlung injuries\nT2\tAnat 9 14\tliver\nR1\tOf Arg1:T1 Arg2:T2\n"
BIONNE = "document_id\ttext\tentity_type\tspans\tUMLS_CUI\nd1\tlung injuries\tDISO\t0-4,15-23\tC1\n"
IOB = "-DOCSTART- (d1)\tO\n\nlung\tB-Anat\nis\tO\n\nred\tO\n\n"


@pytest.fixture
def source(tmp_path):
    """A function from a format's name to its small corpus."""
    folder = tmp_path / "source"

    def make(name):
        (folder / "texts").mkdir(parents=True, exist_ok=True)
        if name == "brat":
            (folder / "d1.txt").write_text("lung and liver injuries")
            (folder / "d1.ann").write_text(BRAT)
            return folder
        (folder / "texts" / "d1.txt").write_text("lung and liver injuries")
        texts = {"pubtator": ("a.PubTator", PUBTATOR), "bionne": ("a.tsv", BIONNE)}
        file, text = texts.get(name, ("a.iob", IOB))
        (folder / file).write_text(text)
        return folder / file

    return make


def docs(path):
    return list(read_docbin(path, blank_pipeline().vocab))


@pytest.mark.parametrize("name", ["pubtator", "conll", "brat", "bionne"])
def test_through_a_docbin_and_back(source, tmp_path, name):
    path = source(name)
    assert guess_format(path) == name
    convert(path, tmp_path / "a.spacy")
    out = tmp_path / "out" / (path.name if path.is_file() else "folder")
    result = convert(tmp_path / "a.spacy", out, target=name)
    written = out / "d1.ann" if name == "brat" else out
    original = path / "d1.ann" if name == "brat" else path
    assert written.read_text() == original.read_text()
    assert result.documents == (2 if name == "pubtator" else 1)
    if name in ("brat", "bionne"):
        text = out / "d1.txt" if name == "brat" else tmp_path / "out" / "texts" / "a" / "d1.txt"
        assert text.read_text() == "lung and liver injuries"


def test_counts(source, tmp_path):
    result = convert(source("pubtator"), tmp_path / "a.spacy")
    counts = (result.documents, result.mentions, result.relations, result.concept_relations)
    assert counts == (2, 4, 0, 2)
    result = convert(source("brat"), tmp_path / "b.spacy")
    assert (result.mentions, result.relations, result.in_parts) == (2, 1, 1)
    result = convert(tmp_path / "b.spacy", tmp_path / "c.spacy")
    assert (result.relations, result.in_parts) == (1, 1)


@pytest.mark.parametrize("pairs,relations", [("all", 4), ("closest", 1), ("sentence", 2)])
def test_relations_for_training(source, tmp_path, pairs, relations):
    path = source("pubtator")
    path.write_text(path.read_text().replace("Severe", "severe").replace("came.", "came. Lithium"))
    result = convert(path, tmp_path / "a.spacy", concept_pairs=pairs)
    assert (result.not_placed, result.concept_relations) == (1, 2)
    doc = docs(tmp_path / "a.spacy")[0]
    rows = get_relation_rows(doc)
    assert {label for _, label, _, _ in rows} == {"CID"}
    # the title is a sentence, and the abstract is one: "given. severe" ends none
    assert len(rows) == result.relations == relations
    assert not doc.has_annotation("SENT_START")
    assert len(get_concept_rows(doc)) == 2


def test_relations_without_order(source, tmp_path):
    path = source("pubtator")
    path.write_text(path.read_text().replace("CID\tD1\tD2", "CID\tD2\tD1"))
    for symmetric, head in (((), "T2"), (["CID"], "T1"), ("*", "T1"), (["x"], "T2")):
        options = {"concept_pairs": "closest", "symmetric": symmetric}
        convert(path, tmp_path / "a.spacy", **options)
        assert get_relation_rows(docs(tmp_path / "a.spacy")[0])[0][0] == head


def test_stated_relations_through_jsonl(source, tmp_path):
    convert(source("pubtator"), tmp_path / "a.jsonl")
    record = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert record["stated_relations"][0]["values"] == ["Novel"]
    convert(tmp_path / "a.jsonl", tmp_path / "b.pubtator")
    assert (tmp_path / "b.pubtator").read_text() == PUBTATOR


def test_mentions_in_parts(source, tmp_path):
    for name in ("brat", "bionne"):
        path = source(name)
        convert(path, tmp_path / "a.spacy")
        (doc,) = docs(tmp_path / "a.spacy")
        assert get_fragments(doc, get_mentions(doc)[0]) == [(0, 4), (15, 23)]
        result = convert(path, tmp_path / "a.jsonl", discontinuous="skip")
        assert result.in_parts == 0 and "left out: it has 2 parts" in str(result.skipped[0])


def test_from_one_corpus_format_to_others(source, tmp_path):
    path = source("pubtator")
    convert(path, tmp_path / "brat", target="brat", concept_pairs="closest")
    assert (tmp_path / "brat" / "1.ann").read_text().splitlines()[4:] == [
        "R1\tCID Arg1:T1 Arg2:T2",
        "N1\tReference T1 D1\tLithium",
        "N2\tReference T2 D2\ttoxicity",
        "N3\tReference T3 D1\tLithium",
        "N4\tReference T4 D2\ttoxicity",
    ]
    convert(tmp_path / "brat", tmp_path / "a.conll")
    lines = (tmp_path / "a.conll").read_text().splitlines()
    assert lines[:4] == ["-DOCSTART- (1)\tO", "", "Lithium\tB-Chemical", "toxicity\tB-Disease"]
    convert(path, tmp_path / "a.json")
    article, _ = read_articles(tmp_path / "a.json", labels=None)
    assert article.metadata["title"] == "Lithium toxicity." and len(article.entities) == 4


def test_documents_that_the_target_cannot_hold(source, tmp_path):
    lines = [
        {"id": "1", "text": "one two", "mentions": [{"start": 0, "end": 3, "label": "x y"}]},
        {"id": "2", "text": "three\nfour", "mentions": [{"start": 0, "end": 5, "label": "x"}] * 2},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    for target, problem, kept in (
        ("brat", "in.jsonl: document 1: mention T1: label: found 'x y'", 1),
        ("pubtator", "in.jsonl: PMID 1: sections: found", 1),
        ("conll", "in.jsonl: document 2: mention T2 .*: overlaps T1", 2),
    ):
        out = tmp_path / f"out.{target}"
        with pytest.raises(FormatError, match=problem):
            convert(path, out, target=target)
        assert not out.exists()
        result = convert(path, out, target=target, skip_invalid=True)
        assert result.documents == kept and len(result.skipped) == 1


def test_guesses(tmp_path):
    for name, kind in (
        ("a.PubTator", "pubtator"),
        ("CDR_dev.PubTator.txt", "pubtator"),
        ("a.pubtator", "pubtator"),
        ("a.iob", "conll"),
        ("a.conll", "conll"),
    ):
        assert guess_format(name) == kind == guess_format(name, writing=True)
    assert guess_format("a.ann") == "brat"
    for text, suffix, kind in (
        ("\n1|t|A title\n", ".txt", "pubtator"),
        ("id: S1\n", ".txt", "inline"),
        ("a\tO\n", ".tsv", "conll"),
        (BIONNE, ".tsv", "bionne"),
        ("", ".txt", "inline"),
    ):
        path = tmp_path / f"a{suffix}"
        path.write_text(text)
        assert guess_format(path) == kind
    assert guess_format(tmp_path) == "inline"
    (tmp_path / "a.ann").write_text("")
    assert guess_format(tmp_path) == "brat" == guess_format(tmp_path / "a.txt")
    for name in ("a.tsv", "a.ann"):
        with pytest.raises(ValueError, match="cannot tell the format from the name"):
            guess_format(tmp_path / name, writing=True)


def test_command(source, tmp_path):
    from typer.testing import CliRunner

    from spacy_bioie.cli import app
    from spacy_bioie.cli import convert as _  # noqa: F401 (registers the command)

    def run(*args):
        return CliRunner().invoke(app, ["convert", *map(str, args)])

    options = ("--concept-pairs", "all", "--symmetric", "CID", "--symmetric", "x")
    result = run(source("pubtator"), tmp_path / "a.spacy", *options)
    assert result.exit_code == 0, result.output
    assert "2 documents, 4 mentions, 4 relations" in result.stdout
    assert "2 relations are stated between concepts, 1 of them on no mentions" in result.stdout
    result = run(source("bionne"), tmp_path / "b.spacy")
    assert "1 mentions in several parts are covered by one span each" in result.stdout
    result = run(source("bionne"), tmp_path / "b.jsonl", "--discontinuous", "skip")
    assert result.exit_code == 0 and "spans: left out: it has 2 parts" in result.stderr
    result = run(source("pubtator"), tmp_path / "a.spacy", "--symmetric", "CID")
    assert result.exit_code == 1 and "Symmetric labels were named without" in result.stderr
