"""Losses of tagged words, in torch.

A loss is an object of the registry "misc", so that a config can swap it. Each is summed over
chains; what it is divided by, words or sequences, it says itself, so that losses of different
batches compare.
"""

import math
from dataclasses import dataclass
from typing import Dict, Literal, Protocol, Sequence, Tuple

import torch
from torch import Tensor

from .crf import Packing, Potentials, word_log_likelihoods

Per = Literal["token", "sequence"]
Mode = Literal["learned", "fixed", "bounded", "uncertainty", "gradnorm"]


@dataclass(frozen=True)
class GoldTags:
    """What a batch is learned from.

    tags: int64, (words, chains).
    weights: float32, (words, chains): how much each tag counts, its document's weight included.
    doc_weights: float32, (words,): the weight of each word's document. Losses are divided by
        these, so that they are weighted means over documents.
    packing: where the sequences lie.
    """

    tags: Tensor
    weights: Tensor
    doc_weights: Tensor
    packing: Packing


class TagLoss(Protocol):
    """How the scores of tags are learned from.

    uses_crf: whether it trains the transitions of a CRF.
    initial: where the parameters begin that the loss itself learns; empty where there are none.
    """

    uses_crf: bool
    initial: Tuple[float, ...]

    def __call__(self, scores: Potentials, gold: GoldTags, learned: Tensor) -> Tensor:
        """The loss, a 0-d tensor; 0 for a batch without words, or with weights that are all 0.

        scores: without a CRF the start, end and transition scores are 0.
        learned: the loss's own parameters, of the shape of ``initial``.
        """

    def values(self, learned: Tensor) -> Dict[str, float]:
        """What its own parameters say, by names for logs."""


class TokenCrossEntropy:
    """Cross-entropy of each word's tag on its own: a mean over words."""

    uses_crf = False
    initial: Tuple[float, ...] = ()

    def __call__(self, scores: Potentials, gold: GoldTags, learned: Tensor) -> Tensor:
        losses = torch.nn.functional.cross_entropy(
            scores.emissions.flatten(0, 1), gold.tags.flatten(), reduction="none"
        )
        return _mean(losses.view_as(gold.weights) * gold.weights, gold.doc_weights)

    def values(self, learned: Tensor) -> Dict[str, float]:
        return {}


class CrfLikelihood:
    """Negative log likelihood of the gold tag sequences in a conditional random field.

    It is the sum of what each word adds to it by the chain rule, the negative log probability of
    its tag given the tags before it, so that the weights of labels can act on words.

    per: "token", a mean over words, which compares with a cross-entropy; or "sequence", a mean
        over sequences, in which long ones weigh more.
    """

    uses_crf = True
    initial: Tuple[float, ...] = ()

    def __init__(self, per: Per):
        self.per = per

    def __call__(self, scores: Potentials, gold: GoldTags, learned: Tensor) -> Tensor:
        losses = -word_log_likelihoods(scores, gold.tags, gold.packing) * gold.weights
        if self.per == "token":
            return _mean(losses, gold.doc_weights)
        return _mean(losses, gold.doc_weights[gold.packing.first_word])

    def values(self, learned: Tensor) -> Dict[str, float]:
        return {}


