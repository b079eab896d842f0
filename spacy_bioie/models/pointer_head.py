"""What is learned from the scores of spans, and which spans are found."""

import sys
from dataclasses import dataclass, replace
from typing import Any, Iterable, List, Literal, Optional, Sequence, Tuple

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d
from thinc.util import torch2xp, xp2torch

from ..annotation import MentionTable
from .nesting import select_nested
from .pointer_losses import GoldSpans, PointerLoss, binary_cross_entropy, zlpr
from .pointer_module import pointer_module
from .span_head import GoldBatch, ScoredSpans, split_by_document
from .tagging import WordSequences, select_flat, word_sequences

Overlap = Literal["any", "nested", "flat"]


@dataclass(frozen=True)
class PointerScores:
    """The output of ``SpanPointer.v1`` and, with an array of the same shape, its gradient.

    words: the sequences whose spans are scored.
    logits: float32, (words, widths, labels): of the span that begins with the word and has one
        word more than the index; minus infinity where it would leave its sequence.
    temperature: what logits are divided by before they become probabilities.
    """

    words: WordSequences
    logits: Floats3d
    temperature: float = 1.0


class PointerHead:
    """Loss and decoding of span scores, see ``span_head.SpanHead``."""

    def __init__(self, max_width: int, loss: PointerLoss, overlap: Overlap, min_score: float):
        self.max_width = max_width
        self.loss_name = loss
        self.overlap = overlap
        self.min_score = min_score

    @property
    def limits(self) -> str:
        return (
            f"are wider than {self.max_width} words (max_width), lie across two sections or hold "
            "only white space"
        )

    def sequences(self, docs: Sequence[Doc]) -> WordSequences:
        return word_sequences(docs, sys.maxsize)  # sections, however long

    def prepare(self, model: Model, batches: Iterable[GoldBatch]) -> int:
        """Give the model the log odds of the training documents' labels, for each width.

        Nearly all spans are no mention, which is then known from the first step on.
        """
        module = pointer_module(model.get_ref("head"))
        mentions = numpy.zeros((self.max_width, module.n_labels), dtype="int64")
        candidates = numpy.zeros((self.max_width,), dtype="int64")
        lost = 0
        for docs, gold in batches:
            words = self.sequences(docs)
            cells, kept = gold_cells(words, gold, self.max_width)
            numpy.add.at(mentions, (cells[:, 1], cells[:, 2]), 1)
            widest = numpy.minimum(room(words), self.max_width)
            # a word with room for n begins a span of each width up to n
            of_width = numpy.bincount(widest, minlength=self.max_width + 1)[1:]
            candidates += of_width[::-1].cumsum()[::-1]
            lost += sum(int((~mask).sum()) for mask in kept)
        module.set_frequencies(mentions, candidates)
        return lost

    def loss(
        self,
        output: PointerScores,
        gold: Sequence[MentionTable],
        weight: float = 1.0,
        *,
        doc_weights: Optional[numpy.ndarray] = None,
        label_weights: Optional[numpy.ndarray] = None,
    ) -> Tuple[float, PointerScores]:
        """Binary cross-entropy ("bce") or the loss of Global Pointer ("zlpr"), per word.

        A label's weight counts for the spans that are its mentions; all others have the weight 1.
        """
        scores = xp2torch(output.logits).detach().requires_grad_()
        target = self._gold_spans(output, gold, doc_weights, label_weights, scores.device)
        with torch.enable_grad():
            loss = self.mean_loss(scores, target)
            (gradient,) = torch.autograd.grad(loss * weight, [scores])
        d_logits: Any = torch2xp(gradient.contiguous())
        return float(loss.detach()), replace(output, logits=d_logits)

    def mean_loss(self, scores: torch.Tensor, gold: GoldSpans) -> torch.Tensor:
        """See ``pointer_losses``."""
        return (binary_cross_entropy if self.loss_name == "bce" else zlpr)(scores, gold)

    def decode(self, output: PointerScores) -> List[ScoredSpans]:
        """The spans whose probability is at least ``min_score`` and that may stand together.

        Better spans are chosen before worse ones, so that a threshold on what is returned leaves
        the same spans as a ``min_score`` of that height.
        """
        return self.rescore(output, output.temperature)

    def rescore(self, output: PointerScores, temperature: float) -> List[ScoredSpans]:
        """The spans of ``decode`` with scores at another temperature."""
        words = output.words
        logits = xp2torch(output.logits)
        with torch.no_grad():
            candidates = (logits / output.temperature).sigmoid() >= self.min_score
            cells = candidates.nonzero(as_tuple=True)
            found = logits[cells]
            scores = (found / temperature).sigmoid().cpu().numpy()
            ranking = found.argsort(descending=True, stable=True).cpu().numpy()
        first, width, labels = (column.cpu().numpy() for column in cells)
        last = first + width + 1
        if self.overlap != "any":
            select = select_nested if self.overlap == "nested" else select_flat
            chosen = select(first, last, ranking)
            first, last, labels, scores = (x[chosen] for x in (first, last, labels, scores))
        doc = words.doc_of_word[first]
        spans = ScoredSpans(
            starts=words.token_rows[first] - words.doc_starts[doc],
            ends=words.token_rows[last - 1] + 1 - words.doc_starts[doc],
            labels=labels,
            scores=scores,
        )
        return split_by_document(doc, len(words.doc_lengths), spans)

    def _gold_spans(
        self,
        output: PointerScores,
        gold: Sequence[MentionTable],
        doc_weights: Optional[numpy.ndarray],
        label_weights: Optional[numpy.ndarray],
        device: torch.device,
    ) -> GoldSpans:
        words = output.words
        cells, _ = gold_cells(words, gold, self.max_width)
        docs = numpy.ones(len(gold)) if doc_weights is None else doc_weights
        labels = numpy.ones(output.logits.shape[2]) if label_weights is None else label_weights
        word, width, label = torch.from_numpy(cells).to(device).unbind(dim=1)
        return GoldSpans(
            cells=(word, width, label),
            sequence=torch.from_numpy(words.sequence_of_word).to(device),
            doc_weights=torch.from_numpy(docs[words.doc_of_word].astype("float32")).to(device),
            label_weights=torch.from_numpy(labels.astype("float32")).to(device),
        )


