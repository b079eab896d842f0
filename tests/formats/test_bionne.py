from collections import Counter
from dataclasses import replace

import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import META_KEY, Mention, get_mentions, set_mentions
from spacy_bioie.formats import FormatError
from spacy_bioie.formats.bionne import (
    read_bionne,
    texts_folder,
    write_bionne,
    write_bionne_submission,
)
from spacy_bioie.formats.standoff import get_fragments

HEADER = "document_id\ttext\tentity_type\tspans\tUMLS_CUI"
TEXTS = {"d2": "Lung and liver\ninjuries, IL-2s. ", "d1": "Острый тонзиллит\n"}
ROWS = [
    "d2\tLung injuries\tDISO\t0-4,15-23\tC1",
    "d2\tinjuries liver\tDISO\t15-23,9-14\tCUILESS",
    "d2\tliver\tANATOMY\t9-14\tC3",
    "d2\tIL-2\tCHEM\t25-29\tC4",
    "d1\tОстрый тонзиллит\tDISO\t0-16\tC5",
    "d1\tтонзиллит\tDISO\t7-16\tCalcium",
]
REAL = {
    "en/bionnel_en_train.tsv": (54, 2690, 27, 0),
    "en/bionnel_en_dev.tsv": (50, 2494, 23, 99),
    "ru/bionnel_ru_train.tsv": (706, 24255, 226, 2520),
    "ru/bionnel_ru_dev.tsv": (50, 2334, 20, 143),
}


def write(folder, rows, header=HEADER, texts="texts/dev"):
    (folder / texts).mkdir(parents=True, exist_ok=True)
    for name, text in TEXTS.items():
        (folder / texts / f"{name}.txt").write_bytes(text.encode("utf8"))
    path = folder / "bionnel_xx_dev.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf8")
    return path


@pytest.fixture
def docs(tmp_path, nlp):
    return list(read_bionne(write(tmp_path / "in", ROWS), nlp))


def test_reads_nested_mentions_and_parts(docs):
    first, second = docs
    assert [doc.user_data[META_KEY] for doc in docs] == [{"id": "d2"}, {"id": "d1"}]
    assert [doc.text for doc in docs] == list(TEXTS.values())
    mentions = get_mentions(first)
    assert [m.id for m in mentions] == ["T1", "T2", "T3", "T4"]
    assert [m.kb_id for m in mentions] == ["C1", "", "C3", "C4"]
    assert first.spans["sc"][0].text == "Lung and liver\ninjuries"
    assert get_fragments(first, mentions[1]) == [(15, 23), (9, 14)]
    assert mentions[3].char_offsets == (25, 29)
    assert [m.kb_id for m in get_mentions(second)] == ["C5", "Calcium"]


def test_written_back_as_it_was(docs, nlp, tmp_path):
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    for name, some in (("a", docs), ("b", DocBin().from_bytes(stored).get_docs(nlp.vocab))):
        folder = tmp_path / name
        assert write_bionne(some, folder / "x.tsv", texts=folder / "texts") == 2
        source = tmp_path / "in" / "bionnel_xx_dev.tsv"
        assert (folder / "x.tsv").read_bytes() == source.read_bytes()
        for identifier, text in TEXTS.items():
            assert (folder / "texts" / f"{identifier}.txt").read_bytes() == text.encode("utf8")


def test_table_without_concepts(tmp_path, nlp):
    rows = [row.rsplit("\t", 1)[0] for row in ROWS]
    docs = read_bionne(write(tmp_path, rows, HEADER.rsplit("\t", 1)[0]), nlp)
    mentions = [m for doc in docs for m in get_mentions(doc)]
    assert len(mentions) == 6 and not any(m.kb_id for m in mentions)


@pytest.mark.parametrize("texts", ["texts/dev", "texts", "."])
def test_where_the_texts_lie(tmp_path, nlp, texts):
    path = write(tmp_path, ROWS, texts=texts)
    assert texts_folder(path) == tmp_path / texts
    assert len(list(read_bionne(path, nlp))) == 2


