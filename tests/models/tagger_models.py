"""Taggers over vectors without parameters, and documents with mentions to learn."""

import numpy
import pytest
import spacy
import torch
from thinc.api import Model

from spacy_bioie.models.span_tagger import SpanTagger_v1
from spacy_bioie.models.tagger_module import tagger_module

WIDTH = 5
ALL_HEADS = pytest.mark.parametrize(
    "chains,decoder",
    [("joint", "argmax"), ("joint", "crf"), ("per_label", "argmax"), ("per_label", "crf")],
)
LAYERS = [
    *({}, {"hidden_size": 6}, {"hidden_size": 6, "n_layers": 2}),
    *({"lstm_size": 4}, {"lstm_size": 3, "hidden_size": 6}),
]
ALL_LAYERS = pytest.mark.parametrize("layers", LAYERS, ids=lambda x: "-".join(x) or "linear")
BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["BIO", "BIOES"])


def make_docs():
    nlp = spacy.blank("en")
    texts = ["Gut bacteria\nof mice and men  change .", "", "Sleep", "  ", "a b c d"]
    return [nlp(text) for text in texts]


def make_gold():
    """The mentions of the documents, nested ones too."""
    tables = [[(0, 2, 0), (4, 5, 1), (3, 5, 2)], [], [(0, 1, 1)], [], [(0, 3, 2), (1, 3, 0)]]
    return [numpy.asarray(rows, dtype="int64").reshape((-1, 3)) for rows in tables]


def token_vectors(dtype="float32"):
    """A layer without parameters: random vectors, the same for the same text."""

    def forward(model, docs, is_train):
        out = []
        for doc in docs:
            generator = numpy.random.default_rng(len(doc.text))
            vectors = model.attrs["scale"] * generator.normal(size=(len(doc), WIDTH))
            out.append(vectors.astype(dtype))

        def backprop(d_out):
            model.attrs["gradient"] = d_out
            return []

        return out, backprop

    return Model("token_vectors", forward, dims={"nO": WIDTH}, attrs={"scale": 1.0})


def make_model(chains="joint", decoder="crf", *, n_labels=3, dtype="float32", **settings):
    torch.manual_seed(0)
    settings = {"dropout": 0.0, **settings}
    model = SpanTagger_v1(token_vectors(dtype), chains, decoder, **settings)
    model.set_dim("nO", n_labels)
    model.initialize(X=None)
    module = get_module(model)
    for name, parameter in module.named_parameters():
        if name.startswith("crf"):
            torch.nn.init.normal_(parameter)
    return model


def get_module(model):
    return tagger_module(model.get_ref("head"))
