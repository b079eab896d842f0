"""Linear-chain conditional random fields over packed batches, in torch.

After Lafferty, McCallum and Pereira (2001), "Conditional Random Fields"; the recursions are those
of Rabiner (1989), "A Tutorial on Hidden Markov Models", in log space. Many chains share one call:
emissions have the shape (words, chains, tags), and each chain has transitions of its own.

Sequences of different lengths are not padded. Their steps are packed by time, longest sequence
first: the rows of step ``t`` are the words ``t`` of all sequences longer than ``t``. The only
Python loop is over time steps, and the cost is that of the real words.
"""

from dataclasses import dataclass
from typing import List, NamedTuple, Tuple

import numpy
import torch
from torch import Tensor

from .tag_schemes import BEGIN, END, INSIDE, N_ROLES, SINGLE, Scheme, legal_steps


class Potentials(NamedTuple):
    """The scores of a conditional random field; an illegal step has the score -inf.

    emissions: (words, chains, tags), sequences one after the other.
    start, end: (chains, tags), of the first and the last tag of a sequence.
    transitions: (chains, tags, tags), from the tag of the second to the tag of the third axis.
    """

    emissions: Tensor
    start: Tensor
    transitions: Tensor
    end: Tensor


@dataclass(frozen=True)
class Packing:
    """Where the words of a batch lie in time-major order.

    rows: int64, (words,): for each packed row the word it holds.
    sizes: rows of each time step, never growing.
    last: int64, (sequences,): packed row of each sequence's last word.
    first_word, last_word: int64, (sequences,): the words at the ends of each sequence.
    sequence: int64, (words,): the sequence of each word.

    Sequences are numbered as they came, not by length.
    """

    rows: Tensor
    sizes: List[int]
    last: Tensor
    first_word: Tensor
    last_word: Tensor
    sequence: Tensor

    @property
    def n_sequences(self) -> int:
        return len(self.first_word)


def pack(lengths: numpy.ndarray, device: torch.device) -> Packing:
    """Lay out sequences of these lengths, int64 of shape (sequences,), all at least 1."""
    ends = numpy.cumsum(lengths)
    order = numpy.argsort(-lengths, kind="stable")
    rank = numpy.argsort(order, kind="stable")
    sequence = numpy.repeat(numpy.arange(len(lengths)), lengths)
    time = numpy.arange(len(sequence)) - (ends - lengths)[sequence]
    sizes = numpy.bincount(time) if len(time) else numpy.zeros(0, dtype="int64")
    offsets = numpy.cumsum(sizes) - sizes
    packed_row = offsets[time] + rank[sequence]
    rows = numpy.empty_like(packed_row)
    rows[packed_row] = numpy.arange(len(rows))

    def tensor(array: numpy.ndarray) -> Tensor:
        return torch.from_numpy(array.astype("int64")).to(device)

    return Packing(
        rows=tensor(rows),
        sizes=[int(size) for size in sizes],
        last=tensor(packed_row[ends - 1]),
        first_word=tensor(ends - lengths),
        last_word=tensor(ends - 1),
        sequence=tensor(sequence),
    )


def mask_illegal(
    start: Tensor, transitions: Tensor, end: Tensor, scheme: Scheme = "BIO"
) -> Tuple[Tensor, Tensor, Tensor]:
    """Give -inf to what the tag scheme forbids.

    start, end: (chains, tags); transitions: (chains, tags, tags).
    """
    legal = legal_steps(start.shape[-1], scheme)

    def mask(scores: Tensor, allowed: numpy.ndarray) -> Tensor:
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

    return (
        mask(start, legal.start),
        mask(transitions, legal.transitions),
        mask(end, legal.end),
    )


def word_log_likelihoods(crf: Potentials, tags: Tensor, packing: Packing) -> Tensor:
    """Log probability of each word's gold tag, given the gold tags before it and the text.

    By the chain rule these sum up to the log likelihood of a sequence. Differentiable in all
    potentials.

    tags: int64, (words, chains). RETURNS: (words, chains).
    """
    chains = torch.arange(tags.shape[1], device=tags.device)
    after = unpack(backward_scores(crf, packing), packing) + crf.emissions
    first = torch.zeros(len(tags), dtype=torch.bool, device=tags.device)
    first[packing.first_word] = True
    into = crf.transitions[chains, tags.roll(1, 0)]
    into = torch.where(first[:, None, None], crf.start, into)
    return (into + after).log_softmax(dim=-1).gather(2, tags[:, :, None])[:, :, 0]


def log_likelihood(crf: Potentials, tags: Tensor, packing: Packing) -> Tensor:
    """Log probability of the gold tags, differentiable in all potentials.

    tags: int64, (words, chains). RETURNS: (sequences, chains).
    """
    words = word_log_likelihoods(crf, tags, packing)
    return words.new_zeros((packing.n_sequences, tags.shape[1])).index_add(
        0, packing.sequence, words
    )


def log_partition(crf: Potentials, packing: Packing, forward: Tensor) -> Tensor:
    """Log of the summed exponentiated scores of all tag sequences: (sequences, chains).

    forward: what ``forward_scores`` returned.
    """
    return torch.logsumexp(forward[packing.last] + crf.end, dim=-1)


