"""Pipelines that relate the words of a small vocabulary, and examples to train them."""

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import Mention, get_relation_rows, set_mentions, set_relations

LABELS = {
    "butyrate": "chemical",
    "serotonin": "chemical",
    "mice": "animal",
    "rats": "animal",
    "anxiety": "DDF",
    "depression": "DDF",
    "gut": "anatomical location",
}
TRAIN = [
    (
        "Butyrate and anxiety\nButyrate of mice reduces anxiety in rats.",
        [(2, "influence", 4), (2, "located in", 3), (4, "target", 5)],
    ),
    (
        "Serotonin\nDepression of rats , a kind of anxiety , lowers serotonin in the gut.",
        [(1, "target", 2), (1, "is a", 3), (4, "located in", 5)],
    ),
    ("No relation\nThe gut of mice shows anxiety.", []),
    ("Nothing here.", []),
    ("", []),
]
TRIPLES = [
    ["chemical", "influence", "DDF"],
    ["chemical", "located in", "animal"],
    ["chemical", "located in", "anatomical location"],
    ["DDF", "target", "animal"],
    ["DDF", "is a", "DDF"],
    ["DDF", "affect", "DDF"],
]
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 32,
    "depth": 2,
    "embed_size": 300,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}
SHARED_TOK2VEC = [("tok2vec", {"model": TOK2VEC})]
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
NAME = "relation_extractor"


@Language.component("mark_words")
def mark_words(doc: Doc) -> Doc:
    """The words of LABELS as mentions, without ids."""
    doc.spans["sc"] = [
        Span(doc, t.i, t.i + 1, label=LABELS[t.lower_]) for t in doc if t.lower_ in LABELS
    ]
    return doc


def mark(doc, relations=None, key="sc"):
    """Mark the words of LABELS and relate them by their index."""
    words = [token for token in doc if token.lower_ in LABELS]
    ids = set_mentions(doc, key, [Mention(t.i, t.i + 1, LABELS[t.lower_]) for t in words])
    if relations is not None:
        rows = [(ids[head].id, label, ids[tail].id, 1.0) for head, label, tail in relations]
        set_relations(doc, key, rows)
    return doc


def make_examples(nlp, data=TRAIN, key="sc"):
    return [
        Example(nlp.make_doc(text), mark(nlp.make_doc(text), relations, key))
        for text, relations in data
    ]


def model_config(tok2vec=TOK2VEC, **settings):
    return {
        "@architectures": "spacy_bioie.PairClassifier.v1",
        "hidden_size": 32,
        "label_size": 8,
        "dropout": 0.0,
        "tok2vec": tok2vec,
        **settings,
    }


def make_nlp(tok2vec=TOK2VEC, before=(), **config):
    """A pipeline that marks words and relates them, after components (factory, config)."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    for factory, settings in before:
        nlp.add_pipe(factory, config=settings)
    nlp.add_pipe("mark_words")
    nlp.add_pipe(NAME, config={"model": model_config(tok2vec), **config})
    return nlp


def initialize(nlp, examples=None, schema=TRIPLES):
    examples = make_examples(nlp) if examples is None else examples
    settings = {NAME: {"relation_schema": schema}} if schema is not None else {}
    nlp.config["initialize"]["components"] = settings
    nlp.initialize(lambda: examples)
    return examples


def train(nlp, examples, steps, rate=0.003):
    """Train on one batch again and again. RETURNS: the last loss."""
    optimizer = nlp.resume_training()
    optimizer.learn_rate = rate
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer, losses={})
    return losses[NAME]


def texts():
    """Of TRAIN."""
    return [text for text, _ in TRAIN]


def relations_of(doc):
    """Relations as (head token, predicate, tail token)."""
    return sorted((r.head.start, r.label, r.tail.start) for r in doc._.relations)


def expected(nlp):
    """The relations of TRAIN, see ``relations_of``."""
    return [relations_of(eg.reference) for eg in make_examples(nlp)]


def assert_same_rows(one, other):
    """Two documents have the same relations, with scores that hardly differ."""
    rows, others = get_relation_rows(one), get_relation_rows(other)
    assert [row[:3] for row in rows] == [row[:3] for row in others]
    assert [row[3] for row in rows] == pytest.approx([row[3] for row in others], abs=1e-5)


def gradients(nlp, pipe):
    """Of all parameters of a component."""
    model = nlp.get_pipe(pipe).model
    found = [
        node.get_grad(name).copy()
        for node in model.walk()
        for name in node.grad_names
        if node.has_grad(name)
    ]
    for node in model.walk():
        for shim in node.shims:
            found += [p.grad.numpy().copy() for p in shim._model.parameters() if p.grad is not None]
    return found
