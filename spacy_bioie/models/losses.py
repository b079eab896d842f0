"""Losses of tagged words, in torch.

Each is a mean over the words of the batch, summed over chains, so that losses of different heads
and of different batches compare.
"""

import torch
from torch import Tensor

from .crf import Packing, Potentials, log_likelihood


def cross_entropy(emissions: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy of each word's tags, each word and chain on its own.

    emissions: (words, chains, tags); tags: int64, (words, chains).
    RETURNS: 0-d tensor; 0 for a batch without words.
    """
    losses = torch.nn.functional.cross_entropy(
        emissions.flatten(0, 1), tags.flatten(), reduction="sum"
    )
    return losses / max(len(tags), 1)


def crf_negative_log_likelihood(crf: Potentials, tags: Tensor, packing: Packing) -> Tensor:
    """Negative log likelihood of the gold tag sequences, divided by the number of words.

    tags: int64, (words, chains).
    RETURNS: 0-d tensor; 0 for a batch without words.
    """
    return -log_likelihood(crf, tags, packing).sum() / max(len(tags), 1)
