"""Codes of a document: derived from links or stated, with the mentions that support them."""

import pickle

import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import (
    Mention,
    code_evidence,
    codes_key,
    document_codes,
    get_mentions,
    set_codes,
    set_mentions,
)

TEXT = "Old heart failure, acute heart failure and gout."
LINKED = [
    Mention(1, 3, "d", "A", "I50", candidates=[("I50", 0.6), ("I21", 0.4)]),
    Mention(5, 7, "d", "B", "I50", candidates=[("I50", 0.9), ("I21", 0.1)]),
    Mention(5, 7, "d", "C", "", candidates=[("M10", 0.2)]),
    Mention(8, 9, "d", "D", "M10", candidates=[("M10", 0.7)]),
]
EXPECTED = [
    {"code": "I50", "score": pytest.approx(0.9), "mentions": ["A", "B"]},
    {"code": "M10", "score": pytest.approx(0.7), "mentions": ["D"]},
]


@pytest.fixture
def doc(nlp):
    doc = nlp.make_doc(TEXT)
    set_mentions(doc, "sc", LINKED)
    return doc


def test_codes_are_those_of_the_links(doc):
    assert document_codes(doc) == EXPECTED == doc._.codes
    assert document_codes(doc, "other") == []
    # they follow the links as long as none are set
    set_mentions(doc, "sc", LINKED[3:])
    assert [row["code"] for row in doc._.codes] == ["M10"]


def test_links_without_scores_ids_or_with_several_codes(nlp):
    doc = nlp.make_doc(TEXT)
    doc.spans["sc"] = [doc[1:3], doc[8:9]]
    assert doc._.codes == []
    rows = [Mention(1, 3, "d", kb_id="I50|I21", score=0.3), Mention(8, 9, "d", kb_id="M10")]
    set_mentions(doc, "sc", rows)
    found = {row["code"]: (row["score"], row["mentions"]) for row in doc._.codes}
    assert found == {"I50": (1.0, ["T1"]), "I21": (1.0, ["T1"]), "M10": (1.0, ["T2"])}


def test_mentions_without_ids_get_one(nlp):
    from spacy.tokens import Span

    doc = nlp.make_doc(TEXT)
    doc.spans["sc"] = [Span(doc, 8, 9, "d", kb_id="M10")]
    assert doc._.codes == [{"code": "M10", "score": 1.0, "mentions": ["T1"]}]
    assert get_mentions(doc)[0].id == "T1"


def test_evidence_has_exact_offsets(doc):
    rows = [LINKED[1], Mention(1, 3, "d", "A", "I50", char_offsets=(4, 16))]
    set_mentions(doc, "sc", rows)
    evidence = code_evidence(doc)
    assert list(evidence) == ["I50"]
    found = [(item.id, item.start, item.end, item.text) for item in evidence["I50"]]
    assert found == [("A", 4, 16, "heart failur"), ("B", 25, 38, "heart failure")]
    assert [item.score for item in evidence["I50"]] == pytest.approx([1.0, 0.9])


def test_stated_codes_come_first(doc):
    doc._.codes = ["Z99", "I50"]
    assert doc._.codes == [
        {"code": "Z99", "score": 1.0, "mentions": []},
        {"code": "I50", "score": 1.0, "mentions": []},
    ]
    doc._.codes = []  # a document without any code
    assert doc._.codes == [] and document_codes(doc) == EXPECTED


def test_codes_over_another_group(nlp):
    doc = nlp.make_doc(TEXT)
    set_mentions(doc, "mine", LINKED)
    assert doc._.codes == [] and codes_key(doc) == "sc"
    set_codes(doc, document_codes(doc, "mine"), "mine")
    assert doc._.codes == EXPECTED and codes_key(doc) == "mine"
    assert [item.text for item in code_evidence(doc)["M10"]] == ["gout"]


def test_codes_are_carried(doc, nlp):
    set_codes(doc, document_codes(doc))
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (again,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
    for copy in (again, pickle.loads(pickle.dumps(doc)), doc.copy()):
        assert copy._.codes == EXPECTED
        assert code_evidence(copy) == code_evidence(doc)


@pytest.mark.parametrize(
    "codes, message",
    [
        ([""], "Document code '': expected a code, a string that is not empty"),
        ([{"score": 1.0}], "expected a code"),
        ([{"code": 7}], "expected a code"),
        (["I50", "I50"], "Document code 'I50' is given twice"),
        ([{"code": "I50", "mentions": ["X"]}], r"no mention of doc.spans\['sc'\] has the id 'X'"),
        ([{"code": "I50", "mentions": [""]}], "has the id ''"),
    ],
)
def test_bad_codes(doc, codes, message):
    before = doc._.codes
    with pytest.raises(ValueError, match=message):
        doc._.codes = codes
    assert doc._.codes == before


def test_evidence_of_mentions_that_are_gone(doc):
    set_codes(doc, document_codes(doc))
    set_mentions(doc, "sc", LINKED[:1])
    with pytest.raises(ValueError, match="'I50' names the mention 'B', which is not in"):
        code_evidence(doc)
