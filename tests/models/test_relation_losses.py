import math

import numpy
import pytest
import torch

from spacy_bioie.models.relation_losses import (
    AdaptiveThreshold,
    PairCrossEntropy,
    PairSoftmax,
    hardest_negatives,
)

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 2.0, 2.0]])
LEGAL = torch.tensor([[True, True, False], [True, True, True], [True, False, True]])
TARGETS = torch.tensor([[True, False, False], [False, False, False], [True, False, True]])
WEIGHTS = torch.tensor([1.0, 1.0, 1.0])


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_cross_entropy_by_hand():
    losses = PairCrossEntropy().losses(LOGITS, TARGETS, LEGAL, WEIGHTS)
    expected = [
        -(log_sigmoid(1.0) + log_sigmoid(2.0)),
        -(log_sigmoid(0.0) + log_sigmoid(-3.0) + log_sigmoid(1.0)),
        -2 * log_sigmoid(2.0),
    ]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    doubled = PairCrossEntropy().losses(LOGITS, TARGETS, LEGAL, 2 * WEIGHTS)
    # only the losses of gold predicates have the weight
    assert doubled[0].item() == pytest.approx(expected[0] - log_sigmoid(1.0), rel=1e-5)
    assert doubled[1].item() == pytest.approx(expected[1], rel=1e-5)


def test_softmax_by_hand():
    losses = PairSoftmax().losses(LOGITS, TARGETS, LEGAL, WEIGHTS)
    z = [
        math.log(1 + math.e + math.exp(-2)),
        math.log(2 + math.exp(3) + math.exp(-1)),
        math.log(1 + 2 * math.exp(2)),
    ]
    assert losses.tolist() == pytest.approx([z[0] - 1.0, z[1], z[2] - 2.0], rel=1e-5)
    weighted = PairSoftmax().losses(LOGITS, TARGETS, LEGAL, torch.tensor([1.0, 1.0, 3.0]))
    assert weighted[2].item() == pytest.approx(2 * (z[2] - 2.0), rel=1e-5)


@pytest.mark.parametrize("loss", [PairCrossEntropy(), PairSoftmax(), AdaptiveThreshold()])
def test_illegal_predicates_count_for_nothing(loss):
    leaf = LOGITS.clone().requires_grad_()
    loss.losses(leaf, TARGETS, LEGAL, WEIGHTS).sum().backward()
    assert (leaf.grad[~LEGAL] == 0).all()
    assert (leaf.grad[LEGAL] != 0).all()
    other = torch.where(LEGAL, LOGITS, torch.tensor(50.0))
    assert torch.equal(
        loss.losses(other, TARGETS, LEGAL, WEIGHTS), loss.losses(LOGITS, TARGETS, LEGAL, WEIGHTS)
    )


@pytest.mark.parametrize("loss", [PairCrossEntropy(), PairSoftmax(), AdaptiveThreshold()])
def test_probabilities(loss):
    p = loss.probabilities(LOGITS.numpy(), LEGAL.numpy())
    assert p.dtype == numpy.float32
    if isinstance(loss, PairSoftmax):
        total = 2 + math.exp(3) + math.exp(-1)
        expected = [1 / total, math.exp(3) / total, math.exp(-1) / total]
        assert p[1].tolist() == pytest.approx(expected)
        assert p[0, 2] == p[2, 1] == 0.0
    else:
        assert p[0].tolist() == pytest.approx([math.exp(log_sigmoid(x)) for x in (1.0, -2.0, 0.5)])
    extreme = loss.probabilities(numpy.asarray([[800.0, -800.0]]), numpy.ones((1, 2), dtype=bool))
    assert extreme.tolist() == [[1.0, 0.0]]
    assert loss.probabilities(numpy.zeros((0, 3)), numpy.zeros((0, 3), dtype=bool)).shape == (0, 3)


def test_hardest_negatives():
    losses = torch.tensor([0.1, 5.0, 2.0, 3.0, 9.0, 0.2, 0.4])
    positive = torch.tensor([True, False, False, False, False, False, False])
    docs = torch.tensor([0, 0, 0, 0, 2, 2, 2])
    assert hardest_negatives(losses, positive, docs, 2.0).nonzero().flatten().tolist() == [
        0, 1, 3, 4, 6,
    ]  # fmt: skip
    assert hardest_negatives(losses, positive, docs, 0.0).tolist() == positive.tolist()
    none = torch.zeros(0)
    assert len(hardest_negatives(none, none.bool(), none.long(), 1.0)) == 0
