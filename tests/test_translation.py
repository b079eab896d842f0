"""Translation of names: the table of terms, and what any function has to give."""

import json
import pickle

import pytest
from spacy.util import registry

from spacy_bioie.translation import TermTranslator, translate_texts

TERMS = [
    ("καρδιακή ανεπάρκεια", "heart failure"),
    ("ανεπάρκεια", "failure"),
    ("οξεία", "acute"),
    ("Οξεία", "sharp"),
]


def make(name, folder, text):
    (folder / name).write_text(text, encoding="utf8")
    return registry.misc.get("spacy_bioie.TermTranslator.v1")(path=str(folder / name))


def test_terms_are_replaced_the_longest_first():
    translate = TermTranslator(terms=TERMS)
    texts = ["Οξεία καρδιακή ανεπάρκεια!", "ΚΑΡΔΙΑΚΗ  ΑΝΕΠΑΡΚΕΙΑ", "νεφρική ανεπάρκεια", "MI", ""]
    assert translate(texts) == [
        "acute heart failure!",
        "heart failure",
        "νεφρική failure",
        "MI",
        "",
    ]
    assert TermTranslator(terms=[])(["x y"]) == ["x y"]


@pytest.mark.parametrize(
    "name, text",
    [
        ("terms.tsv", '5" line\tfive\n\nοξεία\tacute \n'),
        ("terms.csv", '"5"" line",five\nοξεία,acute\n'),
        ("terms.json", json.dumps({'5" line': "five", "οξεία": " acute"})),
    ],
)
def test_files(name, text, tmp_path):
    assert make(name, tmp_path, text)(["οξεία", 'the 5" line']) == ["acute", "the five"]


def test_it_is_saved_without_its_file(tmp_path):
    translate = make("terms.tsv", tmp_path, "καρδιακή ανεπάρκεια\theart failure\n")
    data = translate.to_bytes()
    (tmp_path / "terms.tsv").unlink()
    again = TermTranslator(tmp_path / "terms.tsv").from_bytes(data)
    for translator in (again, pickle.loads(pickle.dumps(again))):
        assert translator(["Καρδιακη ανεπαρκεια"]) == ["heart failure"]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.tsv", "x\ty\nz\n", r"'.*a.tsv', line 2: expected a term and its translation.*\['z'\]"),
        ("a.csv", "x,y,z\n", "line 1: expected a term and its translation"),
        ("a.json", "[]", "expected an object of terms and their translations, got a list"),
        ("a.json", "{", "is no JSON"),
        ("a.json", '{"x": 1}', "term 'x': expected its translation, got 1"),
        ("a.txt", "x\ty\n", "expected a .tsv, .csv or .json file"),
    ],
)
def test_bad_files(name, text, message, tmp_path):
    translate = make(name, tmp_path, text)
    with pytest.raises(ValueError, match=message):
        translate(["x"])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="absent.tsv' cannot be read: No such file"):
        TermTranslator(tmp_path / "absent.tsv")(["x"])
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="a.tsv': expected UTF-8"):
        TermTranslator(tmp_path / "a.tsv")(["x"])


def test_any_function_will_do():
    asked = []

    def upper(texts):
        asked.append(texts)
        return [text.upper() for text in texts]

    assert translate_texts(upper, ["a", "b", "a"]) == ["A", "B", "A"]
    assert asked == [["a", "b"]]
    assert translate_texts(upper, []) == [] and len(asked) == 1
    assert translate_texts(None, ["a"]) == ["a"]
    with pytest.raises(ValueError, match="asked for 2 texts and gave 1 values"):
        translate_texts(lambda texts: texts[:1], ["a", "b"])
    with pytest.raises(ValueError, match="gave NoneType among them"):
        translate_texts(lambda texts: [None], ["a"])
