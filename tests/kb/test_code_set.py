"""Closed sets of codes: each form of a table, and what is wrong with one."""

import json

import pytest
from spacy.util import registry

from spacy_bioie.kb.code_set import load_code_set

TERMS = [("Heart failure", "I50"), ("Cardiac failure", "I50"), ("Gout", "M10")]
FORMS = {
    "codes.tsv": "code\tdescription\nI50\tHeart failure\nM10\tGout\nI50\tCardiac failure\n",
    "codes.csv": 'code,name,synonyms\nI50,"Heart failure",Cardiac failure\nM10,Gout,\n',
    "codes.jsonl": '{"id": "I50", "name": "Heart failure", "synonyms": ["Cardiac failure"]}\n'
    '{"id": "M10", "name": "Gout"}\n',
    "codes.json": json.dumps({"I50": [" Heart failure", "Cardiac failure", ""], "M10": "Gout"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form(name, tmp_path):
    (tmp_path / name).write_text(FORMS[name], encoding="utf8")
    codes = registry.misc.get("spacy_bioie.CodeSet.v1")(path=str(tmp_path / name))
    assert codes.codes == ["I50", "M10"] and codes.terms() == TERMS


def test_codes_alone(tmp_path):
    (tmp_path / "codes.txt").write_text("I50\n\nM10 \nI50\n", encoding="utf8")
    codes = load_code_set(tmp_path / "codes.txt")
    assert codes.codes == ["I50", "M10"] and codes.terms() == []


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.json", "[1]", "expected an object of codes and their descriptions, got a list"),
        ("a.json", "{", "a.json' is no JSON"),
        ("a.json", '{"I50": 5}', "a.json', code 'I50': expected a description or a list"),
        ("a.json", '{"I50": ["x", 5]}', "code 'I50': expected a description or a list"),
        ("a.json", '{" ": "x"}', "code ' ': expected"),
        ("a.json", "{}", "a.json': the table holds no code"),
        ("a.txt", "I50\nHeart failure\n", "a.txt', line 2: expected one code, got 'Heart failure'"),
        ("a.txt", "\n", "a.txt': the table holds no code"),
        ("a.tsv", "I50\tHeart failure\n", "a.tsv', line 1: expected a header"),
    ],
)
def test_bad_tables(name, text, message, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf8")
    with pytest.raises(ValueError, match=message):
        load_code_set(tmp_path / name)


def test_bytes_that_are_no_text(tmp_path):
    for name in ("a.txt", "a.json"):
        (tmp_path / name).write_bytes(b"\xff\xfe\xff")
        with pytest.raises(ValueError, match=name):
            load_code_set(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.tsv"])
def test_absent_table(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=name):
        load_code_set(tmp_path / name)


def test_the_codes_of_elcardiocc(data_dir):
    codes = load_code_set(data_dir / "elcardiocc" / "labelset_descriptions.json")
    assert len(codes.codes) == 324
    assert codes.codes == load_code_set(data_dir / "elcardiocc" / "labelset.txt").codes
    assert len(codes.terms()) > 2000
