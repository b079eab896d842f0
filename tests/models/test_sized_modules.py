"""Modules that get their parameters late: what is saved of them, and errors before that."""

from io import BytesIO

import numpy
import pytest
import srsly
import torch
from torch import nn

from spacy_bioie.models.own_encoder import OwnEncoder
from spacy_bioie.models.own_encoder_layer import own_encoder_layer
from spacy_bioie.models.sized_modules import (
    build_parameters,
    built_module,
    sized_layer,
    vectors_to_torch,
)

from ..tiny_encoder import make_tiny_bert


class Named(nn.Module):
    """A linear layer whose sizes have names."""

    def __init__(self):
        super().__init__()
        self.sizes = {"width": 0, "n_labels": 0}

    def build(self, width, n_labels):
        self.sizes = {"width": width, "n_labels": n_labels}
        self.head = nn.Linear(width, n_labels)

    def forward(self, vectors):
        return self.head(vectors)


class Listed(Named):
    """The same with its sizes in a list."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def build(self, width, n_labels):
        super().build(width, n_labels)
        self.sizes = [width, n_labels]


class OverEncoder(nn.Module):
    """An encoder of its own and a linear layer."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.encoder = OwnEncoder()
        self.register_module("head", None)
        self.sizes = {"n_labels": 0, "names": []}

    def build(self, n_labels, names):
        if not self.encoder.is_loaded:
            self.encoder.load(self.source)
        self.sizes = {"n_labels": n_labels, "names": names}
        self.head = nn.Linear(self.encoder.width, n_labels)


def make_layer(kind):
    return sized_layer(kind(), lambda model, X, is_train: vectors_to_torch(model, X, (), is_train))


def stored_in(layer):
    """What ``torch.save`` was given for the module in a layer."""
    data = srsly.msgpack_loads(layer.shims[0].to_bytes())
    return torch.load(BytesIO(data["state"]), weights_only=True)


@pytest.mark.parametrize("kind,sizes", [(Named, {"width": 3, "n_labels": 2}), (Listed, [3, 2])])
def test_sizes_are_saved_beside_the_parameters(kind, sizes):
    layer = make_layer(kind)
    build_parameters(layer, 3, 2)
    stored = stored_in(layer)
    assert stored["sizes"] == sizes
    assert list(stored["state"]) == ["head.weight", "head.bias"]
    again = make_layer(kind).from_bytes(layer.to_bytes())
    X = numpy.ones((4, 3), dtype="float32")
    numpy.testing.assert_array_equal(again.predict(X), layer.predict(X))


@pytest.mark.parametrize("kind", [Named, Listed])
def test_a_module_without_parameters_is_saved_too(kind):
    layer = make_layer(kind)
    again = make_layer(kind).from_bytes(layer.to_bytes())
    with pytest.raises(ValueError, match="Some: the model has no parameters yet"):
        built_module(again, "Some")
    build_parameters(again, 3, 2)
    assert built_module(again, "Some").head.weight.shape == (2, 3)


def test_vectors_of_another_precision_get_gradients_of_theirs():
    layer = make_layer(Named)
    build_parameters(layer, 3, 2)
    output, backprop = layer(numpy.ones((4, 3), dtype="float64"), True)
    assert output.dtype == "float32"
    assert backprop(numpy.ones_like(output)).dtype == "float64"


def test_encoder_and_head_are_saved_apart(tmp_path):
    source = make_tiny_bert(tmp_path / "bert")
    layer = own_encoder_layer(OverEncoder(source), "head")
    build_parameters(layer, n_labels=2, names=["a", "b"])
    data = srsly.msgpack_loads(srsly.msgpack_loads(layer.shims[0].to_bytes())["state"])
    assert list(data) == ["n_labels", "names", "encoder", "head"]
    again = own_encoder_layer(OverEncoder("nowhere"), "head").from_bytes(layer.to_bytes())
    module, loaded = built_module(layer, "Some"), built_module(again, "Some")
    assert loaded.sizes == {"n_labels": 2, "names": ["a", "b"]}
    for name, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_encoder_without_parameters_is_saved_without_a_head(tmp_path):
    layer = own_encoder_layer(OverEncoder("nowhere"), "head")
    data = srsly.msgpack_loads(srsly.msgpack_loads(layer.shims[0].to_bytes())["state"])
    assert list(data) == ["n_labels", "names", "encoder"]
    again = own_encoder_layer(OverEncoder("nowhere"), "head").from_bytes(layer.to_bytes())
    with pytest.raises(ValueError, match="has no parameters yet"):
        built_module(again, "Some")
