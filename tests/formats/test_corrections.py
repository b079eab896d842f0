"""Lists of known bad annotations, and what converting a corpus does with them."""

import json
from pathlib import Path

import pytest

from spacy_bioie.annotation import get_mentions, get_relation_rows, mention_texts
from spacy_bioie.formats import FormatError, blank_pipeline, convert, read_jsonl
from spacy_bioie.formats.corrections import read_corrections

from .builders import ABSTRACT, TITLE, corpus, write_json

ASSETS = Path(__file__).resolve().parents[2] / "assets"
TEXT = f"{TITLE}\n{ABSTRACT}"
BIFIDO = TEXT.index("Bifidobacterium")
GUT = TEXT.index("gut")
COLUMNS = ("id", "start", "end", "text", "label", "new_start", "new_end", "new_label", "reason")


@pytest.fixture
def source(tmp_path):
    return write_json(tmp_path / "in.json", {**corpus(), "2": corpus()["1"]})


def write_table(path, *rows):
    lines = [COLUMNS, *([str(row.get(name, "")) for name in COLUMNS] for row in rows)]
    path.write_text("# why\n\n" + "\n".join("\t".join(line) for line in lines), encoding="utf8")
    return path


def write_lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf8")
    return path


def converted(source, table, target=None):
    target = target or source.with_name("out.jsonl")
    result = convert(source, target, exclude_annotations=table)
    return result, {
        d.user_data["bioie_meta"]["id"]: d for d in read_jsonl(target, blank_pipeline())
    }


DROP = {"id": "1", "start": 0, "end": 6, "text": "Inulin", "reason": "a test"}
MOVE = {
    **{"id": "1", "start": BIFIDO, "end": BIFIDO + 20, "label": "bacteria", "reason": "cut short"},
    **{"new_start": BIFIDO, "new_end": BIFIDO + 22, "new_label": "microbiome"},
}


@pytest.mark.parametrize("write,suffix", [(write_table, "tsv"), (write_lines, "jsonl")])
def test_mentions_are_dropped_and_changed(source, tmp_path, write, suffix):
    table = write(tmp_path / f"list.{suffix}", DROP, MOVE, {"id": "9", "reason": "elsewhere"})
    result, docs = converted(source, table)
    assert (result.documents, result.mentions, result.relations) == (2, 11, 8)
    found = result.corrections
    assert (found.documents, found.dropped, found.changed, found.relations) == (0, 1, 1, 2)
    assert result.not_corrected == ["9"]
    mentions = get_mentions(docs["1"])
    texts = mention_texts(docs["1"], mentions)
    rows = [(m.id, text, m.label) for m, text in zip(mentions, texts, strict=True)]
    assert ("T5", "Bifidobacterium longum", "microbiome") in rows
    assert [row[0] for row in rows] == ["T2", "T3", "T4", "T5", "T6"]  # not numbered anew
    assert mentions[3].kb_id == "http://example.org/bifido" and mentions[3].char_offsets is None
    assert ("T4", "impact", "T5", 1.0) in get_relation_rows(docs["1"])
    assert not any("T1" in row for row in get_relation_rows(docs["1"]))
    assert len(get_mentions(docs["2"])) == 6 and len(get_relation_rows(docs["2"])) == 5


def test_documents_are_left_out(source, tmp_path):
    table = write_table(tmp_path / "list.tsv", {"id": "1", "reason": "another abstract"}, DROP)
    result, docs = converted(source, table)
    assert set(docs) == {"2"} and result.corrections.documents == 1
    assert result.corrections.dropped == 0


