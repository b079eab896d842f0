"""Losses against their definitions."""

import math

import numpy
import torch

from spacy_bioie.models.crf import Potentials, mask_illegal, pack
from spacy_bioie.models.losses import crf_negative_log_likelihood, cross_entropy


def test_cross_entropy_is_a_mean_over_words_summed_over_chains():
    emissions = torch.zeros((4, 2, 3))
    tags = torch.tensor([[0, 1], [2, 0], [0, 0], [1, 2]])
    assert math.isclose(float(cross_entropy(emissions, tags)), 2 * math.log(3), rel_tol=1e-6)
    emissions[range(4), 0, tags[:, 0]] = 100.0
    assert math.isclose(float(cross_entropy(emissions, tags)), math.log(3), rel_tol=1e-6)


def test_crf_likelihood_without_constraints_or_transitions_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    emissions = torch.randn((7, 2, 3), generator=generator)
    tags = torch.randint(0, 3, (7, 2), generator=generator)
    free = Potentials(emissions, torch.zeros(2, 3), torch.zeros(2, 3, 3), torch.zeros(2, 3))
    packing = pack(numpy.asarray([3, 4]), torch.device("cpu"))
    loss = crf_negative_log_likelihood(free, tags, packing)
    torch.testing.assert_close(loss, cross_entropy(emissions, tags))


def test_barring_illegal_steps_raises_the_likelihood_of_legal_tags():
    emissions = torch.zeros((5, 1, 3))
    tags = torch.tensor([0, 1, 2, 0, 1])[:, None]
    packing = pack(numpy.asarray([5]), torch.device("cpu"))
    start, transitions = torch.zeros(1, 3), torch.zeros(1, 3, 3)
    free = Potentials(emissions, start, transitions, start)
    masked = Potentials(emissions, *mask_illegal(start, transitions), start)
    assert crf_negative_log_likelihood(masked, tags, packing) < crf_negative_log_likelihood(
        free, tags, packing
    )


def test_batch_without_words_has_loss_zero():
    emissions = torch.zeros((0, 2, 3))
    tags = torch.zeros((0, 2), dtype=torch.int64)
    free = Potentials(emissions, torch.zeros(2, 3), torch.zeros(2, 3, 3), torch.zeros(2, 3))
    packing = pack(numpy.zeros(0, dtype="int64"), torch.device("cpu"))
    assert float(cross_entropy(emissions, tags)) == 0.0
    assert float(crf_negative_log_likelihood(free, tags, packing)) == 0.0
