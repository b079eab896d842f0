"""Raw abstracts as JSON lines."""

import gzip
import json

import pytest

from spacy_bioie.formats import FormatError, is_abstracts, read_abstracts
from spacy_bioie.prediction import read_unannotated

ROWS = [
    {"pmid": "1", "title": "Gut", "abstract": "Two\nlines.", "journal": "J"},
    {"id": 2, "text": "Plain text."},
    {"title": "", "abstract": "No id."},
]
EXPECTED = [
    ("Gut\nTwo lines.", {"id": "1", "title": "Gut", "abstract": "Two\nlines.", "journal": "J"}),
    ("Plain text.", {"id": "2"}),
    ("\nNo id.", {"id": "", "title": "", "abstract": "No id."}),
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_titles_and_abstracts(tmp_path, name):
    text = "\n\n".join(json.dumps(row) for row in ROWS)
    data = text.encode("utf8")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert is_abstracts(name) and not is_abstracts("a.json")
    assert list(read_abstracts(tmp_path / name)) == EXPECTED
    assert list(read_unannotated(tmp_path / name)) == EXPECTED


@pytest.mark.parametrize(
    "line,message",
    [
        ('{"title": "a"}', "a.jsonl: line 2: abstract: missing: expected a string"),
        ('{"pmid": "1"}', "line 2: expected the fields 'title' and 'abstract', or 'text'"),
        ('{"text": 1}', "line 2: text: expected a string, found an integer"),
        ('{"text": "", "id": [1]}', r"line 2: id: expected a string or a whole number, found \[1"),
        ("[]", "line 2: expected an object, found a list"),
        ("{", "line 2: not valid JSON"),
    ],
)
def test_malformed_lines(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' + line, encoding="utf8")
    with pytest.raises(FormatError, match=message):
        list(read_abstracts(path))


def test_damaged_files(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "x"}\n' * 99)[:-9])
    with pytest.raises(ValueError, match="a.jsonl.gz.*damaged"):
        list(read_abstracts(path))
    with pytest.raises(OSError, match="absent"):
        list(read_abstracts(tmp_path / "absent.jsonl"))
