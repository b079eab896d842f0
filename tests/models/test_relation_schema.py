"""Relation schemas: from files, from plain data, from a training set."""

import json
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.training import Example
from spacy.util import registry

from spacy_bioie.annotation import Mention, set_mentions, set_relations
from spacy_bioie.models.relation_schema import RelationSchema, load_relation_schema

GUTBRAINIE = Path(__file__).resolve().parents[2] / "assets" / "schemas" / "gutbrainie.json"
TRIPLES = [
    ["drug", "interact", "drug"],
    ["drug", "change effect", "DDF"],
    ["DDF", "is a", "DDF"],
    ["DDF", "affect", "DDF"],
]


def test_gutbrainie():
    schema = load_relation_schema(GUTBRAINIE)
    assert (len(schema.triples), len(schema.labels), len(schema.predicates)) == (59, 13, 17)
    assert schema.legal.sum() == 59
    # 54 ordered label pairs, 5 of them with two predicates
    assert numpy.bincount(schema.legal.sum(axis=2).flat).tolist() == [13 * 13 - 54, 49, 5]
    assert ("DDF", "is a", "DDF") in schema
    assert ("drug", "influence", "DDF") not in schema


def test_gutbrainie_allows_all_gold_relations(data_dir):
    schema = load_relation_schema(GUTBRAINIE)
    folder = data_dir / "gutbrainie" / "Annotations"
    for path in (
        folder / "Dev" / "json_format" / "dev.json",
        folder / "Train" / "platinum_quality" / "json_format" / "train_platinum.json",
    ):
        articles = json.loads(path.read_text(encoding="utf8")).values()
        relations = [relation for article in articles for relation in article["relations"]]
        assert relations
        for r in relations:
            assert (r["subject_label"], r["predicate"], r["object_label"]) in schema


def test_table_follows_the_order_of_the_names():
    schema = RelationSchema(
        TRIPLES,
        labels=["x", "drug", "DDF"],
        predicates=["affect", "is a", "interact", "change effect"],
    )
    assert schema.legal.shape == (3, 3, 4)
    assert schema.legal[1, 1].tolist() == [False, False, True, False]
    assert schema.legal[1, 2].tolist() == [False, False, False, True]
    assert schema.legal[2, 2].tolist() == [True, True, False, False]
    assert schema.legal.sum() == 4


def test_names_of_bare_triples_are_sorted():
    schema = RelationSchema.from_data(TRIPLES)
    assert schema.labels == ("DDF", "drug")
    assert schema.predicates == ("affect", "change effect", "interact", "is a")


def test_plain_data_and_back():
    schema = RelationSchema(TRIPLES, labels=["x", "drug", "DDF"])
    data = json.loads(json.dumps(schema.to_data()))
    again = RelationSchema.from_data(data)
    assert again == schema and hash(again) == hash(schema)
    assert again.labels == ("x", "drug", "DDF")
    assert RelationSchema.from_data(schema) is schema
    assert schema != RelationSchema(TRIPLES)


def test_registered():
    load = registry.misc.get("spacy_bioie.RelationSchema.v1")
    assert load(str(GUTBRAINIE)) == load_relation_schema(GUTBRAINIE)


def make_example(nlp, text, mentions, relations, key="sc"):
    reference = nlp.make_doc(text)
    set_mentions(reference, key, [Mention(*mention) for mention in mentions])
    set_relations(reference, key, [(head, label, tail, 1.0) for head, label, tail in relations])
    return Example(nlp.make_doc(text), reference)


def test_from_examples():
    nlp = spacy.blank("en")
    one = make_example(
        nlp,
        "aspirin eases pain in mice",
        [(0, 1, "drug"), (2, 3, "DDF"), (4, 5, "animal")],
        [("T1", "change effect", "T2")],
    )
    two = make_example(nlp, "pain is pain", [(0, 1, "DDF"), (2, 3, "DDF")], [("T1", "is a", "T2")])
    schema = RelationSchema.from_examples([one, two, Example(nlp("x"), nlp("x"))])
    assert schema.triples == (("DDF", "is a", "DDF"), ("drug", "change effect", "DDF"))
    assert schema.labels == ("DDF", "animal", "drug")  # also of a mention without a relation
    assert RelationSchema.from_examples([one], key="other") is None
    assert RelationSchema.from_examples([]) is None


@pytest.mark.parametrize(
    "data,message",
    [
        ([], "no triples"),
        ("drug", "'triples' is 'drug', expected a list of \\[head label"),
        ({"rules": []}, "the key 'triples' is missing, found \\['rules'\\]"),
        ({"triples": None}, "'triples' is None"),
        ({"triples": TRIPLES, "labels": "drug"}, "'labels' is 'drug', expected a list of strings"),
        ([["drug", "interact"]], "triple 0 is \\['drug', 'interact'\\]"),
        ([["drug", "", "drug"]], "triple 0"),
        ([*TRIPLES, ["drug", 3, "drug"]], "triple 4"),
        ([*TRIPLES, TRIPLES[0]], "\\['drug', 'interact', 'drug'\\] is given twice"),
        ({"triples": TRIPLES, "labels": ["drug"]}, "the triples use \\['DDF'\\]"),
        ({"triples": TRIPLES, "predicates": ["is a"]}, "the triples use \\['affect', "),
        ({"triples": TRIPLES, "labels": ["drug", "DDF", "drug"]}, "expected distinct strings"),
    ],
)
def test_errors_name_the_file_and_the_place(tmp_path, data, message):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(data), encoding="utf8")
    with pytest.raises(ValueError, match=message) as error:
        load_relation_schema(path)
    assert "schema.json" in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="none.json' cannot be read"):
        load_relation_schema(tmp_path / "none.json")
    path = tmp_path / "broken.json"
    path.write_text('{"triples": [', encoding="utf8")
    with pytest.raises(ValueError, match="broken.json' is no JSON"):
        load_relation_schema(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="broken.json' is no JSON"):
        load_relation_schema(path)
