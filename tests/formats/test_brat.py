from collections import Counter
from dataclasses import replace

import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import (
    META_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    set_mentions,
    set_relations,
)
from spacy_bioie.formats import FormatError
from spacy_bioie.formats.brat import doc_to_brat, read_brat, write_brat
from spacy_bioie.formats.standoff import FRAGMENTS_KEY, get_fragments

TEXT = "Fresh yogurt\r\n\nYogurt (fresh) improves lung and liver\ninjuries, IL-2s.\n"
LINES = [
    "T1\tFood 0 12\tFresh yogurt",
    "T2\tFood 6 12\tyogurt",
    "T4\tIMPROVES 30 38\timproves",
    "R1\tPART_OF Arg1:T2 Arg2:T1\t",
    "T5\tDiso 39 43;54 62\tlung injuries",
    "T6\tDiso 54 62;48 53\tinjuries liver",
    "T7\tGene 64 68\tIL-2",
    "E1\tIMPROVES:T4 Theme:T5 Agent:T1",
    "E2\tIMPROVES:T4 Agent:T1",
    "A1\tNegated E1",
    "A2\tLevel E1 High",
    "N1\tReference T1 FOODON:1\tfresh yogurt",
    "N2\tMESH:D015014 T2\tYogurt",
    "N3\tReference T1 FOODON:2\tyogurt",
    "#1\tAnnotatorNotes T7\ta note\twith a tab",
    "#2\tAnnotatorNotes A1\tof an attribute",
    "*\tEquiv T5 T6",
    "*\tEquiv T1 T2",
]
REAL = {"nerel_bio/dev": (77, 6435, 4501, 53), "dimb_re/title_abs": (165, 7924, 2831, 132)}


def write(folder, lines, text=TEXT, name="d1"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode("utf8"))
    (folder / f"{name}.ann").write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    return folder / f"{name}.ann"


@pytest.fixture
def doc(tmp_path, nlp):
    (doc,) = read_brat(write(tmp_path / "in", LINES), nlp)
    return doc


def test_reads_mentions_relations_and_concepts(doc):
    assert doc.text == TEXT and doc.user_data[META_KEY] == {"id": "d1"}
    mentions = {m.id: m for m in get_mentions(doc)}
    assert list(mentions) == ["T1", "T2", "T4", "T5", "T6", "T7"]
    assert [m.label for m in mentions.values()][:3] == ["Food", "Food", "IMPROVES"]
    assert [mentions[i].kb_id for i in ("T1", "T2", "T5")] == ["FOODON:1", "MESH:D015014", ""]
    assert doc.spans["sc"][3].text == "lung and liver\ninjuries"
    assert get_fragments(doc, mentions["T5"]) == [(39, 43), (54, 62)]
    assert get_fragments(doc, mentions["T6"]) == [(54, 62), (48, 53)]
    assert mentions["T7"].char_offsets == (64, 68)
    assert get_relation_rows(doc) == [
        ("T2", "PART_OF", "T1", 1.0),
        ("T1", "IMPROVES", "T5", 1.0),
    ]


@pytest.mark.parametrize(
    "line,row",
    [
        ("R9\tX Arg2:T1 Arg1:T2", ("T2", "X", "T1", 1.0)),
        ("R9\tX Object:T1 Subject:T2", ("T1", "X", "T2", 1.0)),
        ("E9\tX:T4 Theme2:T1 Theme:T2", ("T2", "X", "T1", 1.0)),
        ("E9\tX:T4 Theme:T1 Cause:T2", ("T2", "X", "T1", 1.0)),
        ("E9\tX:T4 Theme:E2 Cause:T2", None),
        ("E9\tX:T4 Site:T1 Cause:T2", None),
        ("E9\tX:T4", None),
        ("R9\tX Arg1:T1 Arg2:E2", None),
    ],
)
def test_which_line_is_a_relation(tmp_path, nlp, line, row):
    lines = [*LINES[:3], LINES[8], line]
    (doc,) = read_brat(write(tmp_path / "in", lines), nlp)
    assert get_relation_rows(doc) == ([] if row is None else [row])
    assert doc_to_brat(doc).splitlines() == lines


