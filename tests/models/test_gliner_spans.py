"""GLiNER.v1 as a thinc model: settings, and how texts are cut."""

import numpy
import pytest
import torch

from spacy_bioie.models.gliner_files import GlinerSettings
from spacy_bioie.models.gliner_module import GlinerInput, GlinerModule
from spacy_bioie.models.gliner_spans import GLiNER_v1
from tests.tiny_encoder import make_tiny_bert

SETTINGS = GlinerSettings(
    name="", prompts={}, max_width=3, hidden_size=16, dropout=0.0, window=30,
    max_batch_pieces=64, mixed_precision=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    pytest.importorskip("gliner", reason='GLiNER needs the extra "gliner"')
    name = make_tiny_bert(tmp_path_factory.mktemp("encoder"))
    module = GlinerModule(SETTINGS._replace(name=name)).eval()
    module.build(["disease", "human"])
    return module


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"max_width": 0}, "max_width is 0, expected 1 or more"),
        ({"hidden_size": 0}, "hidden_size is 0, expected 1 or more"),
        ({"window": 0}, "window is 0, expected 1 or more"),
        ({"max_batch_pieces": 0}, "max_batch_pieces is 0, expected 1 or more"),
        ({"dropout": 1.0}, "dropout is 1.0, expected at least 0 and below 1"),
        ({"focal_alpha": 1.5}, "focal_alpha is 1.5 .* expected at most 1"),
        ({"focal_gamma": -1.0}, "focal_gamma is -1.0, expected .* at least 0"),
        ({"overlap": "all"}, "overlap is 'all', expected 'any', 'nested' or 'flat'"),
        ({"min_score": 0.0}, "min_score is 0.0, expected a probability above 0"),
    ],
)
def test_errors_of_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GLiNER_v1("encoder", **settings)


def test_errors_of_a_model_that_is_not_ready():
    model = GLiNER_v1("encoder")
    with pytest.raises(ValueError, match="no parameters yet"):
        model.predict([])
    model.set_dim("nO", 2)
    with pytest.raises(ValueError, match="does not know the labels"):
        model.initialize()


def test_cut(module):
    room, taken = module.room()
    assert taken == len("[CLS] <<ENT>> disease <<ENT>> human <<SEP>> [SEP]".split())
    assert room == 30 - taken
    words = [*["disease", "of", "gut"] * 20, "human", "x" * 40, "cells"]
    _, counts = module._readable(words, room)
    assert counts[-3:].tolist() == [1, 1, 1]  # the word of 40 pieces is unknown
    read, windows = module.cut(GlinerInput(words, numpy.asarray([60, 3])))
    assert read[-2] == "[UNK]" and read[:-2] + read[-1:] == words[:-2] + words[-1:]
    assert windows.pieces.max() <= 30
    assert (windows.first[-1], windows.last[-1]) == (60, 63)
    places = numpy.arange(63)
    assert (windows.first[windows.home] <= places).all()
    # every span of up to max_width words lies in the window that scores it
    sequence_end = numpy.where(places < 60, 60, 63)
    assert (windows.last[windows.home] >= numpy.minimum(places + 3, sequence_end)).all()


def test_what_leaves_its_sequence_is_no_candidate(module):
    scores = module(GlinerInput(["gut", "of", "mice", "sleep"] * 10, numpy.asarray([39, 1])))
    assert scores.shape == (40, 3, 2)
    inside = numpy.isfinite(scores.detach().numpy())
    assert inside[:37].all() and not inside[37, 2].any() and inside[37, :2].all()
    assert inside[38:, 0].all() and not inside[38:, 1:].any()


def test_passes_of_any_size_give_the_same_scores_and_gradients(module):
    words = GlinerInput(["gut", "of", "mice", "sleep"] * 12, numpy.asarray([40, 5, 3]))
    found = []
    module.train()
    for size in (64, 10**6):
        module.settings = module.settings._replace(max_batch_pieces=size)
        module.zero_grad()
        scores = module(words)
        scores[scores.isfinite()].square().sum().backward()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        found.append([scores.detach(), *(gradient.clone() for gradient in gradients)])
    module.eval()
    assert len(found[0]) == len(found[1]) > 30
    largest = max(float(gradient.abs().max()) for gradient in found[1][1:])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * largest)
