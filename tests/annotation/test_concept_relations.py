import pytest
from spacy.tokens import Doc, DocBin

from spacy_bioie.annotation import (
    ConceptRelation,
    ConceptRow,
    Mention,
    concept_ids,
    concept_relation_keys,
    distribute_concept_relations,
    get_concept_rows,
    get_relation_rows,
    set_concept_rows,
    set_mentions,
    set_relations,
    states_concept_relations,
)

WORDS = "lithium causes toxicity . Here lithium or atropine and much more toxicity .".split()


@pytest.fixture
def doc(nlp):
    """Two sentences; the first mentions of D1 and D2 share one, the later ones the other."""
    starts = [word in ("lithium", "Here") and i in (0, 4) for i, word in enumerate(WORDS)]
    doc = Doc(nlp.vocab, words=WORDS, sent_starts=starts)
    mentions = [
        Mention(0, 1, "Chemical", kb_id="D1"),
        Mention(2, 3, "Disease", kb_id="D2"),
        Mention(5, 8, "Chemical", kb_id="D1|D3"),
        Mention(11, 12, "Disease", kb_id="D2"),
        Mention(7, 8, "Chemical"),
    ]
    set_mentions(doc, "sc", mentions)
    return doc


@pytest.mark.parametrize(
    "kb_id,expected",
    [
        ("", []),
        ("D003110", ["D003110"]),
        ("D003110|D009369", ["D003110", "D009369"]),
        ("OMIM:312080+OMIM:312920", ["OMIM:312080", "OMIM:312920"]),
        ("C1, D2,D2", ["C1", "D2"]),
        ("3172,3651;6927", ["3172", "3651", "6927"]),
        ("CVCL_0031,CVCL_1452", ["CVCL_0031", "CVCL_1452"]),
        ("D018450|-1", ["D018450"]),
        ("c|DEL|657|5", ["c|DEL|657|5"]),
        ("c|SUB|G|2554+1|T", ["c|SUB|G|2554+1|T"]),
        ("|INS|125_126|AA", ["|INS|125_126|AA"]),
        ("http://example.org/a,1|2", ["http://example.org/a,1|2"]),
    ],
)
def test_ids_that_join_concepts(kb_id, expected):
    assert concept_ids(kb_id) == expected