class AdaptiveMix:
    """AdaBioBERT's mix alpha * cross-entropy + (1 - alpha) * CRF likelihood, and sound variants.

    mode: "learned", alpha is the sigmoid of a parameter that gradient descent moves, as in
        AdaBioBERT. It then moves towards the smaller of both losses: with ``per = "sequence"``
        nearly always the cross-entropy, so that alpha grows with the number of updates until the
        CRF learns no more; with ``per = "token"`` they compare. "bounded", the same within
        ``bounds``. "fixed". "uncertainty", each loss L is weighted by a learned variance exp(s),
        0.5 * exp(-s) * L + 0.5 * s (Kendall, Gal and Cipolla 2018); alpha is then the share of
        the cross-entropy in the sum of both weights. "gradnorm", alpha moves to where the weighted
        losses have gradients of like length, of the loss that has fallen less a longer one
        (GradNorm, Chen et al. 2018, equation 2): by the emissions, which both share, and with
        ``restoring`` as the exponent of the rates. A loss begins where all tags are alike.
    """

    uses_crf = True

    def __init__(
        self, mode: Mode, per: Per, alpha: float, bounds: Tuple[float, float], restoring: float
    ):
        self.mode = mode
        self.per = per
        self.restoring = restoring
        self.token, self.crf = TokenCrossEntropy(), CrfLikelihood(per)
        self.start = alpha
        self.low, self.high = bounds
        self.initial: Tuple[float, ...] = ()
        if mode == "uncertainty":
            self.initial = (-math.log(2 * alpha), -math.log(2 * (1.0 - alpha)))
        elif mode != "fixed":
            self.initial = (math.log((alpha - self.low) / (self.high - alpha)),)

    def __call__(self, scores: Potentials, gold: GoldTags, learned: Tensor) -> Tensor:
        both = torch.stack([loss(scores, gold, learned) for loss in (self.token, self.crf)])
        if self.mode == "uncertainty":
            anything = gold.doc_weights.sum() > 0  # else variances would shrink for nothing
            return 0.5 * ((-learned).exp() * both + learned * anything).sum()
        alpha = self.alpha(learned)
        if self.mode == "gradnorm" and scores.emissions.requires_grad:
            balance = self._imbalance(both, alpha, scores.emissions, gold)
            # The value of the mix, whose gradient leaves alpha to the balance
            fixed = alpha.detach()
            return fixed * both[0] + (1.0 - fixed) * both[1] + balance - balance.detach()
        return alpha * both[0] + (1.0 - alpha) * both[1]

    def _imbalance(self, both: Tensor, alpha: Tensor, emissions: Tensor, gold: GoldTags) -> Tensor:
        """GradNorm's loss of the weights, a 0-d tensor."""
        gradients = [torch.autograd.grad(x, emissions, retain_graph=True)[0].norm() for x in both]
        norms = torch.stack([alpha, 1.0 - alpha]) * torch.stack(gradients)
        with torch.no_grad():
            rates = both / self._beginnings(emissions, gold)
            rates = (rates / rates.mean().clamp(min=1e-12)) ** self.restoring
            target = norms.mean() * rates
        return (norms - target).abs().sum()

    def _beginnings(self, emissions: Tensor, gold: GoldTags) -> Tensor:
        """Both losses where all tags have the same score: (2,)."""
        alike = math.log(emissions.shape[-1]) * emissions.shape[1]
        crf = gold.doc_weights.new_tensor(alike)
        if self.per == "sequence":
            crf = _mean(gold.doc_weights * alike, gold.doc_weights[gold.packing.first_word])
        return torch.stack([torch.full_like(crf, alike), crf]).clamp(min=1e-12)

    def alpha(self, learned: Tensor) -> Tensor:
        """The weight of the cross-entropy, a 0-d tensor."""
        if self.mode == "fixed":
            return torch.tensor(self.start, device=learned.device)
        if self.mode == "uncertainty":
            return (learned[1] - learned[0]).sigmoid()
        return self.low + (self.high - self.low) * learned[0].sigmoid()

    def values(self, learned: Tensor) -> Dict[str, float]:
        return {"alpha": float(self.alpha(learned.detach()))}


def TokenCrossEntropy_v1() -> TagLoss:
    """Create the loss ``spacy_bioie.TokenCrossEntropy.v1``, for the decoder "argmax"."""
    return TokenCrossEntropy()


def CrfLikelihood_v1(per: Per = "token") -> TagLoss:
    """Create the loss ``spacy_bioie.CrfLikelihood.v1``, for the decoder "crf"; see there.

    Raises ValueError for an unknown ``per``.
    """
    if per not in ("token", "sequence"):
        raise ValueError(f"CrfLikelihood: per is {per!r}, expected 'token' or 'sequence'.")
    return CrfLikelihood(per)


def AdaptiveMix_v1(
    mode: Mode = "learned",
    per: Per = "token",
    alpha: float = 0.5,
    bounds: Sequence[float] = (0.1, 0.9),
    restoring: float = 1.5,
) -> TagLoss:
    """Create the loss ``spacy_bioie.AdaptiveMix.v1``, for the decoder "crf"; see ``AdaptiveMix``.

    mode: what moves alpha: "learned", "bounded", "uncertainty", "gradnorm"; or "fixed".
    per: of the CRF likelihood, see ``CrfLikelihood``. AdaBioBERT has "sequence".
    alpha: the weight of the cross-entropy, at the start where it is learned.
    bounds: lowest and highest alpha in the mode "bounded".
    restoring: at least 0, how strongly the mode "gradnorm" favours the loss that has fallen less.

    Its parameter is called "loss_alpha": ``spacy_bioie.LayeredAdam.v1`` can give it a rate of its
    own. Raises ValueError where a setting has none of these values.
    """
    if mode not in ("learned", "fixed", "bounded", "uncertainty", "gradnorm"):
        raise ValueError(
            f"AdaptiveMix: mode is {mode!r}, expected 'learned', 'fixed', 'bounded', "
            "'uncertainty' or 'gradnorm'."
        )
    if restoring < 0.0:
        raise ValueError(f"AdaptiveMix: restoring is {restoring}, expected at least 0.")
    if per not in ("token", "sequence"):
        raise ValueError(f"AdaptiveMix: per is {per!r}, expected 'token' or 'sequence'.")
    if len(bounds) != 2 or not 0.0 <= bounds[0] < bounds[1] <= 1.0:
        raise ValueError(
            f"AdaptiveMix: bounds are {list(bounds)}, expected two ascending numbers between 0 "
            "and 1."
        )
    low, high = (bounds[0], bounds[1]) if mode == "bounded" else (0.0, 1.0)
    if not low < alpha < high:
        raise ValueError(
            f"AdaptiveMix: alpha is {alpha}, expected one above {low} and below {high}."
        )
    return AdaptiveMix(mode, per, alpha, (low, high), restoring)


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Sum of losses over sum of weights; 0 where there is no weight."""
    total = weights.sum()
    return losses.sum() / torch.where(total > 0, total, 1.0)
