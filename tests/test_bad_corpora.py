"""Corpora that lack something, and labels that were never trained: a clear answer to each."""

import warnings

import numpy
import pytest
import spacy
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions
from tests.pipelines import (
    ARTICLES,
    HEADS,
    TEXTS,
    Article,
    make_examples,
    make_pipeline,
    parameters,
    save_corpus,
    save_knowledge_base,
    train_in_memory,
    training_config,
)


@pytest.fixture(scope="module")
def kb_folder(tmp_path_factory):
    return save_knowledge_base(tmp_path_factory.mktemp("kb") / "kb")


@pytest.fixture
def small(kb_folder):
    """A function that makes a small trained pipeline."""

    def make(articles=ARTICLES):
        nlp = make_pipeline("tok2vec", kb=kb_folder)
        train_in_memory(nlp, articles, steps=25)
        return nlp

    return make


def without_relations(nlp, path, articles=ARTICLES):
    """A corpus that says nothing about relations, not even that there are none."""
    docs = [eg.reference for eg in make_examples(nlp, articles)]
    for doc in docs:
        doc.user_data.clear()
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return str(path)


def test_corpus_without_relations_and_without_schema(kb_folder, tmp_path):
    nlp = make_pipeline("tok2vec", kb=kb_folder)
    config = training_config(nlp, without_relations(nlp, tmp_path / "corpus.spacy"))
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="'relation_extractor' has no relation schema.*leave"):
        train(tmp_path / "config.cfg", tmp_path / "output")


@pytest.mark.parametrize("said", [True, False], ids=["said to have none", "nothing said"])
def test_corpus_without_relations_trains_with_a_schema(kb_folder, tmp_path, said):
    nlp = make_pipeline("tok2vec", kb=kb_folder)
    nlp.config["initialize"]["components"]["relation_extractor"] = {
        "relation_schema": [["chemical", "influence", "DDF"], ["DDF", "target", "animal"]]
    }
    if said:
        articles = [Article(a.text, a.mentions) for a in ARTICLES]
        corpus = save_corpus(nlp, tmp_path / "corpus.spacy", articles)
    else:
        corpus = without_relations(nlp, tmp_path / "corpus.spacy")
    config = training_config(nlp, corpus, max_steps=30, eval_frequency=10)
    config.to_disk(tmp_path / "config.cfg")
    with pytest.warns(UserWarning, match="none of 4 examples has a relation"):
        train(tmp_path / "config.cfg", tmp_path / "output")
    nlp = spacy.load(tmp_path / "output" / "model-best")
    doc = nlp(TEXTS[0])
    assert len(doc.spans["sc"]) == len(ARTICLES[0].mentions)
    if said:
        assert doc._.relations == []
    figures = nlp.evaluate(make_examples(nlp, [Article(a.text, a.mentions) for a in ARTICLES]))
    assert figures["spans_sc_f"] == pytest.approx(1.0)
    assert not figures["rel_gold_tm_micro_f"]


def test_corpus_without_mentions(kb_folder):
    nlp = make_pipeline("tok2vec", kb=kb_folder)
    examples = make_examples(nlp, [Article(text) for text in TEXTS])
    with pytest.raises(ValueError, match=r"'nested_spancat' has no labels.*doc.spans\['sc'\]"):
        nlp.initialize(lambda: examples)


def test_corpus_without_links(small):
    articles = [
        Article(a.text, [(words, label, "") for words, label, _ in a.mentions], a.relations)
        for a in ARTICLES
    ]
    nlp = small(articles=articles)
    doc = nlp(TEXTS[0])
    assert "CHEBI:17968" in {span.kb_id_ for span in doc.spans["sc"]}  # by its name
    figures = nlp.evaluate(make_examples(nlp, articles))
    assert figures["nel_gold_acc1"] is None and figures["nerd_strict_micro_f"] is None
    assert figures["rel_gold_tm_micro_f"] == pytest.approx(1.0)


def test_labels_that_were_never_trained(small):
    nlp = small()
    unknown = Article(
        "Genes of mice\nThe gene BDNF is located in mice with anxiety.",
        [
            ("mice", "animal", "NCIT:C14238"),
            ("BDNF", "gene", "NCIT:C0000"),
            ("mice", "animal", "NCIT:C14238"),
            ("anxiety", "DDF", "MESH:D001007"),
        ],
        [(1, "located in", 2), (3, "target", 2)],
    )
    examples = make_examples(nlp, [ARTICLES[0], unknown])
    with pytest.warns(UserWarning, match="label 'gene'"):
        figures = nlp.evaluate(examples)
    assert figures["spans_sc_per_type"]["gene"]["r"] == 0.0
    assert 0.0 < figures["rel_gold_tm_micro_r"] < 1.0
    assert 0.0 < figures["nel_gold_acc1"] < 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        nlp.evaluate(examples)


def test_mentions_of_a_label_that_was_never_trained(small):
    nlp = small()
    nlp.disable_pipe("nested_spancat")
    doc = nlp.make_doc("Butyrate of mice\nButyrate eased anxiety in mice.")
    labels = ["gene", "animal", "gene", "DDF", "animal"]
    tokens = [0, 2, 4, 6, 8]
    set_mentions(doc, "sc", [Mention(i, i + 1, n) for i, n in zip(tokens, labels, strict=True)])
    with pytest.warns(UserWarning, match="label 'gene' take part in no relation"):
        doc = nlp(doc)
    links = [span.kb_id_ for span in doc.spans["sc"]]
    assert links[0] == links[2] == "CHEBI:17968"
    assert all("gene" not in (r.head.label_, r.tail.label_) for r in doc._.relations)


def test_training_goes_on_with_a_label_that_was_never_trained(small):
    nlp = small()
    odd = Article("The gene\nThe gene BDNF was found in mice.", [("BDNF", "gene", "")])
    examples = make_examples(nlp, [*ARTICLES, odd])
    before = [parameters(nlp, name) for name in HEADS]
    with pytest.warns(UserWarning, match="'gene'"):
        losses = nlp.update(examples, sgd=nlp.create_optimizer())
    assert all(numpy.isfinite(losses[name]) for name in HEADS)
    for name, start in zip(HEADS, before, strict=True):
        assert (parameters(nlp, name) != start).any()


def test_predicted_documents_with_other_tokens(small):
    nlp = small()
    examples = []
    for example in make_examples(nlp):
        predicted = spacy.blank("xx").make_doc(example.text)
        words = [token.text for token in predicted]
        spaces = [bool(token.whitespace_) for token in predicted]
        doc = Doc(nlp.vocab, words=words, spaces=spaces)
        examples.append(Example(doc, example.reference))
    figures = nlp.evaluate(examples)
    assert figures["nel_gold_acc1"] > 0.5
    assert numpy.isfinite(nlp.update(examples, sgd=nlp.create_optimizer())["nested_spancat"])
