import json

import pytest

from spacy_bioie.annotation import META_KEY, Mention, set_mentions, set_relations
from spacy_bioie.formats import (
    SUBTASKS,
    Article,
    Entity,
    EntityRelation,
    FormatError,
    article_to_doc,
    article_to_json,
    derived_relations,
    read_articles,
    submission,
    write_articles,
    write_submissions,
)

from .builders import distinct


@pytest.fixture
def article():
    """Two mentions of a concept with one text, one without a link, and relations that repeat."""
    entities = [
        Entity(0, 3, "title", "mice", "animal", "u:mice"),
        Entity(9, 12, "title", "mice", "animal", "u:mice"),
        Entity(18, 20, "title", "gut", "anatomical location", "u:gut"),
        Entity(18, 27, "title", "gut flora.", "microbiome", None),
        Entity(18, 27, "title", "gut flora.", "microbiome", None),
    ]
    relations = [
        EntityRelation(2, "located in", 0),
        EntityRelation(2, "located in", 1),
        EntityRelation(2, "located in", 1),
        EntityRelation(3, "located in", 1),
    ]
    metadata = {"title": "mice and mice and gut flora.", "abstract": ""}
    return Article("1", metadata, entities, relations)


def test_derived_relations_are_sets_in_first_order(article):
    located = {"predicate": "located in"}
    gut, flora = {"subject_label": "anatomical location"}, {"subject_label": "microbiome"}
    animal = {"object_label": "animal"}
    assert derived_relations(article, "bt") == [{**gut, **animal}, {**flora, **animal}]
    assert derived_relations(article, "tt") == [
        {**gut, **located, **animal},
        {**flora, **located, **animal},
    ]
    rows = [
        {"subject_text_span": "gut", **gut, **located, "object_text_span": "mice", **animal},
        {"subject_text_span": "gut flora.", **flora, **located, "object_text_span": "mice"}
        | animal,
    ]
    assert derived_relations(article, "tm") == rows
    assert derived_relations(article, "m-re") == rows
    assert [list(row) for row in derived_relations(article, "m-re")] == [list(rows[0])] * 2


def test_concept_level_leaves_out_what_has_no_concept(article):
    assert derived_relations(article, "c-re") == [
        {
            "subject_uri": "u:gut",
            "subject_label": "anatomical location",
            "predicate": "located in",
            "object_uri": "u:mice",
            "object_label": "animal",
        }
    ]


def test_entities_are_sets_and_linked_ones_for_nerd(article):
    rows = submission([article], "ner")["1"]["entities"]
    assert len(rows) == 4 and "uri" not in rows[0]
    assert rows[0] == {
        "start_idx": 0,
        "end_idx": 3,
        "location": "title",
        "text_span": "mice",
        "label": "animal",
    }
    linked = submission([article], "nerd")["1"]["entities"]
    assert [row["uri"] for row in linked] == ["u:mice", "u:mice", "u:gut"]


def test_layout_of_a_year(article):
    assert list(article_to_json(article, 2025)) == [
        "metadata",
        "entities",
        "relations",
        "binary_tag_based_relations",
        "ternary_tag_based_relations",
        "ternary_mention_based_relations",
    ]
    row = article_to_json(article, 2026)
    assert list(row)[3:] == ["mention_level_relations", "concept_level_relations"]
    assert row["entities"][3]["uri"] == "" == row["relations"][3]["subject_uri"]
    assert len(row["relations"]) == 4
    with pytest.raises(ValueError, match="Unknown year 2024: expected one of 2025, 2026"):
        article_to_json(article, 2024)


def test_files_are_read_again(article, tmp_path):
    path = tmp_path / "new" / "a.json"
    assert write_articles([article], path) == 1
    assert list(read_articles(path)) == [article]
    assert write_articles([article], path, year=2025) == 1
    (plain,) = read_articles(path)
    assert all(entity.uri is None for entity in plain.entities)
    with pytest.raises(FormatError, match="PMID 1: expected each PMID once"):
        write_articles([article, article], tmp_path / "b.json")
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "a.json"]


@pytest.mark.parametrize("year", [2025, 2026])
def test_submission_files(article, nlp, tmp_path, year):
    docs = [article_to_doc(article, nlp), article_to_doc(Article("2", article.metadata), nlp)]
    paths = write_submissions(docs, tmp_path / "run", year)
    assert {path.stem: task for task, path in paths.items()} == SUBTASKS[year]
    for task, path in paths.items():
        values = json.loads(path.read_text(encoding="utf8"))
        assert values == submission(docs, task)
        assert list(values) == ["1", "2"]
        (rows,) = values["1"].values()
        assert rows and distinct(rows)[1]
        assert list(values["2"].values()) == [[]]
    assert len(list((tmp_path / "run").iterdir())) == 4


def test_unknown_task_and_year(article, tmp_path):
    with pytest.raises(ValueError, match="Unknown task 'T61': expected one of ner, nerd, bt"):
        submission([article], "T61")
    with pytest.raises(ValueError, match="Unknown year 2027"):
        write_submissions([article], tmp_path, 2027)


def test_mention_across_sections_is_left_out_with_a_warning(nlp):
    doc = nlp("In mice\nGut microbiota")
    doc.user_data[META_KEY] = {"id": "9"}
    set_mentions(doc, "sc", [Mention(1, 4, "animal"), Mention(3, 5, "microbiome")])
    set_relations(doc, "sc", [("T2", "located in", "T1", 0.9)])
    with pytest.warns(UserWarning, match="1 mentions left out .* PMID 9: mention T1"):
        rows = submission([doc], "ner")["9"]["entities"]
    assert [row["text_span"] for row in rows] == ["Gut microbiota"]
    report = []
    assert submission([doc], "bt", report=report) == {"9": {"binary_tag_based_relations": []}}
    assert len(report) == 1


def test_nothing_is_written_when_a_document_is_wrong(article, nlp, tmp_path):
    docs = [article_to_doc(article, nlp), nlp("one\ntwo")]
    with pytest.raises(FormatError, match="document beginning"):
        write_submissions(docs, tmp_path, 2025)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dev"])
def test_real_gold_as_a_submission(real_file, name):
    real = real_file(name)
    for task, field in (("m-re", "mention_level_relations"), ("c-re", "concept_level_relations")):
        values = submission(real.docs, task)
        for pmid, value in values.items():
            assert distinct(value[field])[0] == distinct(real.values[pmid][field])[0]
    values = submission(real.docs, "nerd")
    assert all(values[pmid]["entities"] == real.values[pmid]["entities"] for pmid in values)
