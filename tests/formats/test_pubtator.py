from collections import Counter

import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import (
    META_KEY,
    ConceptRow,
    Mention,
    concept_ids,
    distribute_concept_relations,
    get_concept_rows,
    get_mentions,
    get_relation_rows,
    get_sections,
    set_mentions,
    set_relations,
    states_concept_relations,
)
from spacy_bioie.formats import FormatError
from spacy_bioie.formats.pubtator import doc_to_pubtator, read_pubtator, write_pubtator

TITLE = "Lithium toxicity."
ABSTRACT = "Lithium gave ocular and auditory toxicity in alpha-synuclein2 mice."
FIRST = [
    f"1|t|{TITLE}",
    f"1|a|{ABSTRACT}",
    "1\t0\t7\tLithium\tChemical\tD008094",
    "1\t8\t16\ttoxicity\tDisease\t-1",
    "1\t31\t59\tocular and auditory toxicity\tDisease\tD1|D2\tocular toxicity|auditory toxicity",
    "1\t63\t78\talpha-synuclein\tGene\t 6622 ",
    "1\t80\t84\tmice\tSpecies\t-",
    "1\tCID\tD008094\tD1",
    "1\tBind\tD008094\t6622\tNovel",
]
SECOND = ["2|t|", "2|a|No relation; fever", "2\t14\t19\tfever\tDisease\tD3"]
REAL = {
    "bc5cdr/CDR_train.PubTator.txt": 500,
    "bc5cdr/CDR_dev.PubTator.txt": 500,
    "biored/Train.PubTator": 400,
    "biored/Dev.PubTator": 100,
    "ncbi_disease/NCBItrainset_corpus.txt": 593,
    "ncbi_disease/NCBIdevelopset_corpus.txt": 100,
}


def write(path, *documents, end="\n\n"):
    text = "\n\n".join("\n".join(lines) for lines in documents)
    path.write_text(text + end, encoding="utf8")
    return path


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "a.PubTator", FIRST, SECOND)


def test_reads_mentions_concepts_and_relations(source, nlp):
    first, second = read_pubtator(source, nlp)
    assert first.text == f"{TITLE}\n{ABSTRACT}" and first.user_data[META_KEY] == {"id": "1"}
    assert [section.name for section in get_sections(first)] == ["title", "abstract"]
    mentions = get_mentions(first)
    assert [m.id for m in mentions] == ["T1", "T2", "T3", "T4", "T5"]
    assert [m.kb_id for m in mentions] == ["D008094", "", "D1|D2", "6622", ""]
    assert [span.text for span in first.spans["sc"]][2] == "ocular and auditory toxicity"
    assert mentions[3].char_offsets == (63, 78)
    assert get_concept_rows(first) == [
        ConceptRow("D008094", "CID", "D1"),
        ConceptRow("D008094", "Bind", "6622", ("Novel",)),
    ]
    assert states_concept_relations(second) and get_concept_rows(second) == []
    assert second.spans["sc"][0].text == "fever"


@pytest.mark.parametrize("before,end", [("", "\n\n"), ("\n", "\n"), ("", "\n"), ("\n\n", "\n\n\n")])
def test_written_back_as_it_was(tmp_path, nlp, before, end):
    path = write(tmp_path / "a.txt", [before + FIRST[0], *FIRST[1:]], SECOND, end=end)
    docs = list(read_pubtator(path, nlp))
    assert write_pubtator(docs, tmp_path / "b.txt") == 2
    assert (tmp_path / "b.txt").read_bytes() == path.read_bytes()
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    back = DocBin().from_bytes(stored).get_docs(nlp.vocab)
    write_pubtator(back, tmp_path / "c.txt")
    assert (tmp_path / "c.txt").read_bytes() == path.read_bytes()
    # in another order the documents still stand apart
    write_pubtator(reversed(docs), tmp_path / "d.txt")
    again = list(read_pubtator(tmp_path / "d.txt", nlp))
    assert [doc.text for doc in again] == [doc.text for doc in reversed(docs)]


