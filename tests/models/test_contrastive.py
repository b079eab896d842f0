import numpy
import pytest

from spacy_bioie.kb.lexical import normalise_rows
from spacy_bioie.models.contrastive import (
    contrast_of_rows,
    contrastive_loss,
    cosines_of_pairs,
    squared_distance,
)


@pytest.fixture
def arrays():
    random = numpy.random.default_rng(0)
    vectors = random.normal(size=(5, 7))
    targets = normalise_rows(random.normal(size=(4, 7)))
    return vectors, targets, numpy.asarray([0, 3, 1, 1, 2])


def test_loss_and_gradient_against_torch(arrays):
    import torch

    vectors, targets, gold = arrays
    loss, gradient = contrastive_loss(vectors, targets, gold, 0.2)
    leaf = torch.tensor(vectors, requires_grad=True)
    cosines = torch.nn.functional.normalize(leaf, dim=1) @ torch.tensor(targets).T
    expected = torch.nn.functional.cross_entropy(cosines / 0.2, torch.tensor(gold))
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    numpy.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-9)


def test_single_precision_and_zero_vectors(arrays):
    vectors, targets, gold = arrays
    vectors[0] = 0
    loss, gradient = contrastive_loss(
        vectors.astype("float32"), targets.astype("float32"), gold, 0.01
    )
    assert gradient.dtype == numpy.float32
    assert numpy.isfinite(loss) and numpy.isfinite(gradient).all()


def test_contrast_of_rows_against_torch():
    import torch

    random = numpy.random.default_rng(0)
    vectors = random.normal(size=(4, 6))
    targets = normalise_rows(random.normal(size=(4, 3, 6)))
    known = numpy.asarray([[1, 1, 1], [1, 0, 1], [1, 0, 0], [1, 1, 1]], dtype="bool")
    loss, gradient = contrast_of_rows(vectors, targets, known, 0.3)
    leaf = torch.tensor(vectors, requires_grad=True)
    cosines = torch.einsum(
        "nw,nmw->nm", torch.nn.functional.normalize(leaf, dim=1), torch.tensor(targets)
    )
    logits = (cosines / 0.3).masked_fill(~torch.tensor(known), float("-inf"))
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    numpy.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-9)
    assert not gradient[2].any()  # nothing to be set against


def test_squared_distance_against_torch(arrays):
    import torch

    vectors, targets, gold = arrays
    loss, gradient = squared_distance(vectors, targets[gold])
    leaf = torch.tensor(vectors, requires_grad=True)
    units = torch.nn.functional.normalize(leaf, dim=1)
    expected = 7 * torch.nn.functional.mse_loss(units, torch.tensor(targets[gold]))
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    numpy.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-9)


def test_cosines_of_pairs(arrays, monkeypatch):
    from spacy_bioie.models import contrastive

    vectors, targets, _ = arrays
    targets[1] = 0
    left, right = numpy.asarray([0, 0, 4, 2]), numpy.asarray([0, 3, 1, 2])
    expected = (normalise_rows(vectors)[left] * targets[right]).sum(axis=1)
    numpy.testing.assert_allclose(cosines_of_pairs(vectors, targets, left, right), expected)
    assert expected[2] == 0
    monkeypatch.setattr(contrastive, "_CHUNK", 3)
    numpy.testing.assert_allclose(cosines_of_pairs(vectors, targets, left, right), expected)
    assert cosines_of_pairs(vectors, targets, left[:0], right[:0]).shape == (0,)