def test_texts_of_another_folder(tmp_path, nlp):
    path = write(tmp_path, ROWS, texts="elsewhere")
    assert len(list(read_bionne(path, nlp, texts=tmp_path / "elsewhere"))) == 2
    with pytest.raises(FormatError, match=r"line 2 \(d2\): document_id: found no text: expected"):
        list(read_bionne(path, nlp))


def test_mentions_in_parts_are_left_out_when_asked(tmp_path, nlp):
    report = []
    path = write(tmp_path, ROWS)
    doc, _ = read_bionne(path, nlp, discontinuous="skip", report=report)
    assert [(m.id, m.label) for m in get_mentions(doc)] == [("T1", "ANATOMY"), ("T2", "CHEM")]
    assert [(e.record, e.field, e.problem) for e in report] == [
        ("line 2 (d2)", "spans", "left out: it has 2 parts"),
        ("line 3 (d2)", "spans", "left out: it has 2 parts"),
    ]
    with pytest.raises(ValueError, match="discontinuous mentions 'x'"):
        read_bionne(path, nlp, discontinuous="x")


INVALID = [
    ("d2\tliver\tANATOMY\t9-14", "line 8", "", "found 4 columns: expected 5"),
    (" \tliver\tANATOMY\t9-14\tC3", "line 8 ( )", "document_id", "found ' ': expected a text"),
    ("d2\t\tANATOMY\t9-14\tC3", "line 8 (d2)", "text", "found '': expected a text"),
    ("d2\tliver\t\t9-14\tC3", "line 8 (d2)", "entity_type", "found '': expected a text"),
    ("d2\tliver\tANATOMY\t\tC3", "line 8 (d2)", "spans", "found '': expected a text"),
    ("d2\tliver\tANATOMY\t9-14\t", "line 8 (d2)", "UMLS_CUI", "found '': expected a text"),
    ("d2\tliver\tANATOMY\t9 14\tC3", "line 8 (d2)", "spans", "'9 14': expected START-END, or"),
    ("d2\tliver\tANATOMY\t9-14,\tC3", "line 8 (d2)", "spans", "expected START-END, or several"),
    ("d2\tliver\tANATOMY\t9-9\tC3", "line 8 (d2)", "spans", "found 9-9: expected start < end <="),
    ("d2\tliver\tANATOMY\t9-14,30-33\tC3", "line 8 (d2)", "spans", "found 30-33: expected start"),
    ("d2\tLiver\tANATOMY\t9-14\tC3", "line 8 (d2)", "text", "found 'Liver': expected 'liver', the"),
    ("d3\tliver\tANATOMY\t9-14\tC3", "line 8 (d3)", "document_id", "found no text: expected the"),
    ("../d\tliver\tANATOMY\t9-14\tC3", "line 8 (../d)", "document_id", "found no text"),
]


@pytest.mark.parametrize("row,record,field,problem", INVALID)
def test_invalid_row(tmp_path, nlp, row, record, field, problem):
    path = write(tmp_path, [*ROWS, row])
    (tmp_path / "texts" / "d.txt").write_text("liver")
    with pytest.raises(FormatError) as caught:
        list(read_bionne(path, nlp))
    error = caught.value
    assert (error.file, error.record, error.field) == (str(path), record, field)
    assert problem in error.problem
    report = []
    docs = list(read_bionne(path, nlp, skip_invalid=True, report=report))
    assert [str(e) for e in report] == [str(error)]
    assert [len(doc.spans["sc"]) for doc in docs] == [4, 2]


def test_other_headers_and_bytes(tmp_path, nlp):
    path = write(tmp_path, ROWS, HEADER.replace("spans", "span"))
    with pytest.raises(FormatError, match="line 1: found 'document_id.*: expected the columns doc"):
        read_bionne(path, nlp, skip_invalid=True)
    path = write(tmp_path, ROWS)
    (tmp_path / "texts" / "dev" / "d1.txt").write_bytes(b"ab\xff")
    with pytest.raises(FormatError, match="d1.txt: expected UTF-8 text, byte 2"):
        list(read_bionne(path, nlp))


