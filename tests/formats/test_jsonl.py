import json

import pytest

from spacy_bioie.annotation import (
    META_KEY,
    ConceptRow,
    Mention,
    code_evidence,
    get_concept_rows,
    get_mentions,
    get_relation_rows,
    set_codes,
    set_concept_rows,
    set_mentions,
    set_relations,
    states_concept_relations,
)
from spacy_bioie.formats import (
    FormatError,
    article_to_doc,
    doc_to_article,
    doc_to_record,
    read_articles,
    read_jsonl,
    record_to_doc,
    write_jsonl,
)

from .builders import ABSTRACT, TITLE, corpus, write_json


@pytest.fixture
def predicted(nlp):
    """A Doc as a pipeline leaves it: scores, candidates, a nested mention, relations."""
    doc = nlp("Gut bacteria\nfeed mice 🦠.")
    doc.user_data[META_KEY] = {"id": "D1", "title": "Gut bacteria", "journal": "J"}
    mentions = [
        Mention(0, 2, "bacteria", "T1", "u:b", 0.9, [("u:b", 0.8), ("u:c", 0.1)]),
        Mention(0, 1, "anatomical location", "T7", "", 0.1, []),
        Mention(4, 5, "animal", "T2", "u:m", 1 / 3, [("u:m", 0.5)]),
    ]
    set_mentions(doc, "sc", mentions)
    set_relations(doc, "sc", [("T1", "located in", "T2", 0.75), ("T7", "x", "T2", 0.5)])
    return doc


def test_record_is_as_documented(predicted):
    record = json.loads(json.dumps(doc_to_record(predicted)))
    assert record["id"] == "D1" and record["text"] == predicted.text
    assert record["sections"][1] == {"name": "abstract", "start": 13, "end": 25}
    assert record["mentions"][0] == {
        "id": "T1",
        "start": 0,
        "end": 12,
        "text": "Gut bacteria",
        "label": "bacteria",
        "concept_id": "u:b",
        "score": 0.9,
        "candidates": [["u:b", 0.8], ["u:c", 0.1]],
    }
    assert record["mentions"][1]["concept_id"] == "" and record["mentions"][1]["candidates"] == []
    assert record["relations"][0] == {
        "head": "T1",
        "label": "located in",
        "tail": "T2",
        "score": 0.75,
    }
    assert record["concept_relations"] == [
        {
            "head": "u:b",
            "head_label": "bacteria",
            "label": "located in",
            "tail": "u:m",
            "tail_label": "animal",
            "score": 0.75,
        }
    ]
    # what the text says is not said again
    assert record["meta"] == {"journal": "J"}


def test_round_trip(predicted, nlp, tmp_path):
    path = tmp_path / "a.jsonl"
    plain = nlp("No mention here.")
    assert write_jsonl([predicted, plain, nlp("")], path) == 3
    docs = list(read_jsonl(path, nlp))
    for doc, expected in zip(docs, [predicted, plain, nlp("")], strict=True):
        assert doc.text == expected.text
        assert get_mentions(doc) == get_mentions(expected)
        assert get_relation_rows(doc) == get_relation_rows(expected)
        assert doc._.concept_relations == expected._.concept_relations
        assert doc_to_record(doc) == doc_to_record(expected)
    assert docs[0].user_data[META_KEY] == {"id": "D1", "journal": "J"}


def test_relations_that_a_corpus_states_between_concepts(predicted, nlp, tmp_path):
    rows = [ConceptRow("u:b", "Bind", "u:m", ("Novel",)), ConceptRow("u:m", "Bind", "u:x")]
    none = nlp("None stated.")
    set_concept_rows(predicted, rows)
    set_concept_rows(none, [])
    write_jsonl([predicted, none, nlp("Nothing said.")], tmp_path / "a.jsonl")
    docs = list(read_jsonl(tmp_path / "a.jsonl", nlp))
    assert [get_concept_rows(doc) for doc in docs] == [rows, [], []]
    assert [states_concept_relations(doc) for doc in docs] == [True, True, False]
    assert [r.head_label for r in docs[0]._.concept_relations] == ["bacteria", "animal"]


