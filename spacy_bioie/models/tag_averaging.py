"""Averages of what several taggers say of the same words, as scores for one decoding."""

from dataclasses import replace
from typing import Any, List, Sequence, Tuple

import torch
from thinc.util import torch2xp
from torch import Tensor

from .tag_schemes import BEGIN, END, INSIDE, N_ROLES, SINGLE, Scheme
from .tagger_head import TaggerHead, TagScores
from .tagger_module import Chains


def average_emissions(
    outputs: Sequence[TagScores],
    head: TaggerHead,
    weights: Sequence[float],
    orders: Sequence[List[int]],
) -> TagScores:
    """The mean of emissions, and of start, transition and end scores.

    outputs: of taggers with the settings of ``head``. weights: sum up to 1.
    orders: for each output, the places of the joint labels among its own.
    """
    totals: List[Any] = []
    for output, weight, order in zip(outputs, weights, orders, strict=True):
        chains, tags = _places(order, head.chains, head.scheme)
        arrays = [output.emissions[:, chains][:, :, tags]]
        if output.crf:
            start, transitions, end = (array[chains][:, tags] for array in output.crf)
            arrays += [start, transitions[:, :, tags], end]
        arrays = [array / output.temperature * weight for array in arrays]
        totals = [a + b for a, b in zip(totals, arrays, strict=True)] if totals else arrays
    return replace(outputs[0], emissions=totals[0], crf=tuple(totals[1:]), learned=())


def average_probabilities(
    outputs: Sequence[TagScores],
    heads: Sequence[TaggerHead],
    joint: TaggerHead,
    weights: Sequence[float],
    orders: Sequence[List[int]],
) -> TagScores:
    """Scores whose probabilities are the means of the probabilities of each word's tags.

    joint: what ``head_of_probabilities`` made of the heads. A CRF of its has no other scores than
        the bars on illegal steps.
    """
    words, n_labels = outputs[0].words, outputs[0].n_labels
    parts = []
    for output, head, weight, order in zip(outputs, heads, weights, orders, strict=True):
        roles = _role_probabilities(head.tag_probabilities(output), n_labels, head.scheme)
        parts.append(weight * _in_scheme(roles, head.scheme, joint.scheme)[:, order])
    roles = torch.stack(parts).sum(dim=0)
    n_chains = 1 if joint.chains == "joint" else n_labels
    roles = roles.reshape(len(roles), n_chains, n_labels // n_chains * N_ROLES[joint.scheme])
    tags = torch.cat([1.0 - roles.sum(dim=-1, keepdim=True), roles], dim=-1)
    emissions: Any = torch2xp(tags.clamp(min=torch.finfo(tags.dtype).tiny).log())
    shape = emissions.shape[1:]
    crf: Tuple[Any, ...] = ()
    if joint.decoder == "crf":
        free = tags.new_zeros((*shape, shape[-1]))
        crf = (torch2xp(free[..., 0]), torch2xp(free), torch2xp(free[..., 0]))
    return TagScores(words, n_labels, emissions, crf)


def head_of_probabilities(heads: Sequence[TaggerHead]) -> TaggerHead:
    """The head that reads averaged probabilities: what all its members can be turned into."""
    first = heads[0]
    chains: Chains = "joint" if all(head.chains == "joint" for head in heads) else "per_label"
    scheme: Scheme = "BIOES" if all(head.scheme == "BIOES" for head in heads) else "BIO"
    crf = any(head.decoder == "crf" for head in heads)
    longest = max(head.max_length for head in heads)
    return TaggerHead(chains, "crf" if crf else "argmax", scheme, first.tag_loss, longest)


def _places(order: List[int], chains: Chains, scheme: Scheme) -> Tuple[List[int], List[int]]:
    """The chains and the tags of a tagger in the order of the joint labels."""
    roles = range(N_ROLES[scheme])
    if chains == "joint":
        return [0], [0, *(1 + len(roles) * label + role for label in order for role in roles)]
    return order, [0, *(1 + role for role in roles)]


def _role_probabilities(tags: Tensor, n_labels: int, scheme: Scheme) -> Tensor:
    """From probabilities of tags, (words, chains, tags), to (words, labels, roles)."""
    return tags[:, :, 1:].reshape(len(tags), n_labels, N_ROLES[scheme])


def _in_scheme(roles: Tensor, scheme: Scheme, target: Scheme) -> Tensor:
    if scheme == target:
        return roles
    begin = roles[..., BEGIN] + roles[..., SINGLE]
    return torch.stack([begin, roles[..., INSIDE] + roles[..., END]], dim=-1)
