import numpy
import pytest
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_bioie.annotation import (
    Mention,
    ensure_span_ids,
    get_mentions,
    gold_mentions,
    mention_entities,
    mention_table,
    mention_texts,
    set_mentions,
)

NESTED = [
    Mention(0, 2, "microbiome", kb_id="C1", score=0.5, candidates=[("C1", 0.7), ("C2", 0.1)]),
    Mention(0, 1, "anatomical location", kb_id="C3", score=0.25, candidates=[("C3", 0.9)]),
    Mention(0, 2, "bacteria", score=0.125, candidates=[]),
]


@pytest.fixture
def doc(nlp):
    doc = nlp("gut microbiota of mice")
    set_mentions(doc, "sc", NESTED)
    return doc


def test_mentions_come_back(doc):
    mentions = get_mentions(doc)
    assert [m.id for m in mentions] == ["T1", "T2", "T3"]
    assert [(m.start, m.end, m.label, m.kb_id, m.score) for m in mentions] == [
        (m.start, m.end, m.label, m.kb_id, m.score) for m in NESTED
    ]
    assert [m.candidates for m in mentions] == [m.candidates for m in NESTED]
    assert doc.spans["sc"].attrs["scores"].dtype == numpy.float32


def test_nested_twins_have_candidates_of_their_own(doc):
    spans = list(doc.spans["sc"])
    assert spans[0]._.kb_ents == [("C1", 0.7), ("C2", 0.1)]
    assert spans[1]._.kb_ents == [("C3", 0.9)]
    assert spans[2]._.kb_ents == []
    assert doc[2:3]._.kb_ents == []


@pytest.mark.parametrize("way", ["docbin", "bytes", "pickle"])
def test_mentions_survive(doc, nlp, way):
    import pickle

    if way == "docbin":
        (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    elif way == "bytes":
        again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    else:
        again = pickle.loads(pickle.dumps(doc))
    assert get_mentions(again) == get_mentions(doc)


def test_ids_are_kept_and_completed(nlp):
    doc = nlp("gut microbiota of mice")
    mentions = [Mention(0, 1, "a", id="T2"), Mention(1, 2, "a"), Mention(3, 4, "a")]
    made = set_mentions(doc, "sc", mentions)
    assert [m.id for m in made] == ["T2", "T1", "T3"]
    again = set_mentions(doc, "sc", made, keep_ids=False)
    assert [m.id for m in again] == ["T1", "T2", "T3"]
    with pytest.raises(ValueError, match="Two mentions have the id 'x'"):
        set_mentions(doc, "sc", [Mention(0, 1, "a", id="x"), Mention(1, 2, "a", id="x")])


def test_ids_for_spans_of_other_components(nlp):
    doc = nlp("gut microbiota of mice")
    doc.spans["sc"] = [doc[0:1], doc[0:2]]
    doc.spans["sc"].attrs["scores"] = numpy.asarray([0.5, 0.25], dtype="float32")
    doc.spans["sc"].attrs["origin"] = "rules"
    assert [m.id for m in ensure_span_ids(doc)] == ["T1", "T2"]
    assert [span.id_ for span in doc.spans["sc"]] == ["T1", "T2"]
    assert doc.spans["sc"].attrs["origin"] == "rules"


def test_attrs_out_of_line(doc):
    doc.spans["sc"].attrs["candidates"] = [[]]
    with pytest.raises(ValueError, match=r"attrs\['candidates'\] has 1 values for 3 spans"):
        get_mentions(doc)


def test_table_marks_unknown_labels(doc):
    table = mention_table(get_mentions(doc), ["microbiome", "bacteria"])
    assert table.tolist() == [[0, 2, 0], [0, 1, -1], [0, 2, 1]]
    assert mention_table([], []).shape == (0, 3)


def test_texts_are_exact(nlp):
    doc = nlp.make_doc("the neuroinflammation here")
    mentions = [Mention(1, 2, "DDF"), Mention(1, 2, "DDF", char_offsets=(9, 21))]
    assert mention_texts(doc, mentions) == ["neuroinflammation", "inflammation"]


def test_mentions_of_one_concept_are_one_entity(nlp):
    doc = nlp("Gut flora and gut  FLORA of mice")
    mentions = [
        Mention(0, 2, "bacteria", kb_id="C1"),
        Mention(7, 8, "animal"),
        Mention(3, 6, "bacteria", kb_id="C1"),
        Mention(0, 2, "bacteria"),
        Mention(3, 6, "bacteria"),  # the same text but for case and blanks
        Mention(3, 6, "DDF"),
        Mention(7, 8, "animal", kb_id="gut flora"),
        Mention(0, 2, "DDF", kb_id="C1"),
    ]
    entities = mention_entities(doc, mentions)
    assert entities.tolist() == [0, 1, 0, 2, 2, 3, 4, 5] and entities.dtype == numpy.int64
    assert mention_entities(doc, []).shape == (0,)


def test_gold_on_the_same_tokens(nlp, doc):
    example = Example(nlp.make_doc(doc.text), doc)
    assert gold_mentions(example) == get_mentions(doc)


def test_gold_on_other_tokens(nlp):
    text = "gut-brain axis"
    reference = nlp(text)
    set_mentions(reference, "sc", [Mention(0, 1, "a"), Mention(2, 3, "b"), Mention(3, 4, "c")])
    predicted = Doc(nlp.vocab, words=["gut-brain", "axis"])
    assert [
        (m.start, m.end, m.label, m.char_offsets, *mention_texts(predicted, [m]))
        for m in gold_mentions(Example(predicted, reference))
    ] == [
        (0, 1, "a", (0, 3), "gut"),
        (0, 1, "b", (4, 9), "brain"),
        (1, 2, "c", (10, 14), "axis"),
    ]


def test_exact_characters_inside_a_token(nlp):
    doc = nlp("the NF-kappaB70W gene")
    last = len(doc) - 2
    set_mentions(doc, "sc", [Mention(last, last + 1, "gene", char_offsets=(doc[last].idx, 13))])
    (mention,) = get_mentions(doc)
    assert mention_texts(doc, [mention])[0] == doc.text[doc[last].idx : 13]
    (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    assert get_mentions(again) == [mention]