def test_codes_of_a_document_come_back(predicted, nlp, tmp_path):
    set_codes(predicted, [{"code": "u:b", "score": 0.8, "mentions": ["T1"]}, "Z99"])
    none = nlp("Stated to have none.")
    set_codes(none, [])
    path = tmp_path / "a.jsonl"
    write_jsonl([predicted, none, nlp("Nothing said.")], path)
    docs = list(read_jsonl(path, nlp))
    assert [doc._.codes for doc in docs] == [predicted._.codes, [], []]
    assert code_evidence(docs[0]) == code_evidence(predicted)
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    assert rows[0]["codes"][0] == {"code": "u:b", "score": 0.8, "mentions": ["T1"]}
    assert [row.get("codes") for row in rows[1:]] == [[], None]
    # those of another group are not said, and mentions that are gone support nothing
    assert "codes" not in doc_to_record(predicted, "other")
    set_relations(predicted, "sc", [])
    set_mentions(predicted, "sc", get_mentions(predicted)[1:])
    assert doc_to_record(predicted)["codes"][0]["mentions"] == []


def test_gold_with_a_border_inside_a_token(tmp_path, nlp):
    (article,) = read_articles(write_json(tmp_path / "a.json", corpus()))
    doc = article_to_doc(article, nlp)
    write_jsonl([doc], tmp_path / "a.jsonl")
    (back,) = read_jsonl(tmp_path / "a.jsonl", nlp)
    assert doc_to_article(back) == article
    assert get_mentions(back) == get_mentions(doc)


def test_sections_that_the_text_does_not_say(nlp, tmp_path):
    doc = nlp("Background. Methods.")
    doc._.sections = [("background", 0, 11), ("methods", 12, 20)]
    write_jsonl([doc], tmp_path / "a.jsonl")
    (back,) = read_jsonl(tmp_path / "a.jsonl", nlp)
    assert back._.sections == doc._.sections


def test_hand_written_lines_may_be_short(nlp):
    doc = record_to_doc(
        {
            "id": "x",
            "text": TITLE + "\n" + ABSTRACT,
            "mentions": [
                {"start": 0, "end": 6, "label": "food"},
                {"start": 15, "end": 18, "label": "gene"},
            ],
            "relations": [{"head": "T1", "label": "r", "tail": "T2"}],
        },
        nlp,
    )
    assert [m.id for m in get_mentions(doc)] == ["T1", "T2"]
    assert get_mentions(doc)[0].score is None
    assert get_relation_rows(doc) == [("T1", "r", "T2", 1.0)]