def test_rows_come_back(doc, nlp):
    assert not states_concept_relations(doc) and get_concept_rows(doc) == []
    rows = [("D1", "CID", "D2"), ConceptRow("D3", "Bind", "D1", ("Novel", "x"))]
    set_concept_rows(doc, rows)
    (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    assert states_concept_relations(again)
    assert get_concept_rows(again) == [ConceptRow("D1", "CID", "D2"), rows[1]]
    set_concept_rows(doc, [])
    assert states_concept_relations(doc) and get_concept_rows(doc) == []


@pytest.mark.parametrize("row", [("", "CID", "D2"), ("D1", "", "D2"), ("D1", "CID", "")])
def test_empty_fields(doc, row):
    with pytest.raises(ValueError, match="expected two concept ids and a label"):
        set_concept_rows(doc, [("D1", "CID", "D2"), row])
    assert not states_concept_relations(doc)


def test_stated_relations_come_before_lifted_ones(doc):
    set_relations(doc, "sc", [("T3", "CID", "T4", 0.5), ("T1", "CID", "T4", 0.75)])
    lifted = [
        ConceptRelation("D1", "Chemical", "CID", "D2", "Disease", 0.75),
        ConceptRelation("D3", "Chemical", "CID", "D2", "Disease", 0.5),
    ]
    assert doc._.concept_relations == lifted
    assert concept_relation_keys(doc) == {("D1", "CID", "D2"), ("D3", "CID", "D2")}
    set_concept_rows(doc, [("D2", "Bind", "D9"), ("D1|D3", "Bind", "D2")])
    assert doc._.concept_relations == [
        ConceptRelation("D2", "Disease", "Bind", "D9", ""),
        ConceptRelation("D1|D3", "Chemical", "Bind", "D2", "Disease"),
    ]
    set_concept_rows(doc, [])
    assert doc._.concept_relations == [] and concept_relation_keys(doc) == set()


def test_keys_of_relations_without_order(doc):
    set_concept_rows(doc, [("D2", "Bind", "D1"), ("D1", "Bind", "D2"), ("D2", "CID", "D1")])
    ordered = {("D2", "Bind", "D1"), ("D1", "Bind", "D2"), ("D2", "CID", "D1")}
    assert concept_relation_keys(doc) == ordered
    assert concept_relation_keys(doc, ["Bind"]) == {("D1", "Bind", "D2"), ("D2", "CID", "D1")}
    assert concept_relation_keys(doc, "*") == {("D1", "Bind", "D2"), ("D1", "CID", "D2")}


def pairs(doc):
    return [(head, tail) for head, _, tail, _ in get_relation_rows(doc)]


@pytest.mark.parametrize(
    "kind,expected",
    [
        ("all", [("T1", "T2"), ("T1", "T4"), ("T3", "T2"), ("T3", "T4")]),
        ("closest", [("T1", "T2")]),
        ("sentence", [("T1", "T2"), ("T3", "T4")]),
    ],
)
def test_pairs_of_mentions(doc, kind, expected):
    set_concept_rows(doc, [("D1", "CID", "D2")])
    assert distribute_concept_relations(doc, pairs=kind) == []
    assert pairs(doc) == expected
    assert {(label, score) for _, label, _, score in get_relation_rows(doc)} == {("CID", 1.0)}


def test_no_pair_in_one_sentence(doc):
    mentions = [Mention(0, 1, "Chemical", kb_id="D1"), Mention(11, 12, "Disease", kb_id="D2")]
    set_mentions(doc, "sc", [*mentions, Mention(5, 6, "Chemical", kb_id="D1")])
    set_concept_rows(doc, [("D1", "CID", "D2")])
    distribute_concept_relations(doc, pairs="sentence")
    assert pairs(doc) == [("T3", "T2")]
    set_mentions(doc, "sc", [mentions[0], Mention(5, 6, "Chemical", kb_id="D3"), mentions[1]])
    distribute_concept_relations(doc, pairs="sentence")
    assert pairs(doc) == [("T1", "T3")]


def test_a_mention_is_not_related_to_itself_and_pairs_occur_once(doc):
    set_concept_rows(doc, [("D1", "Bind", "D3"), ("D1", "CID", "D2"), ("D3", "CID", "D2")])
    assert distribute_concept_relations(doc, pairs="closest") == []
    assert get_relation_rows(doc) == [
        ("T1", "Bind", "T3", 1.0),
        ("T1", "CID", "T2", 1.0),
        ("T3", "CID", "T2", 1.0),
    ]


def test_relations_that_no_mentions_can_hold(doc):
    rows = [ConceptRow("D1", "CID", "D9"), ConceptRow("D3", "Bind", "D3", ("No",))]
    set_concept_rows(doc, [("D1", "CID", "D2"), *rows])
    assert distribute_concept_relations(doc) == rows
    assert len(pairs(doc)) == 4
    set_concept_rows(doc, rows)
    distribute_concept_relations(doc)
    assert pairs(doc) == []


def test_heads_where_there_is_no_order(doc):
    set_concept_rows(doc, [("D2", "Bind", "D1"), ("D3", "Bind", "D1")])
    distribute_concept_relations(doc, pairs="closest", symmetric=["Bind"])
    assert pairs(doc) == [("T1", "T2"), ("T1", "T3")]
    distribute_concept_relations(doc, pairs="closest", symmetric=["CID"])
    assert pairs(doc) == [("T2", "T1"), ("T3", "T1")]


def test_nothing_stated_changes_nothing(doc):
    set_relations(doc, "sc", [("T1", "CID", "T2", 0.5)])
    assert distribute_concept_relations(doc) == []
    assert get_relation_rows(doc) == [("T1", "CID", "T2", 0.5)]


def test_arguments_that_do_not_fit(doc, nlp):
    with pytest.raises(ValueError, match="Unknown pairs 'near': expected one of all, closest"):
        distribute_concept_relations(doc, pairs="near")
    plain = nlp("no sentence borders here")
    set_concept_rows(plain, [("D1", "CID", "D2")])
    with pytest.raises(ValueError, match="the document has no sentence borders"):
        distribute_concept_relations(plain, pairs="sentence")