def room(words: WordSequences) -> numpy.ndarray:
    """Words from each one to the end of its sequence, itself included: int64, (words,)."""
    ends = numpy.cumsum(words.lengths)
    return ends[words.sequence_of_word] - numpy.arange(len(words.token_rows))


def gold_cells(
    words: WordSequences, gold: Sequence[MentionTable], max_width: int
) -> Tuple[numpy.ndarray, List[numpy.ndarray]]:
    """Turn mentions into cells of the scores.

    gold: one mention table for each document, with label indices of 0 and above.
    RETURNS: int64, (cells, 3), all different: first word, width in words less one, label; and for
        each document a bool array of shape (mentions,): False for a mention without a word, across
        two sequences or wider than ``max_width`` words.
    Raises ValueError where the documents of ``words`` and ``gold`` differ in number, and where a
    mention ends behind its document.
    """
    counts = [len(table) for table in gold]
    if len(gold) != len(words.doc_lengths):
        raise ValueError(
            f"Mentions of {len(gold)} documents for {len(words.doc_lengths)} documents of words."
        )
    starts, ends, labels = numpy.concatenate([numpy.zeros((0, 3), dtype="int64"), *gold]).T
    doc = numpy.repeat(numpy.arange(len(gold)), counts)
    outside = (ends > words.doc_lengths[doc]) | (starts < 0)
    if outside.any():
        row = int(numpy.flatnonzero(outside)[0])
        raise ValueError(
            f"Document {int(doc[row])} of the batch: a mention covers tokens {starts[row]} to "
            f"{ends[row]}, but it has {int(words.doc_lengths[doc[row]])} tokens."
        )
    first = words.words_before[words.doc_starts[doc] + starts]
    last = words.words_before[words.doc_starts[doc] + ends]
    kept = (last > first) & (last - first <= max_width)
    # the word after the last one counts as having no room: a mention of white space begins there
    kept &= last - first <= numpy.append(room(words), 0)[first]
    cells = numpy.column_stack([first, last - first - 1, labels])[kept]
    parts = numpy.split(kept, numpy.cumsum(counts)[:-1]) if counts else []
    return numpy.unique(cells, axis=0), parts
