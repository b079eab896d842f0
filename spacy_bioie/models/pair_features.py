"""What a pair of mentions has besides words: distance, order, sentences, sections."""

from typing import Sequence

import numpy
import torch
from spacy.tokens import Doc
from torch import Tensor

from ..annotation import section_token_ranges
from .candidates import PairCandidates

N_PAIR_FEATURES = 10


def mention_positions(docs: Sequence[Doc], candidates: PairCandidates) -> numpy.ndarray:
    """Place the mentions of a batch in the concatenated tokens of its documents.

    RETURNS: int64, (mentions, 8): first token, last token + 1, label, sentence, section,
        whether the sentences of the document are known (1 or 0), and the first token and the last
        token + 1 of the document. Sentence and section are those of the first token, counted in
        their own document; without sentences, 0.
    """
    lengths = numpy.asarray([len(doc) for doc in docs], dtype="int64")
    doc_starts = numpy.cumsum(lengths) - lengths
    first_tokens = doc_starts[candidates.mention_docs]
    starts = candidates.mentions[:, 0] + first_tokens
    ends = candidates.mentions[:, 1] + first_tokens
    known = numpy.asarray([doc.has_annotation("SENT_START") for doc in docs], dtype="int64")
    sentences = [_sentences(doc) for doc in docs]
    sections = [_sections(doc) for doc in docs]
    nothing = numpy.zeros(0, dtype="int64")
    return numpy.stack(
        [
            starts,
            ends,
            candidates.mentions[:, 2],
            numpy.concatenate([nothing, *sentences])[starts],
            numpy.concatenate([nothing, *sections])[starts],
            known[candidates.mention_docs],
            first_tokens,
            first_tokens + lengths[candidates.mention_docs],
        ],
        axis=1,
    )


def gaps_between(heads: Tensor, tails: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens between the mentions of each pair.

    heads, tails: int64, (pairs, 8), see ``mention_positions``.
    RETURNS: first token and last token + 1 of the gap, int64, (pairs,); both are the same where
        the mentions touch, overlap or nest.
    """
    first = torch.minimum(heads[:, 1], tails[:, 1])
    end = torch.maximum(heads[:, 0], tails[:, 0])
    return first, torch.maximum(first, end)


def surroundings(heads: Tensor, tails: Tensor, width: int) -> tuple[Tensor, ...]:
    """The tokens before the first and after the last mention of each pair, in their document.

    heads, tails: int64, (pairs, 8), see ``mention_positions``. width: so many on each side.
    RETURNS: first token and last token + 1 of those before, and of those after: int64, (pairs,).
    """
    first = torch.minimum(heads[:, 0], tails[:, 0])
    last = torch.maximum(heads[:, 1], tails[:, 1])
    before = torch.maximum(first - width, heads[:, 6])
    after = torch.minimum(last + width, heads[:, 7])
    return before, first, last, after


def pair_features(heads: Tensor, tails: Tensor) -> Tensor:
    """Numbers that describe where the mentions of each pair stand to each other.

    heads, tails: int64, (pairs, 8), see ``mention_positions``.
    RETURNS: float32, (pairs, N_PAIR_FEATURES): logarithm of 1 + tokens between them, the same
        with the sign of the order, the order (1: the head begins first or with the tail, -1: the
        tail does), whether they touch or overlap, whether they overlap, logarithm of 1 + sentence
        borders between them, the same with the sign, whether they share a sentence, whether
        sentences are known (the three before are 0 where not), whether they share a section.
    """
    first, end = gaps_between(heads, tails)
    distance = (end - first).float().log1p()
    order = torch.where(tails[:, 0] >= heads[:, 0], 1.0, -1.0)
    touches = (end == first).float()
    overlaps = (torch.maximum(heads[:, 0], tails[:, 0]) < first).float()
    known = heads[:, 5].float()
    apart = (tails[:, 3] - heads[:, 3]).abs().float()
    borders = apart.log1p() * known
    same_sentence = (apart == 0).float() * known
    same_section = (heads[:, 4] == tails[:, 4]).float()
    columns = [
        distance,
        distance * order,
        order,
        touches,
        overlaps,
        borders,
        borders * order,
        same_sentence,
        known,
        same_section,
    ]
    return torch.stack(columns, dim=1)


def _sentences(doc: Doc) -> numpy.ndarray:
    if not doc.has_annotation("SENT_START"):
        return numpy.zeros(len(doc), dtype="int64")
    return numpy.cumsum(doc.to_array("SENT_START") == 1, dtype="int64")


def _sections(doc: Doc) -> numpy.ndarray:
    ranges = numpy.asarray(section_token_ranges(doc), dtype="int64").reshape((-1, 2))
    return numpy.repeat(numpy.arange(len(ranges)), ranges[:, 1] - ranges[:, 0])