def test_what_changed_is_written_as_it_is_now(source, nlp, tmp_path):
    doc, _ = read_pubtator(source, nlp)
    mentions = get_mentions(doc)
    changed = Mention(mentions[4].start, mentions[4].end, "Species", "T5", "10090")
    set_mentions(doc, "sc", [*mentions[2:4], changed])
    lines = doc_to_pubtator(doc).splitlines()
    assert lines == [*FIRST[:2], *FIRST[4:6], "1\t80\t84\tmice\tSpecies\t10090", *FIRST[7:]]


def test_predictions_are_lifted_to_concepts(nlp):
    doc = nlp(f"{TITLE}\n{ABSTRACT}")
    doc.user_data[META_KEY] = {"id": "7"}
    mentions = [Mention(0, 1, "Chemical", kb_id="D8"), Mention(1, 2, "Disease", kb_id="D1|D2")]
    set_mentions(doc, "sc", [*mentions, Mention(0, 1, "Drug", kb_id="D8")])
    rows = [("T1", "CID", "T2", 0.9), ("T3", "CID", "T2", 0.8)]
    set_relations(doc, "sc", rows)
    assert doc_to_pubtator(doc).splitlines()[2:] == [
        "7\t0\t7\tLithium\tChemical\tD8",
        "7\t8\t16\ttoxicity\tDisease\tD1|D2",
        "7\t0\t7\tLithium\tDrug\tD8",
        "7\tCID\tD8\tD1",
        "7\tCID\tD8\tD2",
    ]
    assert "CID" not in doc_to_pubtator(doc, "other")


def test_mention_across_title_and_abstract(tmp_path, nlp):
    lines = ["1|t|red", "1|a|fox ran", "1\t0\t7\tred fox\tAnimal\t9"]
    (doc,) = read_pubtator(write(tmp_path / "a.txt", lines), nlp)
    assert doc.spans["sc"][0].text == "red\nfox"
    assert doc_to_pubtator(doc).splitlines() == lines


def test_file_without_relations_states_none(tmp_path, nlp):
    (doc,) = read_pubtator(write(tmp_path / "a.txt", SECOND), nlp)
    assert not states_concept_relations(doc) and doc._.concept_relations == []


def edit(index, *changes):
    """The first document with one line changed; ``None`` takes the line away."""
    lines = list(FIRST)
    if changes == (None,):
        del lines[index]
    else:
        lines[index] = lines[index].replace(*changes)
    return lines


# lines, line number, field, problem, mentions and relations that are left (None: no document)
INVALID = [
    (edit(0, "1|t|", ""), 1, "title", "missing: expected 'PMID|t|' and the title", None),
    (edit(1, None), 2, "abstract", "missing: expected '1|a|' and the abstract", None),
    (FIRST[:1], 1, "abstract", "missing: expected '1|a|' and the abstract", None),
    (edit(1, "1|a", "2|a"), 2, "PMID", "found '2': expected '1', that of the title", None),
    (edit(0, "1|t", " |t"), 1, "PMID", "found ' ': expected an id", None),
    (edit(2, "1\t0", "3\t0"), 3, "PMID", "found '3': expected '1'", (4, 2)),
    (edit(7, "1\tC", "3\tC"), 8, "PMID", "found '3': expected '1'", (5, 1)),
    (edit(7, "\tD008094\tD1", ""), 8, "", "found 2 fields: expected PMID, start, end", (5, 1)),
    (edit(7, "D1", " "), 8, "tail", "found ' ': expected a text", (5, 1)),
    (edit(7, "D008094", ""), 8, "head", "found '': expected a text", (5, 1)),
    (edit(8, "Bind", ""), 9, "relation", "found '': expected a text", (5, 1)),
    (edit(2, "\t0\t", "\tx\t"), 3, "start", "found 'x': expected a number", (4, 2)),
    (edit(2, "\t0\t", "\t-1\t"), 3, "start", "found '-1': expected a number", (4, 2)),
    (edit(2, "\t7\t", "\t7.0\t"), 3, "end", "found '7.0': expected a number", (4, 2)),
    (edit(2, "\t7\t", "\t0\t"), 3, "end", "characters 0 to 0: expected start < end <= 85", (4, 2)),
    (edit(2, "\t7\t", "\t86\t"), 3, "end", "found characters 0 to 86: expected", (4, 2)),
    (edit(2, "\t7\t", "\t8\t"), 3, "", "", (5, 2)),  # white space alone may differ
    (
        edit(2, "\t7\t", "\t6\t"),
        3,
        "text",
        "found 'Lithium': expected 'Lithiu', characters",
        (4, 2),
    ),
    (edit(2, "Chemical", " "), 3, "label", "found ' ': expected a text", (4, 2)),
    (edit(2, "0\t7\tLithium", "7\t8\t "), 3, "text", "covers no token: expected more", (4, 2)),
]


