"""Updates over several parts of a batch, in full and in half precision."""

import numpy
import pytest
from thinc.api import Adam

from spacy_bioie.models import mixed_precision
from tests.pipelines import ARTICLES, encoder_name, forget_gradients, gradient, parameters

SETTINGS = (
    ("tok2vec", {}),
    ("transformer", {}),
    ("transformer", {"mixed_precision": True}),
)
ALL = pytest.mark.parametrize("encoder,settings", SETTINGS)
TWICE = (ARTICLES[0], ARTICLES[1]) * 2


@pytest.fixture
def prepared(initialized, monkeypatch):
    # Emulated where the CPU has no such instructions.
    monkeypatch.setattr(mixed_precision, "cpu_has_bfloat16", lambda: True)
    return initialized


def gradient_of(nlp, *parts):
    forget_gradients(nlp)
    for part in parts:
        nlp.update(part, sgd=False)
    return gradient(nlp, encoder_name(nlp))


def update(nlp, optimizer, *parts):
    """One step as ``spacy train`` does it: the parts of the batch, then all components."""
    for part in parts:
        nlp.update(part, sgd=False)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(optimizer)


def difference(found, expected):
    return numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected)


def test_half_precision_is_computed(prepared):
    full, examples = prepared("transformer")
    half, _ = prepared("transformer", mixed_precision=True)
    half.get_pipe("transformer").model.from_bytes(full.get_pipe("transformer").model.to_bytes())
    gradients = [gradient_of(nlp, examples) for nlp in (half, full)]
    assert 1e-4 < difference(*gradients) < 0.1


@ALL
def test_the_gradients_of_all_parts_are_added(prepared, encoder, settings):
    nlp, examples = prepared(encoder, **settings)
    parts = [examples[:1], examples[1:2], examples[2:]]
    alone = [gradient_of(nlp, part) for part in parts]
    assert all(numpy.linalg.norm(one) > 1e-3 for one in alone)
    assert difference(gradient_of(nlp, *parts), sum(alone)) < 1e-4


@ALL
def test_two_equal_halves_give_the_update_of_the_whole(prepared, encoder, settings):
    # Losses are means over a part, so that the sum of two equal halves has twice the gradient,
    # and Adam's steps do not depend on its length.
    tolerance = 0.03 if settings else 1e-3
    whole, examples = prepared(encoder, TWICE, **settings)
    halves, _ = prepared(encoder, TWICE, **settings)
    gradients = [
        gradient_of(whole, examples),
        gradient_of(halves, examples[:2], examples[2:]),
    ]
    assert difference(gradients[1], 2 * gradients[0]) < tolerance
    for nlp in (whole, halves):
        forget_gradients(nlp)
    # without eps, and without clipping, which depends on the length
    optimizers = [Adam(0.001, eps=1e-12, grad_clip=0.0) for _ in range(2)]
    before = [parameters(whole, name) for name in whole.pipe_names]
    for _ in range(2):
        update(whole, optimizers[0], examples)
        update(halves, optimizers[1], examples[:2], examples[2:])
    for name, start in zip(whole.pipe_names, before, strict=True):
        steps = [parameters(nlp, name) - start for nlp in (whole, halves)]
        assert numpy.linalg.norm(steps[0]) > 0
        alike = steps[0] @ steps[1] / numpy.linalg.norm(steps[0]) / numpy.linalg.norm(steps[1])
        assert alike > 0.98, name
