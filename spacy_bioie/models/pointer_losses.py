"""Losses of the span pointer, in torch.

Both are sums over spans and labels, divided by the number of words, so that they compare with the
losses of tagged words.
"""

from dataclasses import dataclass
from typing import Literal, Tuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

PointerLoss = Literal["bce", "zlpr"]


@dataclass(frozen=True)
class GoldSpans:
    """What a batch is learned from.

    cells: int64, (mentions,) each: word, width and label of the scores; all different.
    sequence: int64, (words,): the sequence of each word, ascending from 0.
    doc_weights: float32, (words,): the weight of each word's document. Losses are divided by
        these, so that they are weighted means over documents.
    label_weights: float32, (labels,): factor on the loss of each label's mentions.
    """

    cells: Tuple[Tensor, Tensor, Tensor]
    sequence: Tensor
    doc_weights: Tensor
    label_weights: Tensor


def binary_cross_entropy(scores: Tensor, gold: GoldSpans) -> Tensor:
    """Cross-entropy of each span and label on its own.

    scores: (words, widths, labels), log odds; minus infinity for what is no candidate.
    RETURNS: 0-d tensor; 0 for a batch without words, or with weights that are all 0.
    """
    words, _, labels = gold.cells
    mentions = scores[gold.cells]
    as_others = softplus(scores).sum(dim=(1, 2))
    extra = gold.label_weights[labels] * softplus(-mentions) - softplus(mentions)
    losses = as_others.index_add(0, words, extra)
    return weighted_mean((losses * gold.doc_weights).sum(), gold.doc_weights)


def zlpr(scores: Tensor, gold: GoldSpans) -> Tensor:
    """Zero-bounded log-sum-exp and pairwise rank-based loss (Su et al. 2022).

    For each sequence and label, as in Global Pointer,

        log(1 + sum over other spans of exp(score)) + log(1 + sum over mentions of exp(-score))

    which pushes mentions above 0 and all other spans below: a few against thousands weigh the
    same. Scores so learned are no log odds.

    scores: as for ``binary_cross_entropy``. RETURNS: likewise.
    """
    words, _, labels = gold.cells
    n_labels = scores.shape[2]
    doc_weights = _first_of_each(gold.doc_weights, gold.sequence)
    size = (len(doc_weights), n_labels)
    others = scores.index_put(gold.cells, scores.new_tensor(-torch.inf))
    sequence = gold.sequence[:, None].expand(-1, n_labels)
    highest = _shift(others.detach().amax(dim=1), sequence, size)
    terms = (others - highest[gold.sequence][:, None]).exp().sum(dim=1)
    # log(1 + sum of exp(x)) = shift + log(exp(-shift) + sum of exp(x - shift))
    below = highest + (-highest).exp().scatter_add(0, sequence, terms).log()
    mentions = -scores[gold.cells]
    groups = gold.sequence[words] * n_labels + labels
    lowest = _shift(mentions.detach(), groups, (size[0] * n_labels,))
    terms = (mentions - lowest[groups]).exp()
    above = (lowest + (-lowest).exp().scatter_add(0, groups, terms).log()).view(size)
    losses = (below + above * gold.label_weights).sum(dim=1)
    return weighted_mean((losses * doc_weights).sum(), gold.doc_weights)


def _shift(values: Tensor, groups: Tensor, size: Tuple[int, ...]) -> Tensor:
    """The highest value of each group, or 0: less it, no exponential exceeds 1."""
    return values.new_zeros(size).scatter_reduce(0, groups, values, "amax")


def _first_of_each(values: Tensor, sequence: Tensor) -> Tensor:
    begins = torch.ones_like(sequence, dtype=torch.bool)
    begins[1:] = sequence[1:] != sequence[:-1]
    return values[begins]


def weighted_mean(total: Tensor, weights: Tensor) -> Tensor:
    """A sum of weighted losses over the sum of the weights, 0 where they all are."""
    weight = weights.sum()
    return total / torch.where(weight > 0, weight, 1.0)
