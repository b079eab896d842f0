"""Mentions of labels that a corpus lacks, added by a pipeline of rules."""

import json

import pytest
from spacy.tokens import Doc
from spacy.util import get_words_and_spaces
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    get_tier,
    mention_texts,
    set_mentions,
    set_relations,
    set_tier,
)
from spacy_bioie.cli import app
from spacy_bioie.formats import read_docbin, write_docbin
from spacy_bioie.training.label_completion import complete_labels
from spacy_bioie.training.pseudo_labels import PROVENANCE_KEY

from ..rule_pipeline import make_rule_pipeline

TEXTS = ["Butyrate and gut\nButyrate in mice.", "Gut-brain axis of mice", ""]


@pytest.fixture
def corpus(tmp_path):
    """Documents with chemicals and a disease, cut into tokens at white space."""
    vocab = Vocab()
    docs = [Doc(vocab, *get_words_and_spaces(text.split(), text)) for text in TEXTS]
    found = [Mention(0, 1, "chemical", "T1", "C1"), Mention(2, 3, "DDF", "T7")]
    set_mentions(docs[0], "sc", found)
    set_relations(docs[0], "sc", [("T1", "influence", "T7", 1.0)])
    set_mentions(docs[1], "sc", [Mention(0, 1, "DDF", char_offsets=(0, 9))])
    set_mentions(docs[2], "sc", [])
    set_tier(docs[0], "gold")
    write_docbin(docs, tmp_path / "corpus.spacy")
    return tmp_path / "corpus.spacy"


def complete(corpus, **settings):
    output = corpus.with_name("out.spacy")
    counts = complete_labels(make_rule_pipeline(), corpus, output, **settings)
    return counts, list(read_docbin(output, Vocab()))


def texts_of(doc):
    return [
        (m.label, text)
        for m, text in zip(get_mentions(doc), mention_texts(doc, get_mentions(doc)), strict=True)
    ]


def test_lacking_labels_are_added_and_the_rest_stays(corpus):
    before = list(read_docbin(corpus, Vocab()))
    counts, docs = complete(corpus)
    assert (counts.documents, counts.overlapping, counts.unsure) == (3, 2, 0)
    assert counts.added == {"animal": 2}
    for old, new in zip(before, docs, strict=True):
        own = len(get_mentions(old))
        assert get_mentions(new)[:own] == get_mentions(old)
        assert [t.text for t in new] == [t.text for t in old]
        assert get_relation_rows(new) == get_relation_rows(old) and get_tier(new) == get_tier(old)
    # found by characters, whatever the tokens; the chemical "Butyrate" of the abstract is not
    # added, as the corpus has chemicals
    assert texts_of(docs[0])[2:] == [("animal", "mice")]
    assert texts_of(docs[1])[1:] == [("animal", "mice")]
    assert get_mentions(docs[0])[2].kb_id == "NCIT:C14238"
    assert len({m.id for m in get_mentions(docs[0])}) == 3
    assert docs[0].user_data[PROVENANCE_KEY]["completed"] is True
    assert PROVENANCE_KEY not in docs[2].user_data


def test_overlap_labels_and_scores(corpus):
    counts, docs = complete(corpus, allow_overlap=True, labels=["anatomical location"])
    assert counts.added == {"anatomical location": 2} and counts.overlapping == 0
    assert texts_of(docs[1]) == [("DDF", "Gut-brain"), ("anatomical location", "Gut")]
    with pytest.raises(ValueError, match="no mention is left to add to the 3 documents"):
        complete(corpus, min_score=0.6)
    assert list(corpus.parent.iterdir()) != [corpus]  # the earlier output is still there


def test_errors(corpus):
    with pytest.raises(ValueError, match=r"have mentions of 'DDF'. Expected .* 'DDF', 'chemical'"):
        complete(corpus, labels=["animal", "DDF"])
    with pytest.raises(ValueError, match="min_score is 1.5, expected a probability"):
        complete(corpus, min_score=1.5)
    assert list(corpus.parent.iterdir()) == [corpus]  # nothing was written


def test_command(corpus, tmp_path):
    make_rule_pipeline().to_disk(tmp_path / "pipeline")
    arguments = ["complete-labels", str(tmp_path / "pipeline"), str(corpus)]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "out.spacy"), "-q"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["added"] == {"animal": 2}
    failed = CliRunner().invoke(app, [*arguments, str(tmp_path / "no.spacy"), "--label", "DDF"])
    assert failed.exit_code == 1 and "have mentions of 'DDF'" in failed.output
    assert not (tmp_path / "no.spacy").exists()
