"""Losses of candidate pairs, in torch, and the probabilities that each of them trains.

A loss belongs to a reading of the logits: independent predicates, one predicate or none, or
predicates against a threshold of the pair's own. So each is an object with both.
"""

from typing import Protocol

import numpy
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .adaptive_threshold import adaptive_threshold_loss


class PairLoss(Protocol):
    """How the logits of candidate pairs are learned from and read."""

    def losses(self, logits: Tensor, targets: Tensor, legal: Tensor, weights: Tensor) -> Tensor:
        """The loss of each pair.

        logits: float32, (pairs, predicates). targets, legal: bool, the same shape; predicates
        that are not legal count for nothing. weights: float32, (predicates,): factor on the
        loss of each gold predicate. RETURNS: float32, (pairs,).
        """

    def probabilities(self, logits: numpy.ndarray, legal: numpy.ndarray) -> numpy.ndarray:
        """The probability of each predicate of each pair: float32, (pairs, predicates)."""


class PairCrossEntropy:
    """Binary cross-entropy of every legal predicate: a pair may have several, or none."""

    def losses(self, logits: Tensor, targets: Tensor, legal: Tensor, weights: Tensor) -> Tensor:
        losses = binary_cross_entropy_with_logits(
            logits, targets.to(logits.dtype), reduction="none"
        )
        losses = torch.where(targets, losses * weights, losses)
        return losses.masked_fill(~legal, 0.0).sum(dim=1)

    def probabilities(self, logits: numpy.ndarray, legal: numpy.ndarray) -> numpy.ndarray:
        return _sigmoid(logits)


class PairSoftmax:
    """Cross-entropy over "no relation" (logit 0) and the legal predicates of the pair.

    A pair with several gold predicates has the mean of their losses.
    """

    def losses(self, logits: Tensor, targets: Tensor, legal: Tensor, weights: Tensor) -> Tensor:
        masked = logits.masked_fill(~legal, float("-inf"))
        log_z = torch.nn.functional.pad(masked, (1, 0)).logsumexp(dim=1)
        hits = targets & legal
        gold = ((log_z[:, None] - logits) * weights).masked_fill(~hits, 0.0).sum(dim=1)
        n = hits.sum(dim=1)
        return torch.where(n > 0, gold / n.clamp(min=1), log_z)

    def probabilities(self, logits: numpy.ndarray, legal: numpy.ndarray) -> numpy.ndarray:
        masked = numpy.where(legal, logits.astype("float64"), -numpy.inf)
        top = masked.max(axis=1, initial=0.0, keepdims=True)
        scores = numpy.exp(masked - top)
        total = scores.sum(axis=1, keepdims=True) + numpy.exp(-top)
        return (scores / total).astype("float32")


class AdaptiveThreshold:
    """ATLOP's loss (Zhou et al. 2021, equation 6): gold predicates must beat a threshold class,
    which must beat all others. The logits are differences to that class, whose own is 0.

    Decoding at the probability .5 is the adaptive threshold.
    """

    def losses(self, logits: Tensor, targets: Tensor, legal: Tensor, weights: Tensor) -> Tensor:
        return adaptive_threshold_loss(logits, targets, legal, weights)

    def probabilities(self, logits: numpy.ndarray, legal: numpy.ndarray) -> numpy.ndarray:
        return _sigmoid(logits)


def PairCrossEntropy_v1() -> PairLoss:
    """Create the loss ``spacy_bioie.PairCrossEntropy.v1``."""
    return PairCrossEntropy()


def PairSoftmax_v1() -> PairLoss:
    """Create the loss ``spacy_bioie.PairSoftmax.v1``."""
    return PairSoftmax()


def AdaptiveThreshold_v1() -> PairLoss:
    """Create the loss ``spacy_bioie.AdaptiveThreshold.v1``."""
    return AdaptiveThreshold()


def hardest_negatives(losses: Tensor, positive: Tensor, docs: Tensor, ratio: float) -> Tensor:
    """Which pairs count if a document's negatives are only those with the highest losses.

    losses: float32, (pairs,). positive: bool, (pairs,): pairs with a gold predicate, which all
    count. docs: int64, (pairs,), ascending: the document of each. ratio: so many negatives for
    each positive of the document, and as many in a document without one.
    RETURNS: bool, (pairs,).
    """
    if not len(losses):
        return positive
    n_docs = int(docs[-1]) + 1
    wanted = torch.zeros(n_docs, dtype=torch.int64, device=docs.device)
    wanted = (wanted.index_add(0, docs, positive.long()).clamp(min=1) * ratio).ceil().long()
    # negatives of a document first, the hardest first of all
    order = torch.argsort(losses.detach().masked_fill(positive, -1.0), descending=True, stable=True)
    order = order[torch.argsort(docs[order], stable=True)]
    starts = torch.searchsorted(docs, torch.arange(n_docs, device=docs.device))
    rank = torch.empty_like(docs)
    rank[order] = torch.arange(len(docs), device=docs.device) - starts[docs]
    return positive | (rank < wanted[docs])


def _sigmoid(logits: numpy.ndarray) -> numpy.ndarray:
    wide = logits.astype("float64")
    return numpy.exp(-numpy.logaddexp(0.0, -wide)).astype("float32")
