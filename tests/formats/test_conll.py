from collections import Counter

import pytest
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_bioie.annotation import META_KEY, Mention, get_mentions, gold_mentions, set_mentions
from spacy_bioie.formats import FormatError
from spacy_bioie.formats.conll import doc_to_conll, read_conll, write_conll

PLAIN = "BRCA1\tB-Gene\n-\tI-Gene\n2\tB-Gene\nis\tO\n\nno\tO\ncancer\tB-Disease\n\n"
MARKED = (
    "-DOCSTART- (12)\tX\tO\n\nBRCA1\tNN\tB-Gene\nhere\tRB\tO\n\nnone\tNN\tO\n\n"
    "-DOCSTART-\tX\tO\n\nflu\tNN\tB-DDF\n\n"
)
REAL = {
    "AnatEM-IOB/train.tsv": (5861, 6946),
    "AnatEM-IOB/devel.tsv": (2118, 2139),
    "BC5CDR-IOB/train.tsv": (4560, 9385),
    "BC5CDR-IOB/devel.tsv": (4581, 9593),
    "BioNLP13GE-IOB/train.tsv": (2449, 3566),
    "BioNLP13GE-IOB/devel.tsv": (2737, 4132),
    "NCBI-disease-IOB/train.tsv": (5424, 5134),
    "NCBI-disease-IOB/devel.tsv": (923, 787),
    "linnaeus-IOB/train.tsv": (11935, 2119),
    "linnaeus-IOB/devel.tsv": (4078, 711),
}


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf8")
    return path


def labels(doc):
    return [(span.text, span.label_) for span in doc.spans["sc"]]


def test_each_sentence_is_a_document(tmp_path, nlp):
    first, second = read_conll(write(tmp_path / "folder" / "train.tsv", PLAIN), nlp)
    assert first.text == "BRCA1 - 2 is" and [t.text for t in first] == first.text.split()
    assert labels(first) == [("BRCA1 -", "Gene"), ("2", "Gene")]
    assert [m.id for m in get_mentions(first)] == ["T1", "T2"]
    assert [doc.user_data[META_KEY]["id"] for doc in (first, second)] == [
        "folder-train-1",
        "folder-train-2",
    ]
    assert labels(second) == [("cancer", "Disease")]


def test_mentions_are_exact_for_another_tokenizer(tmp_path, nlp):
    (gold,) = read_conll(write(tmp_path / "a.tsv", "a.m.\tO\nIL\tB-G\n-2\tI-G\n(x)\tB-G\n"), nlp)
    predicted = nlp(gold.text)
    assert len(predicted) != len(gold)
    offsets = [m.char_offsets for m in gold_mentions(Example(predicted, gold))]
    assert offsets == [(5, 10), (11, 14)]


def test_documents_with_sentences(tmp_path, nlp):
    first, second = read_conll(write(tmp_path / "a.tsv", MARKED), nlp.vocab)
    assert first.text == "BRCA1 here none"
    assert [sentence.text for sentence in first.sents] == ["BRCA1 here", "none"]
    assert first.user_data[META_KEY]["id"] == "12"
    assert second.user_data[META_KEY]["id"].endswith("-a-2") and labels(second) == [("flu", "DDF")]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN[:-1],
        "\n" + PLAIN.replace("\n\n", "\n\n\n"),
        PLAIN.replace("\t", " "),
        MARKED,
        MARKED.replace("O\n\n", "O\n"),
        "lone\tNN\tO\n\n" + MARKED,
        "###MEDLINE:95369245\n\nIL-2\tB-DNA\ngene\tI-DNA\n\n###MEDLINE:95333264\n\nx\tO\n\n",
        "###\tO\n\n",
        "-DOCSTART-\tO\n\n",
        "",
    ],
)
def test_written_back_as_it_was(tmp_path, nlp, text):
    docs = list(read_conll(write(tmp_path / "a.tsv", text), nlp))
    assert write_conll(docs, tmp_path / "b.tsv") == len(docs)
    assert (tmp_path / "b.tsv").read_text() == text
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    write_conll(DocBin().from_bytes(stored).get_docs(nlp.vocab), tmp_path / "c.tsv")
    assert (tmp_path / "c.tsv").read_text() == text


def test_ids_of_another_kind_of_document_line(tmp_path, nlp):
    (doc,) = read_conll(write(tmp_path / "a.tsv", "###MEDLINE:95369245\nIL-2\tO\n"), nlp)
    assert doc.user_data[META_KEY]["id"] == "95369245" and len(doc) == 1


def test_documents_stay_apart_in_another_order(tmp_path, nlp):
    docs = list(read_conll(write(tmp_path / "a.tsv", PLAIN[:-1]), nlp))
    write_conll(reversed(docs), tmp_path / "b.tsv")
    again = [doc.text for doc in read_conll(tmp_path / "b.tsv", nlp)]
    assert again == ["no cancer", "BRCA1 - 2 is"]


@pytest.mark.parametrize(
    "label,before,mentions",
    [
        ("I-Gene", "follows O", [("two", "Gene")]),
        ("I-Gene", "follows B-Drug", [("one", "Drug"), ("two", "Gene")]),
        ("I-Gene", "begins a sentence", [("two", "Gene")]),
    ],
)
def test_illegal_transitions(tmp_path, nlp, label, before, mentions):
    first = before.split()[-1] if before.startswith("follows") else "B-Gene"
    gap = "" if before.startswith("follows") else "\n"
    path = write(tmp_path / "a.tsv", f"-DOCSTART-\tO\none\t{first}\n{gap}two\t{label}\n")
    number = 4 if gap else 3
    with pytest.raises(FormatError) as caught:
        list(read_conll(path, nlp))
    assert str(caught.value) == (
        f"{path}: line {number}: label: {label} {before}: expected it after B-Gene or I-Gene"
    )
    report = []
    (doc,) = read_conll(path, nlp, skip_invalid=True, report=report)
    assert labels(doc)[-len(mentions) :] == mentions
    assert [str(error) for error in report] == [str(caught.value)]