def forward_scores(crf: Potentials, packing: Packing) -> Tensor:
    """Log sum over all beginnings that end in a tag, that word's emission included.

    RETURNS: packed rows, (words, chains, tags).
    """
    steps = crf.emissions[packing.rows].split(packing.sizes)
    into = crf.transitions.transpose(1, 2)  # so that the sum runs over the last axis
    scores: List[Tensor] = []
    for t, emissions in enumerate(steps):
        if t == 0:
            scores.append(crf.start + emissions)
        else:
            before = scores[-1][: len(emissions), :, None, :]
            scores.append(torch.logsumexp(before + into, dim=-1) + emissions)
    return torch.cat(scores) if scores else crf.emissions


def backward_scores(crf: Potentials, packing: Packing) -> Tensor:
    """Log sum over all continuations of a tag, that word's emission left out.

    RETURNS: packed rows, (words, chains, tags).
    """
    steps = crf.emissions[packing.rows].split(packing.sizes)
    scores: List[Tensor] = []
    for t in reversed(range(len(steps))):
        ending = packing.sizes[t] - (len(scores[-1]) if scores else 0)
        step = crf.end.expand(ending, *crf.end.shape)
        if scores:
            after = (scores[-1] + steps[t + 1])[:, :, None, :]
            step = torch.cat([torch.logsumexp(crf.transitions + after, dim=-1), step])
        scores.append(step)
    return torch.cat(scores[::-1]) if scores else crf.emissions


def viterbi(crf: Potentials, packing: Packing) -> Tensor:
    """The best tags (Viterbi 1967). RETURNS: int64, (words, chains)."""
    steps = crf.emissions[packing.rows].split(packing.sizes)
    into = crf.transitions.transpose(1, 2)
    pointers: List[Tensor] = []
    ended: List[Tensor] = []  # best last tags of the sequences that end before each step
    scores = crf.emissions
    for t, emissions in enumerate(steps):
        if t == 0:
            scores = crf.start + emissions
            continue
        going_on = len(emissions)
        ended.append((scores[going_on:] + crf.end).argmax(dim=-1))
        best, pointer = (scores[:going_on, :, None, :] + into).max(dim=-1)
        pointers.append(pointer)
        scores = best + emissions
    if not steps:
        return crf.emissions.new_zeros(crf.emissions.shape[:2], dtype=torch.int64)
    tags = [(scores + crf.end).argmax(dim=-1)]
    for pointer, last in zip(reversed(pointers), reversed(ended), strict=True):
        before = pointer.gather(-1, tags[-1][:, :, None])[:, :, 0]
        tags.append(torch.cat([before, last]))
    return unpack(torch.cat(tags[::-1]), packing)


def tag_log_probabilities(crf: Potentials, packing: Packing) -> Tensor:
    """Log marginal probability of each word's tags. RETURNS: (words, chains, tags)."""
    scores = forward_scores(crf, packing) + backward_scores(crf, packing)
    return unpack(scores.log_softmax(dim=-1), packing)


def unpack(packed: Tensor, packing: Packing) -> Tensor:
    """Put packed rows back into the order of the words."""
    out = torch.empty_like(packed)
    out[packing.rows] = packed
    return out


def span_log_probabilities(
    crf: Potentials,
    packing: Packing,
    first: Tensor,
    last: Tensor,
    chain: Tensor,
    label: Tensor,
    scheme: Scheme = "BIO",
) -> Tensor:
    """Log marginal probability that a span of this label covers exactly these words.

    That is the sum over all tag sequences of the chain in which the words have the label's tags
    of one span: B and then I, after which in BIO comes another tag than I; in BIOES S, or B, I and
    E.

    first, last (exclusive), chain, label (within its chain): int64, (spans,); a span lies within
        one sequence.
    RETURNS: (spans,), at most 0.
    """
    forward = forward_scores(crf, packing)
    log_z = log_partition(crf, packing, forward)
    forward = unpack(forward, packing)
    backward = unpack(backward_scores(crf, packing), packing)

    n_roles = N_ROLES[scheme]
    begin, inside = (1 + n_roles * label + role for role in (BEGIN, INSIDE))
    length = last - first
    if scheme == "BIO":
        opening, closing = begin, torch.where(length > 1, inside, begin)
        end = inside
    else:
        end, single = (1 + n_roles * label + role for role in (END, SINGLE))
        opening = torch.where(length > 1, begin, single)
        closing = torch.where(length > 1, end, single)
    # I emissions of the words between the first and the last, as differences of running sums
    sums = crf.emissions[:, :, 1 + INSIDE :: n_roles].double().cumsum(dim=0)
    between = sums[(last - 2).clamp(min=0), chain, label] - sums[first, chain, label]
    within = between.to(forward.dtype) + crf.emissions[last - 1, chain, closing]
    within = within + (length - 3).clamp(min=0) * crf.transitions[chain, inside, inside]
    steps = crf.transitions[chain, begin, inside] + crf.transitions[chain, inside, end]
    within = within + torch.where(length > 2, steps, crf.transitions[chain, begin, end])
    within = torch.where(length > 1, within, torch.zeros_like(within))

    after = backward[last - 1, chain, closing]
    if scheme == "BIO":  # a word after the span must not go on with it
        n_words = len(crf.emissions)
        following = last.clamp(max=max(n_words - 1, 0))
        goes_on = (last < n_words) & (packing.sequence[following] == packing.sequence[first])
        leaving = crf.transitions[chain, closing]
        leaving = leaving + backward[following, chain] + crf.emissions[following, chain]
        leaving = leaving.scatter(1, inside[:, None], -torch.inf)
        after = torch.where(goes_on, torch.logsumexp(leaving, dim=-1), after)
    log_p = forward[first, chain, opening] + within + after
    return (log_p - log_z[packing.sequence[first], chain]).clamp(max=0.0)
