"""Losses of candidate pairs, in torch."""

import torch
from torch import Tensor


def pair_cross_entropy(logits: Tensor, targets: Tensor, legal: Tensor, n_mentions: int) -> Tensor:
    """Binary cross-entropy of every legal predicate of every pair, per mention.

    All negatives count. The sum is divided by the mentions of the batch, not by its pairs: pairs
    grow with the square of the mentions and nearly all of them are easy negatives, so a mean over
    pairs would fade to nothing in long documents. On GutBrainIE, with about half a relation for
    each mention, the loss begins near 2, and the gradient of the token vectors is one to three
    times as long as that of a tagger's mean cross-entropy over tokens: recognition and relations
    can share an encoder without weights.

    logits: float, (pairs, predicates). targets, legal: bool, the same shape.
    n_mentions: mentions of the documents that are learned from.
    RETURNS: 0-d tensor; 0 for a batch without pairs.
    """
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets.to(logits.dtype), reduction="none"
    )
    return losses.masked_fill(~legal, 0.0).sum() / max(n_mentions, 1)
