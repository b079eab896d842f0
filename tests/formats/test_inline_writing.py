import pytest

from spacy_bioie.formats import (
    Article,
    Entity,
    EntityRelation,
    FormatError,
    article_to_inline,
    read_inline,
    write_inline,
)
from spacy_bioie.formats.inline_writing import find_prefixes

PREFIXES = {"X": "http://x.org/", "XY": "http://x.org/y_"}


def make(title="Gut flora", abstract="", entities=(), relations=(), **metadata):
    base = {"author": "", "journal": "", "year": "", "annotator": ""}
    values = {"title": title, "abstract": abstract, **base, **metadata}
    rows = [
        Entity(start, start + len(text) - 1, where, text, label, uri)
        for where, start, text, label, uri in entities
    ]
    return Article("S1", values, rows, list(relations))


def test_text_is_as_people_write_it():
    article = make(
        entities=[
            ("title", 0, "Gut", "anatomical location", "http://x.org/7"),
            ("title", 0, "Gut flora", "microbiome", "http://x.org/y_8"),
            ("title", 4, "flora", "bacteria", None),
        ],
        relations=[EntityRelation(2, "part of", 1)],
        split="dev",
        year="2020",
    )
    assert article_to_inline(article, PREFIXES) == (
        "id: S1\nsplit: dev\nyear: 2020\n\n"
        "title: {{Gut}[anatomical location|X:7] {flora}[bacteria||b]}[microbiome|XY:8|a]\n\n"
        "abstract:\n\n"
        "relations:\nb | part of | a\n"
    )


LONG = "word " * 30
ROUND_TRIPS = [
    make("", ""),
    make(r"a {b} \ c\{ \\", r"\\} [x] | {"),
    make(entities=[("title", 0, "Gut flora", "microbiome", None)] * 2),
    make(entities=[("title", 0, "G", "gene", None), ("title", 1, "ut", "gene", None)]),
    make(LONG + "title: x", LONG + "relations: y  z " + LONG + "end"),
    make("x\u00a0 " * 60 + "y", "🧠 " * 90 + "\x85 \x00z"),
    make(
        "m " * 59 + "m",
        entities=[("title", 2 * i, "m", "gene", f"http://x.org/{i}") for i in range(60)],
        relations=[EntityRelation(i, "interact", 59 - i) for i in range(60)],
    ),
    make(entities=[("title", 0, "Gut", "gene", "https://other.org/a:b#c?d=e")], journal="J: a"),
]


@pytest.mark.parametrize("article", ROUND_TRIPS)
def test_round_trip(tmp_path, article):
    assert write_inline([article], tmp_path / "new", prefixes=PREFIXES) == 1
    (back,) = read_inline(tmp_path / "new", prefixes=PREFIXES)
    assert back == article


def test_lines_are_wrapped():
    text = article_to_inline(make(abstract=LONG + "end"), PREFIXES)
    assert max(map(len, text.split("\n"))) <= 100


OVERLAP = [("title", 0, "Gut f", "gene", None), ("title", 4, "flora", "gene", None)]
INVALID = [
    (make(entities=OVERLAP), "entities[1]", "'flora' overlaps another entity"),
    (make("a\nb"), "title", "expected no line breaks"),
    (make("a\rb"), "title", "expected no line breaks"),
    (make(abstract=" a"), "abstract", "no white space at the beginning or end"),
    (make(entities=[("title", 0, "Gut", "a|b", None)]), "entities[0].label", "without [ ] | { }"),
    (make(entities=[("title", 0, "Gut", " a", None)]), "entities[0].label", "found ' a'"),
    (make(entities=[("title", 0, "Gut", "", None)]), "entities[0].label", "found ''"),
    (make(entities=[("title", 0, "Gut", "a", "X:1")]), "entities[0].uri", "a known prefix or"),
    (make(entities=[("title", 0, "Gut", "a", "http://x.org/[")]), "entities[0].uri", "found 'X:['"),
    (make(year=2020), "metadata.year", "found 2020: expected a line of text"),
    (make(note="a\nb"), "metadata.note", "expected a line of text"),
    (make(Note="a"), "metadata.Note", "a name of small letters"),
    (make(id="y"), "metadata.id", "a name of small letters"),
    (
        make(entities=[("title", 0, "Gut", "a", None)], relations=[EntityRelation(0, "a|b", 0)]),
        "relations[0].predicate",
        "without '|'",
    ),
]


@pytest.mark.parametrize("article,field,problem", INVALID, ids=[p for _, _, p in INVALID])
def test_what_the_form_cannot_hold(article, field, problem):
    with pytest.raises(FormatError) as caught:
        article_to_inline(article, PREFIXES)
    assert (caught.value.record, caught.value.field) == ("article S1", field)
    assert problem in caught.value.problem


@pytest.mark.parametrize("pmid", ["", "a/b", " a", "S1"])
def test_ids_must_name_files(tmp_path, pmid):
    articles = [make(), Article(pmid, make().metadata)]
    with pytest.raises(FormatError, match="expected an id that no other article has"):
        write_inline(articles, tmp_path, prefixes=PREFIXES)
    assert list(tmp_path.iterdir()) == []


def test_sample_corpus_comes_back(sample_dir, tmp_path):
    folder = sample_dir / "articles"
    articles = list(read_inline(folder))
    assert write_inline(articles, tmp_path, prefixes=find_prefixes(folder)) == len(articles)
    assert list(read_inline(tmp_path, prefixes=find_prefixes(folder))) == articles


@pytest.mark.parametrize("name", ["dev", "silver"])
def test_real_articles_come_back(real_file, tmp_path, name):
    articles = real_file(name).articles
    write_inline(articles, tmp_path, prefixes=PREFIXES)
    back = {article.pmid: article for article in read_inline(tmp_path, prefixes=PREFIXES)}
    assert back == {article.pmid: article for article in articles}