@pytest.mark.parametrize("lines,number,field,problem,left", INVALID)
def test_invalid_line(tmp_path, nlp, lines, number, field, problem, left):
    path = write(tmp_path / "a.txt", lines, SECOND)
    report = []
    docs = list(read_pubtator(path, nlp, skip_invalid=True, report=report))
    assert docs[-1].user_data[META_KEY]["id"] == "2"
    if left is None:
        assert len(docs) == 1
    else:
        assert (len(docs[0].spans["sc"]), len(get_concept_rows(docs[0]))) == left
    if not problem:
        assert report == []
        return
    with pytest.raises(FormatError) as caught:
        list(read_pubtator(path, nlp))
    error = caught.value
    assert error.file == str(path) and error.record.split(" (")[0] == f"line {number}"
    assert error.field == field and problem in error.problem
    assert [str(e) for e in report] == [str(error)]


def test_errors_name_the_document(tmp_path, nlp):
    path = write(tmp_path / "a.txt", SECOND, edit(2, "Chemical", ""))
    with pytest.raises(FormatError, match=r"a.txt: line 7 \(PMID 1\): label: found ''"):
        list(read_pubtator(path, nlp))
    path.write_bytes(b"1|t|\xff")
    with pytest.raises(FormatError, match="a.txt: expected UTF-8 text, byte 4"):
        read_pubtator(path, nlp)


def test_documents_that_cannot_be_written(source, nlp, tmp_path):
    def refuse(doc, match):
        with pytest.raises(FormatError, match=match):
            write_pubtator([*read_pubtator(source, nlp), doc], tmp_path / "out.txt")
        assert not (tmp_path / "out.txt").exists()

    doc = nlp("one section")
    refuse(doc, "document beginning 'one section': .*found the id ''")
    doc.user_data[META_KEY] = {"id": "a|b"}
    refuse(doc, r"found the id 'a\|b': expected a PMID without white space")
    doc.user_data[META_KEY] = {"id": "9"}
    refuse(doc, r"PMID 9: sections: found \['text'\]: expected a title")
    doc = nlp("a\nb")
    doc.user_data[META_KEY] = {"id": "9"}
    set_mentions(doc, "sc", [Mention(0, 1, "")])
    refuse(doc, "PMID 9: mention T1: found .*: expected fields that are not empty and have no tab")
    set_mentions(doc, "sc", [Mention(0, 1, "A", kb_id="x\ty")])
    refuse(doc, "PMID 9: mention T1: found")


@pytest.mark.parametrize("name", list(REAL))
def test_real_files_are_written_back(data_dir, tmp_path, nlp, name):
    path = data_dir / name
    if not path.is_file():
        pytest.skip(f"{name} is absent from the real corpora")
    docs = list(read_pubtator(path, nlp))
    write_pubtator(docs, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_bytes() == path.read_bytes()

    rows = [line.split("\t") for line in path.read_text(encoding="utf8").split("\n")]
    expected = Counter(row[4] for row in rows if len(row) > 5)
    assert Counter(m.label for doc in docs for m in get_mentions(doc)) == expected
    stated = [relation for doc in docs for relation in get_concept_rows(doc)]
    expected = Counter(tuple(row[1:]) for row in rows if len(row) in (4, 5))
    assert Counter((r[1], r[0], r[2], *r.values) for r in stated) == expected
    assert len(docs) == REAL[name] == sum("|t|" in row[0] for row in rows)
    for doc in docs:
        known = {c for m in get_mentions(doc) for c in (*concept_ids(m.kb_id), m.kb_id)}
        assert not any(c in ("-", "-1") for c in known)
        # every relation names concepts that are mentioned
        assert distribute_concept_relations(doc, pairs="closest") == []
        assert bool(get_relation_rows(doc)) == bool(get_concept_rows(doc))
