import pytest
import spacy

from spacy_bioie.annotation import (
    META_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    mention_texts,
    set_mentions,
    set_relations,
)
from spacy_bioie.formats import (
    Article,
    Entity,
    EntityRelation,
    FormatError,
    article_to_doc,
    doc_to_article,
    read_articles,
)

from .builders import corpus, write_json


@pytest.fixture
def article(tmp_path):
    return next(read_articles(write_json(tmp_path / "a.json", corpus())))


def test_doc_has_text_mentions_links_and_relations(article, nlp):
    doc = article_to_doc(article, nlp)
    assert doc.text == article.metadata["title"] + "\n" + article.metadata["abstract"]
    assert [(s.name, s.start) for s in doc._.sections] == [("title", 0), ("abstract", 39)]
    mentions = get_mentions(doc)
    assert [m.id for m in mentions] == ["T1", "T2", "T3", "T4", "T5", "T6"]
    assert mention_texts(doc, mentions) == [e.text_span for e in article.entities]
    assert [m.kb_id for m in mentions] == [e.uri for e in article.entities]
    assert get_relation_rows(doc)[0] == ("T1", "impact", "T3", 1.0)
    assert doc.user_data[META_KEY] == {"id": "1", **article.metadata}


def test_border_inside_a_token_is_widened_and_kept(article, nlp):
    doc = article_to_doc(article, nlp)
    mentions = get_mentions(doc)
    assert [m.char_offsets is not None for m in mentions] == [False] * 4 + [True, False]
    assert doc.spans["sc"][4].text == "Bifidobacterium longum"
    assert mention_texts(doc, mentions)[4] == "Bifidobacterium long"


@pytest.mark.parametrize("key", ["sc", "other"])
def test_doc_and_back(article, nlp, key):
    assert doc_to_article(article_to_doc(article, nlp, key), key) == article


def test_any_tokenizer_serves(article):
    blank = spacy.blank("en")
    assert doc_to_article(article_to_doc(article, blank)) == article
    assert doc_to_article(article_to_doc(article, blank.tokenizer)) == article


@pytest.mark.parametrize(
    "title,abstract",
    [
        ("", ""),
        ("", "An abstract."),
        ("A title.", ""),
        ("<i></i>", "<sub><sup></sup></sub>"),
        ("A\x00b\x07", "c\x1b[0m d\u200b\ufeff \x85 e\r\u2028 f"),
        ("🧠🦠 axis", "👩‍🔬 naïve 𝛼-synuclein"),
        ("two\nlines", "and\nthree\n more"),
        ("  blanks ", "  here   too  "),
    ],
)
def test_unusual_texts_come_back(nlp, title, abstract):
    entities = [
        Entity(i, i, location, char, "chemical")
        for location, text in (("title", title), ("abstract", abstract))
        for i, char in enumerate(text)
        if char.strip()
    ]
    relations = [EntityRelation(0, "interact", len(entities) - 1)] if entities else []
    article = Article("7", {"title": title, "abstract": abstract}, entities, relations)
    doc = article_to_doc(article, nlp)
    assert doc_to_article(doc) == article
    assert [s.name for s in doc._.sections] == ["title", "abstract"]
    assert len(doc.text) == len(title) + len(abstract) + 1


def test_entity_without_token_is_an_error(nlp):
    article = Article("7", {"title": "a b", "abstract": ""}, [Entity(1, 1, "title", " ", "gene")])
    with pytest.raises(FormatError, match=r"PMID 7: entities\[0\]: ' ' covers no token"):
        article_to_doc(article, nlp)


def test_predicted_doc_needs_no_metadata_but_a_pmid(nlp):
    doc = nlp("Gut bacteria.\nThey act.")
    set_mentions(doc, "sc", [Mention(0, 2, "bacteria", score=0.5)])
    with pytest.raises(FormatError, match="document beginning 'Gut bacteria.*'id'"):
        doc_to_article(doc)
    doc.user_data[META_KEY] = {"id": "9", "journal": "J"}
    article = doc_to_article(doc)
    assert article.entities == [Entity(0, 11, "title", "Gut bacteria", "bacteria", None)]
    assert list(article.metadata.items()) == [
        ("title", "Gut bacteria."),
        ("journal", "J"),
        ("abstract", "They act."),
    ]


def test_one_running_text_is_no_article(nlp):
    doc = nlp("Only one line.")
    doc.user_data[META_KEY] = {"id": "9"}
    with pytest.raises(FormatError, match=r"PMID 9: sections: found \['text'\]: expected a title"):
        doc_to_article(doc)


def test_mention_across_sections(nlp):
    doc = nlp("In mice\nGut microbiota")
    doc.user_data[META_KEY] = {"id": "9"}
    mentions = [
        Mention(1, 3, "animal"),  # with the line break at its end
        Mention(1, 4, "animal"),
        Mention(2, 5, "microbiome"),  # with the line break at its beginning
        Mention(2, 3, "human"),  # the line break alone
    ]
    set_mentions(doc, "sc", mentions)
    set_relations(doc, "sc", [("T1", "x", "T3", 0.5), ("T2", "x", "T3", 0.5)])
    with pytest.raises(FormatError, match=r"PMID 9: mention T2 \(animal\): characters 3 to 11"):
        doc_to_article(doc)
    report = []
    article = doc_to_article(doc, skip_invalid=True, report=report)
    assert [(e.location, e.text_span) for e in article.entities] == [
        ("title", "mice"),
        ("abstract", "Gut microbiota"),
    ]
    assert article.relations == [EntityRelation(0, "x", 1)]
    assert [error.field for error in report] == ["mention T2 (animal)", "mention T4 (human)"]


@pytest.mark.parametrize("name", ["platinum", "gold", "silver", "bronze", "dev"])
def test_real_annotations_come_back(real_file, name):
    real = real_file(name)
    for article, doc in zip(real.articles, real.docs, strict=True):
        assert doc_to_article(doc) == article