M = {"start": 0, "end": 3, "label": "gene"}
INVALID = [
    ([], "", "expected an object, found a list"),
    ({"text": "a"}, "id", "missing: expected a string"),
    ({"id": "a"}, "text", "missing: expected a string"),
    ({"id": "a", "text": "\ud800"}, "text", "half of a surrogate pair"),
    ({"sections": [{"name": "a", "start": 0}]}, "sections[0].end", "missing: expected an integer"),
    ({"sections": [{"name": "a", "start": 0, "end": 99}]}, "sections", "of 11 characters"),
    ({"mentions": {}}, "mentions", "expected a list, found an object"),
    ({"mentions": [3]}, "mentions[0]", "expected an object, found an integer"),
    ({"mentions": [{**M, "end": 0}]}, "mentions[0]", "expected 0 <= start < end <= 11"),
    ({"mentions": [{**M, "end": 12}]}, "mentions[0]", "found characters 0 to 12"),
    ({"mentions": [{**M, "text": "abd"}]}, "mentions[0].text", "found 'abd': expected 'abc'"),
    ({"mentions": [{**M, "start": 3, "end": 4}]}, "mentions[0]", "covers no token"),
    ({"mentions": [{**M, "label": None}]}, "mentions[0].label", "expected a string, found null"),
    ({"mentions": [{**M, "score": "1"}]}, "mentions[0].score", "expected a number"),
    ({"mentions": [{**M, "candidates": ["u"]}]}, "mentions[0].candidates", "list of [concept id"),
    ({"mentions": [{**M, "candidates": [[1, 2]]}]}, "mentions[0].candidates", "a list of"),
    ({"mentions": [{**M, "candidates": "ab"}]}, "mentions[0].candidates", "a list of"),
    (
        {"mentions": [{**M, "candidates": [["u", 1], ["v", "0.5"]]}]},
        "mentions[0].candidates[1][1]",
        "expected a number, found a string",
    ),
    (
        {"mentions": [{**M, "candidates": [["u", True]]}]},
        "mentions[0].candidates[0][1]",
        "expected a number, found true",
    ),
    (
        {"mentions": [{**M, "candidates": [["u", -(10**400)]]}]},
        "mentions[0].candidates[0][1]",
        "expected a number that float32 holds",
    ),
    ({"mentions": [{**M, "score": True}]}, "mentions[0].score", "expected a number, found true"),
    ({"mentions": [{**M, "score": 10**400}]}, "mentions[0].score", "float32 holds, found inf"),
    ({"mentions": [{**M, "score": 1e39}]}, "mentions[0].score", "float32 holds, found 1e+39"),
    ({"codes": [{"code": "A", "score": -(10**309)}]}, "codes[0].score", "a number that float32"),
    ({"mentions": [{**M, "id": "A"}, {**M, "id": "A"}]}, "mentions", "Two mentions have the id"),
    ({"relations": [{"head": "T1", "label": "r"}]}, "relations[0].tail", "missing"),
    (
        {"mentions": [M], "relations": [{"head": "T1", "label": "r", "tail": "T2"}]},
        "relations[0].tail",
        "found 'T2': expected the id of a mention",
    ),
    ({"stated_relations": [{"head": "a"}]}, "stated_relations[0].label", "missing: expected a str"),
    (
        {"stated_relations": [{"head": "a", "label": "b", "tail": ""}]},
        "stated_relations[0].tail",
        "found '': expected a text",
    ),
    (
        {"stated_relations": [{"head": "a", "label": "b", "tail": "c", "values": [1]}]},
        "stated_relations[0].values[0]",
        "expected a string, found an integer",
    ),
    ({"codes": "I10"}, "codes", "expected a list, found a string"),
    ({"codes": ["I10"]}, "codes[0]", "expected an object, found a string"),
    ({"codes": [{"code": ""}]}, "codes[0].code", "found '': expected a code"),
    ({"codes": [{"code": "A"}, {"code": "A"}]}, "codes[1].code", "found 'A' again"),
    ({"codes": [{"code": "A", "score": "1"}]}, "codes[0].score", "expected a number"),
    (
        {"mentions": [M], "codes": [{"code": "A", "mentions": ["T1", "T2"]}]},
        "codes[0].mentions[1]",
        "found 'T2': expected the id of a mention",
    ),
    ({"codes": [{"code": "A", "mentions": [1]}]}, "codes[0].mentions[0]", "found 1: expected"),
    ({"meta": 1}, "meta", "expected an object, found an integer"),
]


@pytest.mark.parametrize("change,field,problem", INVALID)
def test_invalid_line(tmp_path, nlp, change, field, problem):
    good = {"id": "ok", "text": "abc def ghi"}
    bad = change
    if field not in ("", "id", "text"):
        bad = {**good, "id": "bad", **change}
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(bad)}\n\n{json.dumps(good)}\n", encoding="utf8")
    with pytest.raises(FormatError) as caught:
        list(read_jsonl(path, nlp))
    error = caught.value
    assert error.file == str(path) and error.record.startswith("line 1")
    assert error.field == field and problem in error.problem
    report = []
    docs = list(read_jsonl(path, nlp, skip_invalid=True, report=report))
    assert [doc.user_data[META_KEY]["id"] for doc in docs] == ["ok"]
    assert [str(e) for e in report] == [str(error)]


def test_numbers_that_python_reads_as_infinite(tmp_path, nlp):
    path = tmp_path / "a.jsonl"
    mention = '{"start": 0, "end": 3, "label": "gene", %s}'
    for fields in ('"score": 1e999', '"candidates": [["u", -1e999]]'):
        line = '{"id": "a", "text": "abc", "mentions": [%s]}' % (mention % fields)
        path.write_text(line, encoding="utf8")
        with pytest.raises(FormatError, match="expected a number that float32 holds, found -?inf"):
            list(read_jsonl(path, nlp))


def test_line_that_is_no_json(tmp_path, nlp):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": ""}\n{"id": \n', encoding="utf8")
    with pytest.raises(FormatError, match="a.jsonl: line 2: not valid JSON, line 1 column 8"):
        list(read_jsonl(path, nlp))


def test_real_documents_come_back(real_file, nlp, tmp_path):
    real = real_file("dev")
    write_jsonl(real.docs, tmp_path / "a.jsonl")
    for article, doc in zip(real.articles, read_jsonl(tmp_path / "a.jsonl", nlp), strict=True):
        assert doc_to_article(doc) == article
