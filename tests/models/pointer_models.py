"""Span pointers over vectors without parameters, and documents with mentions to learn."""

import numpy
import pytest
import spacy
import torch

from spacy_bioie.models.pointer_module import PointerModule, pointer_module
from spacy_bioie.models.span_pointer import SpanPointer_v1

from .tagger_models import token_vectors

LOSSES = pytest.mark.parametrize("loss", ["bce", "zlpr"])


def make_docs():
    nlp = spacy.blank("en")
    texts = ["Gut bacteria\nof mice and men  change .", "", "Sleep", "  ", "a b c d e f g h"]
    return [nlp(text) for text in texts]


def make_gold():
    """Nested mentions of one label, crossing ones, and equal borders with two labels."""
    tables = [
        [(0, 2, 0), (0, 1, 0), (0, 1, 1), (3, 9, 2), (4, 5, 2), (4, 7, 1)],
        [],
        [(0, 1, 1), (0, 1, 2)],
        [],
        [(0, 4, 0), (2, 6, 0), (2, 3, 0), (7, 8, 1)],
    ]
    return [numpy.asarray(rows, dtype="int64").reshape((-1, 3)) for rows in tables]


def make_model(*, n_labels=3, dtype="float32", **settings):
    torch.manual_seed(0)
    settings = {"max_width": 6, "hidden_size": 8, "rank": 4, "dropout": 0.0, **settings}
    model = SpanPointer_v1(token_vectors(dtype), **settings)
    model.set_dim("nO", n_labels)
    model.initialize(X=None)
    for parameter in get_module(model).parameters():
        torch.nn.init.normal_(parameter)
    return model


def get_module(model) -> PointerModule:
    return pointer_module(model.get_ref("head"))


def rows_of(spans):
    return list(zip(*(column.tolist() for column in spans[:3]), strict=True))


def assert_same_gradients(model, other):
    for a, b in zip(*(get_module(m).named_parameters() for m in (model, other)), strict=True):
        torch.testing.assert_close(a[1].grad, b[1].grad, rtol=1e-4, atol=1e-6, msg=a[0])
    gradients = (m.get_ref("tok2vec").attrs["gradient"] for m in (model, other))
    for d, e in zip(*gradients, strict=True):
        numpy.testing.assert_allclose(d, e, rtol=1e-4, atol=1e-6)
