import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_bioie.annotation import META_KEY, get_mentions, get_relation_rows
from spacy_bioie.formats import (
    FormatError,
    article_to_doc,
    doc_to_article,
    read_articles,
    read_docbin,
    write_docbin,
)

from .builders import corpus, write_json


@pytest.fixture
def doc(tmp_path, nlp):
    (article,) = read_articles(write_json(tmp_path / "a.json", corpus()))
    return article_to_doc(article, nlp)


def test_everything_comes_back(doc, tmp_path):
    path = tmp_path / "new" / "a.spacy"
    assert write_docbin(iter([doc, doc]), path) == 2
    back = list(read_docbin(path, Vocab()))
    assert len(back) == 2
    assert get_mentions(back[0]) == get_mentions(doc)
    assert get_mentions(back[0])[4].char_offsets == (56, 76)
    assert get_relation_rows(back[0]) == get_relation_rows(doc)
    assert back[0].user_data[META_KEY] == doc.user_data[META_KEY]
    assert back[0]._.sections == doc._.sections
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file(doc, tmp_path):
    path = tmp_path / "a.spacy"
    write_docbin([doc], path)
    old = path.read_bytes()

    def docs():
        yield doc
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_docbin(docs(), path)
    assert path.read_bytes() == old


@pytest.mark.parametrize("cut", [0, 1, 200])
def test_another_kind_of_file(doc, tmp_path, cut):
    path = tmp_path / "a.spacy"
    write_docbin([doc], path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match="a.spacy: expected a complete DocBin"):
        read_docbin(path, Vocab())


@pytest.mark.parametrize("name", ["platinum", "gold", "silver"])
def test_real_documents_come_back(real_file, tmp_path, name):
    real = real_file(name)
    write_docbin(real.docs, tmp_path / "a.spacy")
    docs = list(read_docbin(tmp_path / "a.spacy", Vocab()))
    off = 0
    for article, doc in zip(real.articles, docs, strict=True):
        assert doc_to_article(doc) == article
        off += sum(mention.char_offsets is not None for mention in get_mentions(doc))
    assert off > 0
    # as the stock reader of spacy train does it
    stock = next(DocBin().from_disk(tmp_path / "a.spacy").get_docs(Vocab()))
    assert doc_to_article(stock) == real.articles[0]
