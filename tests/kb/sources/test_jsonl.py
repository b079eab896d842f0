import json

import pytest

from spacy_bioie.kb import Concept, read_concepts
from spacy_bioie.kb.findings import Findings


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def test_our_form_and_scispacys_are_read(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        '{"concept_id": "A", "name": "one", "synonyms": ["uno", "uno", " one "], "types": ["DDF"],'
        ' "definition": "The first.", "alt_ids": ["A1"], "xrefs": ["MESH:D1"]}',
        "",
        '{"concept_id": "B", "names": ["two", "duo"]}',
        '{"concept_id": "C", "names": []}',
        '{"id": "D", "name": "four", "synonyms": [], "alt_ids": [], "source": "X", "origin": {}}',
        '{"concept_id": "C0000005", "canonical_name": "(131)I-MAA", "aliases": ["131I-MAA"],'
        ' "types": ["T116", "T121"], "definition": null}',
    )
    a, b, c, d, scispacy = read_concepts(path)
    assert a == Concept("A", "one", ("uno",), ("DDF",), "The first.", ("A1",), ("MESH:D1",))
    assert b == Concept("B", "two", ("duo",))
    assert c == Concept("C") and c.names == ()
    assert d == Concept("D", "four")
    assert scispacy == Concept("C0000005", "(131)I-MAA", ("131I-MAA",), ("T116", "T121"))


def test_what_is_written_comes_back(tmp_path):
    concepts = [Concept("A", "größe", ("|", '"'), ("X",), "d", ("A1",), ("M:1",)), Concept("B")]
    lines = [json.dumps(concept.to_record()) for concept in concepts]
    assert list(read_concepts(write(tmp_path / "c.jsonl", *lines))) == concepts


def test_empty_names_are_noted(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        '{"id": "A", "name": " ", "synonyms": ["", "uno", "\\t"]}',
        '{"id": "B", "names": null}',
    )
    findings = Findings()
    assert [c.names for c in read_concepts(path, findings=findings)] == [("uno",), ()]
    assert findings.counts == {"empty_names": 3} and findings.examples == {"empty_names": ["A"] * 3}


@pytest.mark.parametrize(
    "line, expected",
    [
        ('{"name": "x"}', "no field 'concept_id'"),
        ('{"concept_id": 5}', "field 'concept_id'"),
        ('{"id": " "}', "field 'id'"),
        ('{"concept_id": "A", "name": ["x"]}', "(A), field 'name': expected a string"),
        ('{"concept_id": "A", "synonyms": "x"}', "field 'synonyms': expected a list"),
        ('{"concept_id": "A", "types": ["x", 1]}', "field 'types', item 1"),
        ('["A"]', "expected a JSON object"),
        ('{"concept_id": "A"', "expected one JSON object"),
        ("[" * 100_000, "expected one JSON object"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, line, expected):
    path = write(tmp_path / "bad.jsonl", '{"concept_id": "ok"}', line)
    with pytest.raises(ValueError) as error:
        list(read_concepts(path))
    assert f"'{path}', line 2" in str(error.value) and expected in str(error.value)


def test_other_encoding(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes('{"id": "A", "name": "Größe"}\n'.encode("latin1"))
    with pytest.raises(ValueError, match="bad.jsonl', line 1: expected UTF-8"):
        list(read_concepts(path))
