import gzip
import json

import pytest

from spacy_bioie.kb.concepts import Concept, concept_from_record, merge_concepts, read_concepts


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def test_all_forms_are_read(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        '{"concept_id": "A", "name": "one", "synonyms": ["uno", "uno", " one "], "types": ["DDF"],'
        ' "definition": "The first.", "alt_ids": ["A1"]}',
        "",
        '{"concept_id": "B", "names": ["two", "duo"]}',
        '{"concept_id": "C", "names": []}',
        '{"id": "D", "name": "four", "synonyms": [], "alt_ids": [], "source": "X", "origin": {}}',
        '{"concept_id": "E", "canonical_name": "five", "aliases": ["V"], "definition": null}',
    )
    a, b, c, d, e = read_concepts(path)
    assert a == Concept("A", "one", ("uno",), ("DDF",), "The first.", ("A1",))
    assert b == Concept("B", "two", ("duo",))
    assert c == Concept("C") and c.names == ()
    assert d == Concept("D", "four")
    assert e == Concept("E", "five", ("V",))


def test_records_come_back():
    concept = Concept("A", "one", ("uno",), ("DDF",), "The first.", ("A1",))
    assert concept_from_record(json.loads(json.dumps(concept.to_record()))) == concept


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
        ('{"concept_id": "A"', "expected one JSON object in UTF-8"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, line, expected):
    path = write(tmp_path / "bad.jsonl", '{"concept_id": "ok"}', line)
    with pytest.raises(ValueError) as error:
        list(read_concepts(path))
    assert str(path) in str(error.value) and "line 2" in str(error.value)
    assert expected in str(error.value)


def test_gzip_and_truncated_gzip(tmp_path):
    lines = "".join(
        json.dumps({"concept_id": f"C{i}", "name": f"name {i * 7919 % 1009}"}) + "\n"
        for i in range(2000)
    )
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    assert len(list(read_concepts(path))) == 2000
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="c.jsonl.gz.*breaks off or is damaged after line"):
        list(read_concepts(path))
    path.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="after line 0"):
        list(read_concepts(path))


def test_absent_file():
    with pytest.raises(FileNotFoundError, match="nowhere.jsonl"):
        list(read_concepts("nowhere.jsonl"))


def test_merge_joins_records_of_one_id():
    merged, repeated = merge_concepts(
        [
            Concept("B", "two"),
            Concept("A", "", ("uno",), ("X",)),
            Concept("A", "one", ("uno", "eins"), ("Y",), "The first.", ("A1",)),
        ]
    )
    assert [concept.concept_id for concept in merged] == ["A", "B"]
    assert repeated == ["A"]
    assert merged[0] == Concept("A", "uno", ("one", "eins"), ("X", "Y"), "The first.", ("A1",))
