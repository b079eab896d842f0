"""Pipelines of ``nested_spancat``, and a few documents with mentions to train them."""

import numpy
import pytest
import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import Mention, get_mentions, set_mentions

GUT = "Gut bacteria\nGut bacteria of mice change  anxiety."
TRAIN = [
    (
        GUT,
        [
            (0, 12, "bacteria"),
            (13, 25, "bacteria"),
            (29, 33, "animal"),
            (42, 49, "DDF"),
        ],
    ),
    ("Depression\nThe small intestine of rats and depression", None),
    ("Nothing here.", []),
    ("", []),
]
TRAIN[1] = (
    TRAIN[1][0],
    [(0, 10, "DDF"), (15, 30, "anatomical location"), (34, 38, "animal"), (43, 53, "DDF")],
)
NESTED = [
    (GUT, [*TRAIN[0][1], (0, 3, "anatomical location"), (13, 16, "anatomical location")]),
    *TRAIN[1:],
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
ALL_HEADS = pytest.mark.parametrize(
    "chains,decoder",
    [("joint", "argmax"), ("joint", "crf"), ("per_label", "argmax"), ("per_label", "crf")],
)


def model_config(chains="joint", decoder="crf", tok2vec=TOK2VEC, **settings):
    return {
        "@architectures": "spacy_bioie.SpanTagger.v1",
        "chains": chains,
        "decoder": decoder,
        "tok2vec": tok2vec,
        **settings,
    }


def make_nlp(chains="joint", decoder="crf", *, model=None, **config):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    model = model_config(chains, decoder) if model is None else model
    nlp.add_pipe("nested_spancat", config={"model": model, **config})
    return nlp


def make_examples(nlp, data=TRAIN, key="sc"):
    examples = []
    for text, spans in data:
        reference = nlp.make_doc(text)
        found = [reference.char_span(i, j, label=label) for i, j, label in spans]
        set_mentions(reference, key, [Mention(s.start, s.end, s.label_) for s in found])
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


def train(nlp, examples, steps=60):
    optimizer = nlp.initialize(lambda: examples)
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses


def borders(doc, key="sc"):
    return sorted((m.start, m.end, m.label) for m in get_mentions(doc, key))


def gold_borders(example, key="sc"):
    return borders(example.reference, key)


def assert_same_spans(doc, other):
    assert borders(doc) == borders(other)
    assert [s.id_ for s in doc.spans["sc"]] == [s.id_ for s in other.spans["sc"]]
    numpy.testing.assert_allclose(scores_of(doc), scores_of(other), rtol=1e-3, atol=1e-5)


def scores_of(doc, key="sc"):
    return numpy.asarray(doc.spans[key].attrs.get("scores", []), dtype="float32")


def listener(width=32):
    return {"@architectures": "spacy.Tok2VecListener.v1", "width": width, "upstream": "*"}


def make_shared_nlp(**config):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    nlp.add_pipe("nested_spancat", config={"model": model_config(tok2vec=listener()), **config})
    return nlp


def gradient_of_tok2vec(nlp, examples):
    """The summed size of the gradient that an update leaves in the shared layer."""
    tok2vec = nlp.get_pipe("tok2vec").model
    nlp.update(examples, sgd=None)
    total = 0.0
    for node in tok2vec.walk():
        for name in node.param_names:
            if node.has_grad(name):
                total += float(numpy.abs(node.get_grad(name)).sum())
                node.set_grad(name, 0 * node.get_grad(name))
    return total


def make_transformer_nlp(tiny_bert, chains="per_label", decoder="crf"):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    encoder = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": tiny_bert}
    nlp.add_pipe("transformer", config={"model": encoder})
    tok2vec = {"@architectures": "spacy_bioie.TransformerListener.v1"}
    model = model_config(chains, decoder, tok2vec=tok2vec, dropout=0.0)
    nlp.add_pipe("nested_spancat", config={"model": model})
    return nlp