def test_written_back_as_it_was(doc, nlp, tmp_path):
    assert write_brat([doc], tmp_path / "out") == 1
    for name in ("d1.txt", "d1.ann"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    assert doc_to_brat(again) == (tmp_path / "in" / "d1.ann").read_text()


def test_only_what_still_holds_is_written(doc):
    mentions = {m.id: m for m in get_mentions(doc)}
    changed = [
        replace(mentions["T1"], kb_id="FOODON:9"),
        replace(mentions["T4"], label="WORSENS"),
        mentions["T5"],
        replace(mentions["T7"], id="", start=3, end=4, char_offsets=None),
        Mention(0, 1, "Adjective", "other", kb_id="X:1"),
    ]
    set_mentions(doc, "sc", changed)
    set_relations(doc, "sc", [("T5", "PART_OF", "other", 0.5)])
    names = {m.id for m in get_mentions(doc)}
    assert names == {"T1", "T4", "T5", "T2", "other"}
    assert doc_to_brat(doc).splitlines() == [
        "T1\tFood 0 12\tFresh yogurt",
        "T2\tGene 15 21\tYogurt",
        "T4\tWORSENS 30 38\timproves",
        "T5\tDiso 39 43;54 62\tlung injuries",
        "E2\tIMPROVES:T4 Agent:T1",
        "N3\tReference T1 FOODON:2\tyogurt",
        "*\tEquiv T1 T2",
        "T8\tAdjective 0 5\tFresh",
        "R2\tPART_OF Arg1:T5 Arg2:T8",
        "N4\tReference T1 FOODON:9\tFresh yogurt",
        "N5\tReference T8 X:1\tFresh",
    ]


def test_doc_of_a_pipeline(nlp, tmp_path):
    doc = nlp("Gut bacteria\nfeed mice.")
    doc.user_data[META_KEY] = {"id": "p1"}
    mentions = [Mention(0, 2, "Bacteria", kb_id="u:b", score=0.5), Mention(4, 5, "Animal")]
    set_mentions(doc, "sc", mentions)
    set_relations(doc, "sc", [("T1", "located_in", "T2", 0.75)])
    expected = (
        "T1\tBacteria 0 12\tGut bacteria\nT2\tAnimal 18 22\tmice\n"
        "R1\tlocated_in Arg1:T1 Arg2:T2\nN1\tReference T1 u:b\tGut bacteria\n"
    )
    assert doc_to_brat(doc) == expected
    write_brat([doc], tmp_path)
    (back,) = read_brat(tmp_path / "p1.txt", nlp)
    assert [m.kb_id for m in get_mentions(back)] == ["u:b", ""]
    assert get_relation_rows(back) == [("T1", "located_in", "T2", 1.0)]
    assert doc_to_brat(doc, "other") == ""


def test_mentions_in_parts_are_left_out_when_asked(tmp_path, nlp):
    report = []
    path = write(tmp_path / "in", LINES)
    (doc,) = read_brat(path, nlp, discontinuous="skip", report=report)
    assert [m.id for m in get_mentions(doc)] == ["T1", "T2", "T4", "T7"]
    assert FRAGMENTS_KEY not in doc.user_data
    assert [(e.record, e.field, e.problem) for e in report] == [
        ("line 5 (T5)", "offsets", "left out: it has 2 parts"),
        ("line 6 (T6)", "offsets", "left out: it has 2 parts"),
        ("line 8 (E1)", "", "left out: it names T5, which is left out"),
        ("line 17 (*)", "", "left out: it names T5, which is left out"),
        ("line 10 (A1)", "", "left out: it names E1, which is left out"),
        ("line 11 (A2)", "", "left out: it names E1, which is left out"),
        ("line 16 (#2)", "", "left out: it names A1, which is left out"),
    ]
    assert len(doc_to_brat(doc).splitlines()) == len(LINES) - len(report)
    with pytest.raises(ValueError, match="discontinuous mentions 'x'"):
        read_brat(path, nlp, discontinuous="x")


INVALID = [
    ("X1\tFood 0 12\tFresh yogurt", "line 19", "", "found 'X1': expected an id, one of T R E A M"),
    ("R\tX Arg1:T1 Arg2:T2", "line 19", "", "found 'R': expected an id"),
    ("T9 Food 0 12 Fresh yogurt", "line 19", "", "found 'T9 Food 0 12 Fresh yogurt': expected an"),
    ("T9\tFood 0 12", "line 19", "", "expected T1<tab>Label 0 5<tab>text, or with several"),
    ("T9\tFood 0-12\tFresh yogurt", "line 19", "", "expected T1<tab>Label 0 5<tab>text"),
    ("T9\tMy Food 0 12\tFresh yogurt", "line 19", "", "expected T1<tab>Label 0 5<tab>text"),
    ("R9\tX Arg1:T1", "line 19", "", "expected R1<tab>Label Arg1:T1 Arg2:T2"),
    ("R9\tX T1 T2", "line 19", "", "expected R1<tab>Label Arg1:T1 Arg2:T2"),
    ("R9\t", "line 19", "", "expected R1<tab>Label Arg1:T1 Arg2:T2"),
    ("E9\tX Theme:T1", "line 19", "", "expected E1<tab>Label:T1 Role:T2 Role:T3"),
    ("A9\tNegated", "line 19", "", "expected A1<tab>Name T1"),
    ("N9\tReference X:1", "line 19", "", "expected N1<tab>Reference T1 BASE:ID<tab>name, or"),
    ("N9\tReference E1 X:1\tx", "line 19", "", "expected N1<tab>Reference T1 BASE:ID"),
    ("#9\tAnnotatorNotes note", "line 19", "", "expected #1<tab>Kind T1<tab>text"),
    ("*\tEquiv", "line 19", "", "expected *<tab>Equiv T1 T2"),
    ("T1\tFood 0 5\tFresh", "line 19 (T1)", "id", "expected each id once, it occurs again"),
    ("A1\tUnknown E2", "line 19 (A1)", "id", "expected each id once"),
    ("T9\tFood 5 5\t", "line 19 (T9)", "offsets", "found 5 5: expected start < end <= 71"),
    ("T9\tFood 0 5;60 72\tx", "line 19 (T9)", "offsets", "found 60 72: expected start < end"),
    ("T9\tFood 0 5\tfresh", "line 19 (T9)", "text", "found 'fresh': expected 'Fresh', the char"),
    ("T9\tFood 5 6\t ", "line 19 (T9)", "text", "covers no token: expected more than white"),
    ("R9\tX Arg1:T1 Arg2:T3", "line 19 (R9)", "", "found T3: expected the id of a line"),
    ("A9\tNegated E9", "line 19 (A9)", "", "found E9: expected the id of a line"),
    ("*\tEquiv T1 T9", "line 19 (*)", "", "found T9: expected the id of a line"),
]


@pytest.mark.parametrize("line,record,field,problem", INVALID)
def test_invalid_line(tmp_path, nlp, line, record, field, problem):
    path = write(tmp_path / "in", [*LINES, line])
    write(tmp_path / "in", LINES[:2], name="d2")
    with pytest.raises(FormatError) as caught:
        list(read_brat(tmp_path / "in", nlp))
    error = caught.value
    assert (error.file, error.record, error.field) == (str(path), record, field)
    assert problem in error.problem
    report = []
    first, second = read_brat(tmp_path / "in", nlp, skip_invalid=True, report=report)
    assert [str(e) for e in report] == [str(error)]
    assert doc_to_brat(first).splitlines() == LINES
    assert len(second.spans["sc"]) == 2


def test_lines_that_name_a_skipped_one_go_with_it(tmp_path, nlp):
    lines = [LINES[0].replace("Fresh", "fresh"), *LINES[1:]]
    report = []
    (doc,) = read_brat(write(tmp_path / "in", lines), nlp, skip_invalid=True, report=report)
    assert report[0].problem.startswith("found 'fresh yogurt'")
    assert get_relation_rows(doc) == [] and "T1" not in doc_to_brat(doc)
    assert {e.record.split("(")[1] for e in report[1:]} == {
        *("R1)", "E1)", "E2)", "N1)", "N3)", "*)", "A1)", "A2)", "#2)"),
    }


def test_missing_and_unreadable_files(tmp_path, nlp):
    with pytest.raises(FileNotFoundError, match="no .txt file in the folder"):
        read_brat(tmp_path, nlp)
    folder = tmp_path / "in"
    write(folder, LINES, name="b")
    (folder / "a.txt").write_text("no annotations")
    with pytest.raises(FormatError, match="a.ann: missing: expected annotations beside the text"):
        list(read_brat(folder, nlp))
    report = []
    docs = list(read_brat(folder, nlp, skip_invalid=True, report=report))
    assert len(docs) == 1 and len(report) == 1
    (folder / "a.txt").write_bytes(b"ab\xff")
    with pytest.raises(FormatError, match="a.txt: expected UTF-8 text, byte 2"):
        list(read_brat(folder, nlp))


@pytest.mark.parametrize(
    "mention,relation,problem",
    [
        (
            Mention(0, 1, "dietary supplement"),
            None,
            "mention T1: label: found 'dietary supplement'",
        ),
        (Mention(0, 1, ""), None, "mention T1: label: found '': expected a name without white"),
        (
            Mention(0, 1, "A", kb_id="a b"),
            None,
            "mention T1: concept: found 'a b': expected a name",
        ),
        (Mention(0, 1, "A"), ("T1", "is a", "T1", 1.0), "label: found 'is a': expected a name"),
    ],
)
def test_names_that_brat_does_not_have(nlp, tmp_path, mention, relation, problem):
    doc = nlp("Gut")
    doc.user_data[META_KEY] = {"id": "x"}
    set_mentions(doc, "sc", [mention])
    set_relations(doc, "sc", [relation] if relation else [])
    with pytest.raises(FormatError, match=f"document x: .*{problem}"):
        write_brat([doc], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("identifier", ["", "a/b", "d1"])
def test_ids_that_name_no_file(doc, nlp, tmp_path, identifier):
    other = nlp("x")
    other.user_data[META_KEY] = {"id": identifier}
    with pytest.raises(FormatError, match="id: expected an id that no other document has"):
        write_brat([doc, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def without_trigger(line):
    """What makes two events one relation: the label and both roles, without the trigger."""
    trigger, *roles = line.split("\t")[1].split()
    return (trigger.split(":")[0], *sorted(roles))


@pytest.mark.parametrize("name", list(REAL))
def test_real_files_are_written_back(data_dir, tmp_path, nlp, name):
    folder = data_dir / name
    if not folder.is_dir():
        pytest.skip(f"{name} is absent from the real corpora")
    docs = list(read_brat(folder, nlp))
    assert write_brat(docs, tmp_path) == len(docs)
    kinds, labels = Counter(), Counter()
    for path in sorted(folder.glob("*.ann")):
        lines = path.read_text(encoding="utf8").splitlines()
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
        text = path.with_suffix(".txt")
        assert (tmp_path / text.name).read_bytes() == text.read_bytes()
        kinds.update(line[0] for line in lines)
        labels.update(line.split()[1] for line in lines if line[0] == "T")
        kinds["parts"] += sum(line[0] == "T" and ";" in line.split("\t")[1] for line in lines)
        kinds["linked"] += len({line.split()[2] for line in lines if line[0] == "N"})
        found = {line.split("\t")[1].strip() for line in lines if line[0] == "R"}
        kinds["relations"] += len(found)
        found = {without_trigger(line) for line in lines if line[0] == "E"}
        kinds["events"] += len(found)
    mentions = [(doc, m) for doc in docs for m in get_mentions(doc)]
    assert Counter(m.label for _, m in mentions) == labels
    assert sum(bool(m.kb_id) for _, m in mentions) == kinds["linked"]
    assert sum(len(get_fragments(*pair)) > 1 for pair in mentions) == kinds["parts"]
    found = sum(len(get_relation_rows(doc)) for doc in docs)
    assert found == kinds["relations"] + kinds["events"]
    expected = (len(docs), len(mentions), kinds["R"] + kinds["E"], kinds["parts"])
    assert expected == REAL[name]