def test_submission(docs, nlp, tmp_path):
    ranked = [(f"C{i}", 1 - i / 10) for i in (7, 8, 7, 9, 1, 2, 3)]
    first, second, *others = get_mentions(docs[0])
    set_mentions(docs[0], "sc", [replace(first, candidates=ranked), second, *others])
    assert write_bionne_submission(docs, tmp_path / "out.tsv") == 6
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert rows[0] == ["document_id", "spans", "rank", "prediction"]
    expected = [["d2", "0-4,15-23", str(i + 1), c] for i, c in enumerate("C7 C8 C9 C1 C2".split())]
    assert rows[1:6] == expected
    assert rows[6:9] == [
        ["d2", "15-23,9-14", "1", "CUILESS"],
        ["d2", "9-14", "1", "C3"],
        ["d2", "25-29", "1", "C4"],
    ]
    assert len(rows) == 11


def test_submission_of_no_link_among_the_candidates(docs, tmp_path):
    first, *others = get_mentions(docs[0])
    ranked = [("C7", 0.6), ("", 0.3), ("C8", 0.1)]
    set_mentions(docs[0], "sc", [replace(first, candidates=ranked), *others])
    write_bionne_submission(docs, tmp_path / "out.tsv")
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert [row[3] for row in rows[1:4]] == ["C7", "CUILESS", "C8"]


@pytest.mark.parametrize("function", [write_bionne, write_bionne_submission])
def test_documents_that_cannot_be_written(docs, nlp, tmp_path, function):
    doc = nlp("lung")
    with pytest.raises(FormatError, match="document beginning 'lung': .*: expected an 'id'"):
        function([*docs, doc], tmp_path / "out.tsv")
    doc.user_data[META_KEY] = {"id": "x"}
    set_mentions(doc, "sc", [Mention(0, 1, "DISO", kb_id="C\t1")])
    with pytest.raises(FormatError, match="document x: mention T1: found .*: expected fields that"):
        function([*docs, doc], tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


@pytest.mark.parametrize("identifier", ["a/b", "d1"])
def test_texts_that_cannot_be_written(docs, nlp, tmp_path, identifier):
    doc = nlp("x")
    doc.user_data[META_KEY] = {"id": identifier}
    with pytest.raises(FormatError, match=f"document {identifier}: id: expected one that no other"):
        write_bionne([*docs, doc], tmp_path / "out.tsv", texts=tmp_path / "out")
    assert not (tmp_path / "out.tsv").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(REAL))
def test_real_files_are_written_back(data_dir, tmp_path, nlp, name):
    path = data_dir / "bionne_l" / name
    if not path.is_file():
        pytest.skip(f"{name} is absent from the real corpora")
    docs = list(read_bionne(path, nlp))
    write_bionne(docs, tmp_path / "out.tsv", texts=tmp_path / "texts")
    assert (tmp_path / "out.tsv").read_bytes() == path.read_bytes()
    for text in (tmp_path / "texts").iterdir():
        assert text.read_bytes() == (texts_folder(path) / text.name).read_bytes()
    rows = [line.split("\t") for line in path.read_text(encoding="utf8").splitlines()[1:]]
    mentions = [(doc, m) for doc in docs for m in get_mentions(doc)]
    assert Counter(m.label for _, m in mentions) == Counter(row[2] for row in rows)
    assert Counter(m.kb_id or "CUILESS" for _, m in mentions) == Counter(row[4] for row in rows)
    parts = sum(len(get_fragments(*pair)) > 1 for pair in mentions)
    assert parts == sum("," in row[3] for row in rows)
    unlinked = sum(not m.kb_id for _, m in mentions)
    assert len(docs) == len({row[0] for row in rows})
    assert (len(docs), len(rows), parts, unlinked) == REAL[name]
