import re

import pytest

from spacy_bioie.formats import EntityRelation, FormatError, article_to_doc, read_inline

PREFIXES = {"CHEBI": "http://purl.obolibrary.org/obo/CHEBI_", "X": "http://x.org/"}
TEXT = r"""id: S1
split: train
year: 2023

title: {Inulin}[dietary supplement|CHEBI:15443|a] and {{gut}[anatomical location] flora}[microbiome|
 X:1|b] of {mice}[animal||c]

abstract: A \{set\} of 3 \\ 4, {lipo-
polysaccharide}[chemical|http://whole.org/u] in
<i>{E. coli}[bacteria|X:2]</i>.
title: this line belongs to the abstract.

relations:
a | impact | b

b | located in | c
"""


def write(folder, text, name="S1"):
    path = folder / f"{name}.txt"
    path.write_text(text, encoding="utf8")
    return path


def read(folder, **options):
    return list(read_inline(folder, prefixes=PREFIXES, **options))


def test_reads_marks_header_and_relations(tmp_path):
    write(tmp_path, TEXT)
    (article,) = read(tmp_path)
    assert article.pmid == "S1"
    assert article.metadata == {
        "title": "Inulin and gut flora of mice",
        "author": "",
        "journal": "",
        "year": "2023",
        "abstract": r"A {set} of 3 \ 4, lipo- polysaccharide in <i>E. coli</i>. "
        "title: this line belongs to the abstract.",
        "annotator": "",
        "split": "train",
    }
    assert [(e.location, e.text_span, e.label, e.uri) for e in article.entities] == [
        ("title", "Inulin", "dietary supplement", "http://purl.obolibrary.org/obo/CHEBI_15443"),
        ("title", "gut", "anatomical location", None),
        ("title", "gut flora", "microbiome", "http://x.org/1"),
        ("title", "mice", "animal", None),
        ("abstract", "lipo- polysaccharide", "chemical", "http://whole.org/u"),
        ("abstract", "E. coli", "bacteria", "http://x.org/2"),
    ]
    for e in article.entities:
        assert article.metadata[e.location][e.start_idx : e.end_idx + 1] == e.text_span
    assert article.relations == [
        EntityRelation(0, "impact", 2),
        EntityRelation(2, "located in", 3),
    ]


def test_order_of_files_and_splits(tmp_path):
    for name, split in (("S2", "dev"), ("S1", "train"), ("S10", "train")):
        write(tmp_path, TEXT.replace("id: S1", f"id: {name}").replace("train", split), name)
    assert [article.pmid for article in read(tmp_path)] == ["S1", "S10", "S2"]
    assert [article.pmid for article in read(tmp_path, split="train")] == ["S1", "S10"]
    assert [article.pmid for article in read(tmp_path, split="test")] == []
    assert [article.pmid for article in read(tmp_path / "S2.txt")] == ["S2"]
    with pytest.raises(ValueError, match="Unknown split 'all': expected one of train, dev, test"):
        read(tmp_path, split="all")


def test_empty_sections(tmp_path, nlp):
    write(tmp_path, "id: S1\ntitle:\nabstract:\nrelations:\n")
    (article,) = read(tmp_path)
    assert article.metadata["title"] == article.metadata["abstract"] == ""
    assert article_to_doc(article, nlp).text == "\n"


def sub(pattern, by):
    """A change of the text; the pattern must be there."""
    return lambda text: re.sub(pattern, lambda _: by, text, count=1, flags=re.DOTALL)


