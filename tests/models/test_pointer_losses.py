"""The losses of the span pointer."""

import itertools

import numpy
import pytest
import torch

from spacy_bioie.models.pointer_losses import GoldSpans, binary_cross_entropy, zlpr
from spacy_bioie.models.span_head import get_span_head

from .pointer_models import LOSSES, get_module, make_docs, make_gold, make_model


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


def gold_spans(scores, rows, sequence, doc_weights=None, label_weights=None):
    n_words, _, n_labels = scores.shape
    return GoldSpans(
        cells=tuple(torch.tensor(rows, dtype=torch.int64).T),
        sequence=torch.tensor(sequence),
        doc_weights=torch.tensor(doc_weights or [1.0] * n_words),
        label_weights=torch.tensor(label_weights or [1.0] * n_labels),
    )


def test_binary_cross_entropy_is_that_of_torch():
    torch.manual_seed(0)
    scores = torch.randn(5, 3, 2)
    scores[4, 2] = -40.0  # as good as no candidate
    rows = [(0, 1, 1), (2, 0, 0), (2, 0, 1)]
    gold = gold_spans(scores, rows, [0, 0, 1, 1, 2])
    target = torch.zeros_like(scores)
    target[gold.cells] = 1.0
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="sum")
    torch.testing.assert_close(binary_cross_entropy(scores, gold), expected / 5)
    scores[4, 2] = -torch.inf
    torch.testing.assert_close(binary_cross_entropy(scores, gold), expected / 5)
    weighted = gold_spans(scores, rows, [0, 0, 1, 1, 2], [2.0, 2.0, 0.5, 0.5, 0.0], [3.0, 0.2])
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        scores.clamp(min=-40.0), target, reduction="none"
    )
    losses = torch.where(target == 1.0, losses * torch.tensor([3.0, 0.2]), losses).sum(dim=(1, 2))
    expected = (2.0 * losses[:2].sum() + 0.5 * losses[2:4].sum()) / 5.0
    torch.testing.assert_close(binary_cross_entropy(scores, weighted), expected)


@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_zlpr_is_that_of_its_definition(scale, weighted):
    torch.manual_seed(0)
    scores = scale * torch.randn(7, 3, 2, dtype=torch.float64)
    scores[6, 1:] = -torch.inf
    scores.requires_grad_()
    rows = [(0, 1, 1), (2, 0, 0), (3, 2, 1), (1, 0, 1), (6, 0, 0)]
    sequence = [0, 0, 0, 0, 1, 1, 2]
    of_sequence, of_label = ([2.0, 0.5, 1.0], [3.0, 0.2]) if weighted else ([1.0] * 3, [1.0] * 2)
    of_word = [of_sequence[i] for i in sequence]
    gold = gold_spans(scores, rows, sequence, of_word, of_label)
    is_gold = torch.zeros(7, 3, 2, dtype=torch.bool)
    is_gold[gold.cells] = True
    expected = 0.0
    for s, label in itertools.product(range(3), range(2)):
        chosen = gold.sequence == s
        part, mask = scores[chosen, :, label], is_gold[chosen, :, label]
        others = torch.cat([torch.zeros(1), part[~mask & part.isfinite()]])
        mentions = torch.cat([torch.zeros(1), -part[mask]])
        loss = others.logsumexp(0) + of_label[label] * mentions.logsumexp(0)
        expected = expected + of_sequence[s] * loss
    expected = expected / sum(of_word)
    loss = zlpr(scores, gold)
    torch.testing.assert_close(loss, expected, check_dtype=False)
    (found,) = torch.autograd.grad(loss, [scores])
    (wanted,) = torch.autograd.grad(expected, [scores])
    torch.testing.assert_close(found, wanted)


@LOSSES
def test_weights_of_documents_and_labels(docs, gold, loss):
    model = make_model(loss=loss)
    head = get_span_head(model)

    def value(chosen, **weights):
        batch, tables = [docs[i] for i in chosen], [gold[i] for i in chosen]
        return head.loss(model.predict(batch), tables, **weights)[0]

    every = range(len(docs))
    ones = {"doc_weights": numpy.ones(len(docs)), "label_weights": numpy.ones(3)}
    assert value(every, **ones) == value(every)
    only = numpy.asarray([0.0, 1.0, 0.0, 1.0, 2.5])
    assert value(every, doc_weights=only) == pytest.approx(value([4]), rel=1e-5)
    assert value(every, doc_weights=0 * only) == 0.0
    # a sum of what the mentions of each label cost, and of what all other spans do
    nothing = value(every, label_weights=numpy.zeros(3))
    parts = [value(every, label_weights=numpy.eye(3)[i]) - nothing for i in range(3)]
    assert all(part > 0.0 for part in parts)
    assert value(every) == pytest.approx(nothing + sum(parts), rel=1e-4)
    halves = value(every, label_weights=numpy.asarray([1.0, 0.5, 0.0]))
    assert halves == pytest.approx(nothing + parts[0] + 0.5 * parts[1], rel=1e-4)


@LOSSES
def test_weight_scales_the_gradient_and_not_the_loss(docs, gold, loss):
    model = make_model(loss=loss)
    head = get_span_head(model)
    output = model.predict(docs)
    value, d_output = head.loss(output, gold)
    weighted_value, d_weighted = head.loss(output, gold, weight=0.25)
    assert value == weighted_value > 0.0
    assert numpy.abs(d_output.logits).sum() > 0.0
    numpy.testing.assert_allclose(d_weighted.logits, 0.25 * d_output.logits, rtol=1e-5, atol=1e-8)


@LOSSES
def test_what_is_no_candidate_has_no_gradient(docs, gold, loss):
    model = make_model(loss=loss)
    output, backprop = model.begin_update(docs)
    _, d_output = get_span_head(model).loss(output, gold)
    assert (d_output.logits[numpy.isneginf(output.logits)] == 0.0).all()
    backprop(d_output)
    for parameter in get_module(model).parameters():
        assert bool(parameter.grad.isfinite().all())