def test_label_tells_mentions_of_equal_borders_apart(tmp_path):
    values = corpus()
    values["1"]["entities"].append({**values["1"]["entities"][1], "label": "microbiome"})
    source = write_json(tmp_path / "in.json", values)
    drop = {"id": "1", "start": GUT, "end": GUT + 3, "reason": "a test"}
    for label, left in ((None, []), ("microbiome", ["anatomical location"])):
        entry = drop if label is None else {**drop, "label": label}
        _, docs = converted(source, write_lines(tmp_path / "list.jsonl", entry))
        mentions = get_mentions(docs["1"])
        texts = mention_texts(docs["1"], mentions)
        found = [m.label for m, text in zip(mentions, texts, strict=True) if text == "gut"]
        assert found == left


@pytest.mark.parametrize("suffix", ["json", "spacy", "pubtator"])
def test_every_output_is_corrected(source, tmp_path, suffix):
    table = write_lines(tmp_path / "list.jsonl", DROP)
    result = convert(source, tmp_path / f"out.{suffix}", exclude_annotations=table)
    assert (result.mentions, result.corrections.dropped) == (11, 1)


@pytest.mark.parametrize(
    "entry,message",
    [
        ({"end": 7}, "line 1: id 1: no mention of the document is at this place: end 7"),
        ({"text": "inulin"}, "no mention of the document.*text 'inulin'.*'Inulin' in the text"),
        ({"label": "DDF"}, "no mention of the document is at this place.*label 'DDF'"),
        ({"new_start": len(TITLE), "new_end": len(TITLE) + 900}, "new borders hold no token"),
    ],
)
def test_entries_that_match_nothing(source, tmp_path, entry, message):
    table = write_lines(tmp_path / "list.jsonl", {**DROP, **entry})
    for skip_invalid in (False, True):  # the list is wrong, not the corpus
        with pytest.raises(FormatError, match=f"list.jsonl: {message}|{message}"):
            convert(
                source,
                tmp_path / "out.spacy",
                exclude_annotations=table,
                skip_invalid=skip_invalid,
            )
    assert not (tmp_path / "out.spacy").exists()
    # the entry is of a document that is not wanted here
    result = convert(source, tmp_path / "out.spacy", exclude_annotations=table, documents=["2"])
    assert result.corrections.dropped == 0 and result.not_corrected == []


@pytest.mark.parametrize(
    "entry,message",
    [
        ({"id": "1"}, "line 1: reason: missing: expected a string"),
        ({"id": "", "reason": "x"}, "line 1: id: found '': expected a text"),
        ({"id": "1", "start": 4, "reason": "x"}, r"start: found \(4, None\): expected 0 <= start"),
        ({"id": "1", "start": 4, "end": 4, "reason": "x"}, r"start: found \(4, 4\)"),
        ({**DROP, "new_end": 3}, r"new_start: found \(None, 3\)"),
        ({"id": "1", "label": "DDF", "reason": "x"}, "start: missing: expected the place"),
        ({**DROP, "end": "6"}, "end: expected an integer, found a string"),
        ({**DROP, "labels": "x"}, "labels: expected one of the fields id, reason, start"),
    ],
)
def test_entries_that_are_malformed(tmp_path, entry, message):
    with pytest.raises(FormatError, match=message):
        read_corrections(write_lines(tmp_path / "list.jsonl", entry))


def test_tables_that_are_malformed(tmp_path):
    table = write_table(tmp_path / "list.tsv", DROP, DROP)
    with pytest.raises(FormatError, match="line 5: expected each entry once, it is that of line 4"):
        read_corrections(table)
    with pytest.raises(FormatError, match="line 4: start: expected a number, found '-1'"):
        read_corrections(write_table(table, {**DROP, "start": -1}))
    table.write_text("id\treason\n1\tx\ty\n", encoding="utf8")
    with pytest.raises(FormatError, match="line 2: expected 2 cells"):
        read_corrections(table)


def test_lists_of_this_repository_can_be_read(source, tmp_path):
    lists = sorted((ASSETS / "corrections").iterdir())
    assert lists
    for path in lists:
        read_corrections(path)
    result = convert(source, tmp_path / "out.spacy", exclude_annotations=lists[0])
    assert result.mentions == 12
