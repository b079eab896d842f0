import pytest
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import (
    ConceptRelation,
    Mention,
    Relation,
    get_relation_rows,
    gold_relation_rows,
    set_mentions,
    set_relations,
)

ROWS = [("T1", "located in", "T2", 0.5), ("T3", "located in", "T2", 0.75)]


@pytest.fixture
def doc(nlp):
    doc = nlp("butyrate in mice")
    mentions = [
        Mention(0, 1, "chemical", kb_id="C1"),
        Mention(2, 3, "animal", kb_id="C2"),
        Mention(0, 1, "drug", kb_id="C1"),
    ]
    set_mentions(doc, "sc", mentions)
    set_relations(doc, "sc", ROWS)
    return doc


def test_nested_twins_do_not_collide(doc):
    first, second = doc._.relations
    assert (first.head.label_, second.head.label_) == ("chemical", "drug")
    assert (first.head.start, second.head.start) == (0, 0)
    assert (first.label, first.tail.text, first.score) == ("located in", "mice", 0.5)


def test_relations_survive_a_docbin(doc, nlp):
    (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    assert get_relation_rows(again) == ROWS
    assert again._.relations[1].head.label_ == "drug"


def test_setter_takes_relations_and_rows(doc):
    first = doc._.relations[0]
    doc._.relations = [first._replace(score=0.25), ("T3", "x", "T1", 1.0)]
    assert get_relation_rows(doc) == [("T1", "located in", "T2", 0.25), ("T3", "x", "T1", 1.0)]
    assert isinstance(doc._.relations[0], Relation)


def test_unknown_ids(doc):
    with pytest.raises(ValueError, match="no mention of doc.spans\\['sc'\\] has the id 'T9'"):
        doc._.relations = [("T1", "x", "T9", 1.0)]
    assert get_relation_rows(doc) == ROWS
    set_mentions(doc, "sc", [Mention(0, 1, "chemical", id="other")])
    with pytest.raises(ValueError, match="the group was replaced after"):
        assert doc._.relations


def test_concept_relations_are_distinct(doc, nlp):
    doc.spans["sc"] = [*doc.spans["sc"]]
    set_mentions(
        doc,
        "sc",
        [
            Mention(0, 1, "chemical", kb_id="C1"),
            Mention(2, 3, "animal", kb_id="C2"),
            Mention(0, 1, "chemical", kb_id="C1"),
            Mention(1, 2, "chemical"),
        ],
    )
    set_relations(doc, "sc", [*ROWS, ("T4", "located in", "T2", 0.9)])
    assert doc._.concept_relations == [
        ConceptRelation("C1", "chemical", "located in", "C2", "animal", 0.75)
    ]


def test_no_relations(nlp):
    doc = nlp("nothing")
    assert doc._.relations == [] and doc._.concept_relations == []


def test_gold_rows_name_mentions_that_survived(nlp, doc):
    assert gold_relation_rows(Example(nlp.make_doc(doc.text), doc)) == ROWS
    assert gold_relation_rows(Example(nlp.make_doc(doc.text), doc), "other") == []


def test_evidence_is_the_sentences_of_both_mentions(nlp):
    doc = nlp("Before it . Butyrate lowers stress . Mice were calm . After it .")
    set_mentions(doc, "sc", [Mention(7, 8, "animal"), Mention(3, 4, "chemical")])
    set_relations(doc, "sc", [("T2", "located in", "T1", 0.9)])
    (relation,) = doc._.relations
    assert relation.evidence.text == "Butyrate lowers stress . Mice"
    for token in doc:
        token.is_sent_start = token.i == 0 or doc[token.i - 1].text == "."
    assert relation.evidence.text == "Butyrate lowers stress . Mice were calm ."
