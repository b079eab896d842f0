"""The adaptive-threshold loss against its definition, with a threshold class of its own."""

import math

import pytest
import torch

from spacy_bioie.models.adaptive_threshold import adaptive_threshold_loss

LOGITS = [[0.5, -1.0, 2.0, 0.3], [3.0, 0.1, -0.2, -4.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]
THRESHOLDS = [0.7, -1.5, 0.0, 2.5]
TARGETS = [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]]
LEGAL = [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
ONES = torch.ones(4)


def plain_loss(logits, threshold, targets, legal, weights):
    """Zhou et al., equation 6, with all logits of one pair as they are."""
    gold = [r for r in range(len(logits)) if targets[r] and legal[r]]
    others = [r for r in range(len(logits)) if not targets[r] and legal[r]]
    top = math.exp(threshold)
    above = sum(math.exp(logits[r]) for r in gold) + top
    below = sum(math.exp(logits[r]) for r in others) + top
    l1 = -sum(weights[r] * math.log(math.exp(logits[r]) / above) for r in gold)
    l2 = -math.log(top / below)
    return l1 + l2


def tensors():
    logits = torch.tensor(LOGITS, dtype=torch.double)
    differences = logits - torch.tensor(THRESHOLDS, dtype=torch.double)[:, None]
    return differences, torch.tensor(TARGETS).bool(), torch.tensor(LEGAL).bool()


@pytest.mark.parametrize("weights", [[1.0] * 4, [0.5, 2.0, 1.0, 3.0]])
def test_same_as_with_a_threshold_class(weights):
    losses = adaptive_threshold_loss(*tensors(), torch.tensor(weights, dtype=torch.double))
    rows = zip(LOGITS, THRESHOLDS, TARGETS, LEGAL, strict=True)
    expected = [plain_loss(*row, weights) for row in rows]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_gradient_is_that_with_a_threshold_class():
    logits = torch.tensor(LOGITS, dtype=torch.double, requires_grad=True)
    top = torch.tensor(THRESHOLDS, dtype=torch.double, requires_grad=True)
    _, targets, legal = tensors()
    adaptive_threshold_loss(logits - top[:, None], targets, legal, ONES.double()).sum().backward()
    step = 1e-6
    for row in range(4):
        for number in range(5):
            sums = []
            for sign in (1, -1):
                values, threshold = list(LOGITS[row]), THRESHOLDS[row]
                if number < 4:
                    values[number] += sign * step
                else:
                    threshold += sign * step
                sums.append(plain_loss(values, threshold, TARGETS[row], LEGAL[row], [1.0] * 4))
            gradient = logits.grad[row, number] if number < 4 else top.grad[row]
            expected = (sums[0] - sums[1]) / (2 * step)
            assert gradient.item() == pytest.approx(expected, abs=1e-7)


def test_gradcheck():
    differences, targets, legal = tensors()
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda x: adaptive_threshold_loss(x, targets, legal, weights),
        (differences.requires_grad_(),),
    )


def test_illegal_predicates_count_for_nothing():
    differences, targets, legal = tensors()
    other = torch.where(legal, differences, torch.full_like(differences, 1000.0))
    flipped = torch.where(legal, targets, ~targets)
    one = adaptive_threshold_loss(differences, targets, legal, ONES)
    assert torch.equal(adaptive_threshold_loss(other, flipped, legal, ONES), one)
    leaf = differences.clone().requires_grad_()
    adaptive_threshold_loss(leaf, targets, legal, ONES).sum().backward()
    assert (leaf.grad[~legal] == 0).all() and (leaf.grad[legal] != 0).all()


def test_extreme_logits():
    logits = torch.tensor([[500.0, -500.0], [-500.0, 500.0]], requires_grad=True)
    targets = torch.tensor([[True, False]] * 2)
    legal = torch.ones_like(targets)
    losses = adaptive_threshold_loss(logits, targets, legal, torch.ones(2))
    assert losses.tolist() == [0.0, 1000.0]
    losses.sum().backward()
    assert logits.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_no_pairs_and_no_predicates():
    nothing = torch.zeros((0, 3), requires_grad=True)
    empty = torch.zeros((0, 3), dtype=torch.bool)
    assert adaptive_threshold_loss(nothing, empty, empty, torch.ones(3)).shape == (0,)
    illegal = torch.zeros((2, 3), dtype=torch.bool)
    assert adaptive_threshold_loss(torch.ones(2, 3), ~illegal, illegal, torch.ones(3)).sum() == 0