@pytest.mark.parametrize(
    "line,field,problem",
    [
        ("three", "", "found 1 columns: expected 2, the first a token and the last its label"),
        ("three\tNN\tO", "", "found 3 columns: expected 2"),
        ("\tO", "token", "found '': expected a text without blanks"),
        ("a b\tO", "token", "found 'a b': expected a text without blanks"),
        ("three\tB", "label", "found 'B': expected O, or B- or I- and the kind of mention"),
        ("three\tB-", "label", "found 'B-': expected O"),
        ("three\tX-Gene", "label", "found 'X-Gene': expected O"),
        ("three\t", "label", "found '': expected O"),
    ],
)
def test_malformed_lines(tmp_path, nlp, line, field, problem):
    path = write(tmp_path / "a.tsv", f"one\tO\n\ntwo\tB-Gene\n{line}\n\nfour\tB-Drug\n")
    with pytest.raises(FormatError) as caught:
        list(read_conll(path, nlp))
    error = caught.value
    assert (error.file, error.record, error.field) == (str(path), "line 4", field)
    assert problem in error.problem
    report = []
    docs = list(read_conll(path, nlp, skip_invalid=True, report=report))
    assert [doc.text for doc in docs] == ["one", "four"]
    assert [str(e) for e in report] == [str(error)]


def test_first_line_with_one_column(tmp_path, nlp):
    path = write(tmp_path / "a.tsv", "one\n\ntwo\tO\n")
    with pytest.raises(FormatError, match="a.tsv: line 1: found 1 columns: expected 2"):
        list(read_conll(path, nlp))
    report = []
    assert [d.text for d in read_conll(path, nlp, skip_invalid=True, report=report)] == ["two"]
    assert len(report) == 1


def predicted(nlp, *mentions):
    doc = nlp("Gut bacteria\nfeed mice. IL-2 too.")
    doc.user_data[META_KEY] = {"id": "D 1"}
    set_mentions(doc, "sc", mentions)
    return doc


def test_doc_of_a_pipeline(nlp, tmp_path):
    doc = predicted(nlp, Mention(0, 2, "bacteria", score=0.5), Mention(4, 5, "farm animal"))
    text = doc_to_conll(doc)
    assert text.splitlines()[:6] == [
        "-DOCSTART- (D 1)\tO",
        "",
        "Gut\tB-bacteria",
        "bacteria\tI-bacteria",
        "feed\tO",
        "mice\tB-farm animal",
    ]
    (back,) = read_conll(write(tmp_path / "a.tsv", text), nlp)
    assert back.user_data[META_KEY]["id"] == "D 1"
    assert labels(back) == [("Gut bacteria", "bacteria"), ("mice", "farm animal")]
    doc.user_data[META_KEY] = {}
    assert doc_to_conll(doc).startswith("-DOCSTART-\tO\n\nGut")
    assert doc_to_conll(Doc(nlp.vocab)) == "-DOCSTART-\tO\n\n"


CLASH = [Mention(0, 1, "A", "T1"), Mention(0, 2, "B", "T2")]


@pytest.mark.parametrize(
    "mentions,problem,left",
    [
        (CLASH, r"T2 \(B\): overlaps T1 \(A\): expected mentions that lie apart", ["B"]),
        ([Mention(1, 5, "A")], r"T1 \(A\): reaches over a sentence", []),
        ([Mention(4, 5, "A", char_offsets=(19, 21))], "characters 19 to 21 are not whole", []),
        ([Mention(4, 5, "a\tb")], "expected a label on one line and without '\\\\t'", []),
        ([Mention(4, 5, "")], "expected a label on one line", []),
        ([Mention(2, 3, "A")], "covers white space: expected a text", []),
    ],
)
def test_mentions_without_iob_labels(nlp, mentions, problem, left):
    doc = predicted(nlp, *mentions)
    for token in doc:
        token.is_sent_start = token.text in ("Gut", "feed")
    with pytest.raises(FormatError, match=f"document D 1: mention .*{problem}"):
        doc_to_conll(doc)
    report = []
    text = doc_to_conll(doc, skip_invalid=True, report=report)
    assert [line.split("B-")[1] for line in text.splitlines() if "\tB-" in line] == left
    assert len(report) == 1


def test_token_with_a_blank_inside(nlp, tmp_path):
    doc = Doc(nlp.vocab, words=["a b", "c"])
    with pytest.raises(FormatError, match="document beginning 'a b c ': token 0: found 'a b'"):
        write_conll([doc], tmp_path / "a.tsv")
    assert not (tmp_path / "a.tsv").exists()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if "train" in name else ()) for name in REAL],
)
def test_real_files_are_written_back(data_dir, tmp_path, nlp, name):
    path = data_dir / "iob" / name
    if not path.is_file():
        pytest.skip(f"{name} is absent from the real corpora")
    docs = list(read_conll(path, nlp))
    write_conll(docs, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_bytes() == path.read_bytes()
    rows = [line.split("\t") for line in path.read_text(encoding="utf8").splitlines() if line]
    assert sum(map(len, docs)) == len(rows)
    begun = Counter(row[1][2:] for row in rows if row[1].startswith("B-"))
    assert Counter(m.label for doc in docs for m in get_mentions(doc)) == begun
    assert (len(docs), sum(begun.values())) == REAL[name]
    inside = sum(m.end - m.start for doc in docs for m in get_mentions(doc))
    assert inside == sum(row[1] != "O" for row in rows)