INVALID = [
    # change, line or field, problem
    (sub("id: S1", "id: S2"), "id", "found 'S2': expected 'S1', the name of the file"),
    (sub("id: S1\n", ""), "id", "found None: expected 'S1'"),
    (sub("split: train", "split: all"), "split", "'all': expected one of train, dev, test"),
    (sub("year: 2023", "year 2023"), "line 3", "found 'year 2023': expected a header"),
    (sub("year: 2023", "split: dev"), "line 3", "expected a header such as 'id: S001', each once"),
    (sub("title:", "abstract:"), "line 5", "found 'abstract:': expected 'title:' before it"),
    (sub("abstract:", "relations:"), "line 8", "found 'relations:': expected 'abstract:'"),
    (
        sub("relations:.*", ""),
        "relations",
        "missing: expected a line that begins with 'relations:'",
    ),
    (sub("{Inulin", "Inulin"), "line 5", "found '}' without '{'"),
    (sub(r"A \\{set", "A {set"), "line 8", "found '{' that is not closed"),
    (sub(r"set\\}", "set}"), "line 8", "found '}' without '{'"),
    (sub(r"\[animal\|\|c\]", ""), "line 6", "found '}': expected '}[label|CURIE|key]' at the end"),
    (sub(r"\[animal\|\|c\]", "[animal||c|d]"), "line 6", "expected '}[label|CURIE|key]'"),
    (sub("animal", ""), "line 6", "found label ''"),
    (sub("animal", "animals"), "line 6", "found label 'animals': expected one of anatomical"),
    (sub("{mice}", "{}"), "line 6", "found an empty mark"),
    (sub("{mice}", "{ }"), "line 6", "found an empty mark"),
    (
        sub("X:2", "Y:2"),
        "line 10",
        "found 'Y:2': expected PREFIX:ID with one of the prefixes CHEBI",
    ),
    (sub("X:2", "X:"), "line 10", "found 'X:': expected PREFIX:ID"),
    (sub("X:2", "X2"), "line 10", "found 'X2': expected PREFIX:ID"),
    (sub(r"\|\|c\]", "||a]"), "line 6", "the key 'a' stands in line 5 too"),
    (sub("a . impact . b", "a | impact"), "line 14", "expected 'key | predicate | key'"),
    (sub("a . impact . b", "a | impact | z"), "line 14", "found key 'z': expected one of the"),
    (sub("impact", "impacts"), "line 14", "found predicate 'impacts': expected one of admini"),
]


@pytest.mark.parametrize("change,place,problem", INVALID, ids=[p for _, _, p in INVALID])
def test_invalid_text(tmp_path, change, place, problem):
    changed = change(TEXT)
    assert changed != TEXT
    path = write(tmp_path, changed)
    with pytest.raises(FormatError) as caught:
        read(tmp_path)
    error = caught.value
    assert error.file == str(path)
    assert place in (error.record, error.field)
    assert problem in error.problem
    write(tmp_path, TEXT.replace("id: S1", "id: S2"), "S2")
    report = []
    assert [a.pmid for a in read(tmp_path, skip_invalid=True, report=report)] == ["S2"]
    assert [str(e) for e in report] == [str(error)]


def test_split_is_needed_where_one_is_asked_for(tmp_path):
    write(tmp_path, TEXT.replace("split: train\n", ""))
    assert len(read(tmp_path)) == 1
    with pytest.raises(FormatError, match="S1.txt: split: missing: expected one of train"):
        read(tmp_path, split="train")


def test_prefixes_file(tmp_path):
    folder = tmp_path / "articles"
    folder.mkdir()
    write(folder, TEXT)
    with pytest.raises(FormatError, match="prefixes.json is missing"):
        list(read_inline(folder))
    (tmp_path / "prefixes.json").write_text('{"CHEBI": "http://c/", "X": "http://x/"}')
    assert next(read_inline(folder)).entities[0].uri == "http://c/15443"
    (folder / "prefixes.json").write_text('{"CHEBI": 1}')
    with pytest.raises(FormatError, match="articles.prefixes.json: CHEBI: expected the beginning"):
        read_inline(folder)
    (folder / "prefixes.json").write_text('{"X": "a", "X": "b"}')
    with pytest.raises(FormatError, match="expected an object with each prefix once"):
        read_inline(folder)


def test_folder_without_articles(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder with .txt files"):
        read_inline(tmp_path)


def test_other_labels_when_asked_for(tmp_path):
    write(tmp_path, TEXT.replace("animal", "organism").replace("impact", "feeds"))
    (article,) = read(tmp_path, labels=None, predicates=None)
    assert article.entities[3].label == "organism"


def test_sample_corpus(sample_dir, nlp):
    folder = sample_dir / "articles"
    articles = list(read_inline(folder))
    assert len(articles) == len(list(folder.glob("*.txt")))
    splits = {s: sum(1 for _ in read_inline(folder, split=s)) for s in ("train", "dev")}
    assert sum(splits.values()) == len(articles)
    for article in articles:
        doc = article_to_doc(article, nlp)
        assert "char_offsets" not in doc.spans["sc"].attrs
