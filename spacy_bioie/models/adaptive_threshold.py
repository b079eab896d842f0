"""The adaptive-threshold loss of ATLOP (Zhou et al., AAAI 2021, section 3.2), in torch."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def adaptive_threshold_loss(
    logits: Tensor, targets: Tensor, legal: Tensor, weights: Tensor
) -> Tensor:
    """The loss of each pair: gold predicates have to beat a threshold class TH, others to stay
    under it.

    With the gold predicates P and the other legal ones N of a pair, and its logits l,

        L1 = -sum_{r in P} log(exp(l_r) / (sum_{r' in P} exp(l_r') + exp(l_TH)))
        L2 = -log(exp(l_TH) / (sum_{r' in N} exp(l_r') + exp(l_TH)))

    and the loss is L1 + L2. Dividing numerator and denominator of each fraction by exp(l_TH)
    changes none of them and turns every l into l - l_TH, and l_TH into 0: so the differences to
    the threshold are all that the loss needs, and it is computed from them exactly.

    logits: float, (pairs, predicates): l_r - l_TH, so that 0 is the threshold.
    targets: bool, (pairs, predicates): the gold predicates.
    legal: bool, (pairs, predicates): illegal predicates are in neither P nor N.
    weights: float, (predicates,): factor on the summand of each gold predicate in L1.
    RETURNS: float, (pairs,).
    """
    gold, others = targets & legal, ~targets & legal
    above = ((_log_sum(logits, gold)[:, None] - logits) * weights).masked_fill(~gold, 0.0)
    return above.sum(dim=1) + _log_sum(logits, others)


def _log_sum(logits: Tensor, members: Tensor) -> Tensor:
    """log(exp(0) + sum of exp(logits) over the members of each row): (pairs, n) to (pairs,)."""
    return torch.logsumexp(pad(logits.masked_fill(~members, float("-inf")), (1, 0)), dim=1)
