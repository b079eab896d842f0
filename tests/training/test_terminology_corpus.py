"""A corpus with the terms of codes behind it."""

import pytest
from spacy.tokens import DocBin
from spacy.util import registry

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.kb import Concept
from spacy_bioie.kb.code_set import CodeSet
from spacy_bioie.translation import TermTranslator

CODES = CodeSet(
    [Concept("I50", "Heart failure", ("failure of the heart", "\u200b")), Concept("M10", "Gout")]
)


def make_reader(**settings):
    return registry.readers.get("spacy_bioie.TerminologyCorpus.v1")(**settings)


def terms_of(examples):
    rows = []
    for eg in examples:
        assert "sc" not in eg.predicted.spans and eg.predicted.text == eg.reference.text
        (mention,) = get_mentions(eg.reference)
        assert (mention.start, mention.end) == (0, len(eg.reference))
        rows.append((eg.text, mention.label, mention.kb_id))
    return rows


def test_terms_come_behind_the_corpus(nlp, tmp_path):
    doc = nlp.make_doc("He has gout.")
    set_mentions(doc, "sc", [Mention(2, 3, "disease", kb_id="M10")])
    DocBin(docs=[doc]).to_disk(tmp_path / "corpus.spacy")
    corpus = registry.readers.get("spacy.Corpus.v1")(
        path=tmp_path / "corpus.spacy", gold_preproc=False, max_length=0, limit=0, augmenter=None
    )
    read = make_reader(corpus=corpus, codes=CODES, label="disease")
    for _ in range(2):  # each epoch may read it anew
        first, *rest = read(nlp)
        assert first.text == "He has gout." and first.reference.spans["sc"][0].kb_id_ == "M10"
        assert terms_of(rest)[:2] == [
            ("Heart failure", "disease", "I50"),
            ("failure of the heart", "disease", "I50"),
        ]
        assert terms_of(rest)[-1] == ("Gout", "disease", "M10")


def test_terms_are_translated(nlp):
    translate = TermTranslator(terms=[("failure of the heart", "Heart failure"), ("gout", "Gicht")])
    read = make_reader(corpus=lambda nlp: [], codes=CODES, translate=translate)
    rows = [(text, code) for text, _, code in terms_of(read(nlp))]
    # what has become the same is given once
    assert [row for row in rows if row[0].isprintable()] == [
        ("Heart failure", "I50"),
        ("Gicht", "M10"),
    ]


def test_a_translator_that_drops_texts(nlp):
    read = make_reader(corpus=lambda nlp: [], codes=CODES, translate=lambda texts: [])
    with pytest.raises(ValueError, match="asked for 4 texts and gave 0 values"):
        list(read(nlp))
