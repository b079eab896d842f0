"""What is learned from the scores of tags, and which spans they stand for."""

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats3d
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from ..annotation import MentionTable
from .crf import (
    Potentials,
    mask_illegal,
    pack,
    span_log_probabilities,
    tag_log_probabilities,
    viterbi,
)
from .losses import GoldTags, TagLoss
from .span_head import GoldBatch, ScoredSpans, split_by_document
from .tag_schemes import END, INSIDE, N_ROLES, Scheme, may_go_on
from .tagger_module import Arrays, Chains, Decoder, tagger_module
from .tagging import (
    TaggedSpans,
    WordSequences,
    count_tags,
    decode_tags,
    encode_spans,
    label_weights_of_tags,
    word_sequences,
)


@dataclass(frozen=True)
class TagScores:
    """The output of ``SpanTagger.v1`` and, with arrays of the same shapes, its gradient.

    words: the sequences that are tagged.
    n_labels: labels over all chains.
    emissions: float32, (words, chains, tags).
    crf: start (chains, tags), transitions (chains, tags, tags) and end (chains, tags) scores;
        empty for the decoder "argmax".
    learned: the parameters of the loss; empty where it has none.
    temperature: what scores are divided by before they become probabilities.
    """

    words: WordSequences
    n_labels: int
    emissions: Floats3d
    crf: Arrays = ()
    learned: Arrays = ()
    temperature: float = 1.0


class TaggerHead:
    """Loss and decoding of tag scores, see ``span_head.SpanHead``."""

    def __init__(
        self, chains: Chains, decoder: Decoder, scheme: Scheme, loss: TagLoss, max_length: int
    ):
        self.chains = chains
        self.decoder = decoder
        self.scheme = scheme
        self.tag_loss = loss
        self.max_length = max_length

    @property
    def limits(self) -> str:
        which = "overlap a longer one%s, lie across two sections or hold only white space"
        if self.chains == "joint":
            return which % "" + ' (with chains = "per_label" spans of different labels may overlap)'
        return which % " of the same label"

    def sequences(self, docs: Sequence[Doc]) -> WordSequences:
        return word_sequences(docs, self.max_length)

    def prepare(self, model: Model, batches: Iterable[GoldBatch]) -> int:
        """Give the model the log frequencies of the training documents' tags to start from.

        A CRF starts from those of first tags and of transitions, a head without one from those of
        tags. What is common is then known from the first step on, which neither a small learning
        rate nor a short training can make up for.
        """
        module = tagger_module(model.get_ref("head"))
        n_chains, n_tags = module.shape
        counts = [numpy.ones((n_chains, n_tags)), numpy.ones((n_chains, n_tags))]
        counts.append(numpy.ones((n_chains, n_tags, n_tags)))  # each once more than seen
        lost = 0
        for docs, gold in batches:
            words = self.sequences(docs)
            tags, kept = encode_spans(words, gold, module.n_labels, n_chains, self.scheme)
            lost += sum(int((~mask).sum()) for mask in kept)
            for total, seen in zip(counts, count_tags(words, tags, n_tags), strict=True):
                total += seen
        module.set_frequencies(*counts)
        return lost

    def loss(
        self,
        output: TagScores,
        gold: Sequence[MentionTable],
        weight: float = 1.0,
        *,
        doc_weights: Optional[numpy.ndarray] = None,
        label_weights: Optional[numpy.ndarray] = None,
    ) -> Tuple[float, TagScores]:
        """The loss of the tags, see ``losses``.

        A label's weight counts for the tags of its mentions; O has the weight 1.
        """
        arrays = (output.emissions, *output.crf, *output.learned)
        leaves = [xp2torch(x).detach().requires_grad_() for x in arrays]
        target = self._gold_tags(output, gold, doc_weights, label_weights, leaves[0].device)
        n_scores = len(arrays) - len(output.learned)
        with torch.enable_grad():
            learned = leaves[-1] if output.learned else leaves[0].new_zeros(0)
            loss = self.tag_loss(self._potentials(leaves[:n_scores]), target, learned)
            gradient = torch.autograd.grad(
                loss * weight, leaves, allow_unused=True, materialize_grads=True
            )
        d_emissions: Any
        d_emissions, *rest = (torch2xp(d.contiguous()) for d in gradient)
        n_crf = len(output.crf)
        return float(loss.detach()), replace(
            output, emissions=d_emissions, crf=tuple(rest[:n_crf]), learned=tuple(rest[n_crf:])
        )

    def learned_values(self, model: Model) -> Dict[str, float]:
        """What the loss has learned: "alpha" of ``losses.AdaptiveMix``."""
        module = tagger_module(model.get_ref("head"))
        return self.tag_loss.values(module.loss_alpha) if module.settings.learned else {}

    def decode(self, output: TagScores) -> List[ScoredSpans]:
        """The best tags' spans.

        With the decoder "crf" a span's score is its marginal probability in the CRF (see
        ``crf.span_log_probabilities``). With "argmax" it is the product of the probabilities of
        the span's tags, times the probability that the next word of the sequence does not go on
        with the span: the same quantity where words are independent.
        """
        words = output.words
        tensors = [xp2torch(x) for x in (output.emissions, *output.crf)]
        with torch.no_grad():
            scores = self._potentials(tensors, output.temperature)
            find = _find_argmax if self.decoder == "argmax" else _find_crf
            spans, log_p = find(words, scores, self.scheme)
            probabilities = log_p.exp().float().cpu().numpy()
        doc = numpy.searchsorted(words.doc_starts, words.token_rows[spans.first], "right") - 1
        per_chain = output.n_labels // max(output.emissions.shape[1], 1)
        found = ScoredSpans(
            starts=words.token_rows[spans.first] - words.doc_starts[doc],
            ends=words.token_rows[spans.last - 1] + 1 - words.doc_starts[doc],
            labels=spans.chain * per_chain + spans.label,
            scores=probabilities,
        )
        return split_by_document(doc, len(words.doc_lengths), found)

    def tag_probabilities(self, output: TagScores) -> Tensor:
        """The probability of each tag of each word, (words, chains, tags).

        With the decoder "crf" these are marginals over all tag sequences.
        """
        with torch.no_grad():
            tensors = [xp2torch(x) for x in (output.emissions, *output.crf)]
            scores = self._potentials(tensors, output.temperature)
            if self.decoder == "argmax":
                return scores.emissions.exp()
            packing = pack(output.words.lengths, scores.emissions.device)
            return tag_log_probabilities(scores, packing).exp()

    def rescore(self, output: TagScores, temperature: float) -> List[ScoredSpans]:
        """The spans of ``decode`` with scores at a temperature, which changes no best tag."""
        return self.decode(replace(output, temperature=temperature))

    def _gold_tags(
        self,
        output: TagScores,
        gold: Sequence[MentionTable],
        doc_weights: Optional[numpy.ndarray],
        label_weights: Optional[numpy.ndarray],
        device: torch.device,
    ) -> GoldTags:
        words = output.words
        n_chains = output.emissions.shape[1]
        tags, _ = encode_spans(words, gold, output.n_labels, n_chains, self.scheme)
        of_words = numpy.ones(len(tags), dtype="float32")
        if doc_weights is not None:
            of_words = doc_weights[words.doc_of_word].astype("float32")
        weights = numpy.repeat(of_words[:, None], n_chains, axis=1)
        if label_weights is not None:
            weights = weights * label_weights_of_tags(tags, label_weights, self.scheme)
        return GoldTags(
            tags=torch.from_numpy(tags).to(device),
            weights=torch.from_numpy(weights.astype("float32")).to(device),
            doc_weights=torch.from_numpy(of_words).to(device),
            packing=pack(words.lengths, device),
        )

    def _potentials(self, tensors: Sequence[Tensor], temperature: float = 1.0) -> Potentials:
        emissions, *crf = tensors
        # a constant for each word cancels in every probability; this one keeps the sums small
        emissions = (emissions / temperature).log_softmax(dim=-1)
        if not crf:
            shape = emissions.shape[1:]
            free = emissions.new_zeros(shape)
            return Potentials(emissions, free, free.new_zeros((*shape, shape[-1])), free)
        start, transitions, end = crf
        start, transitions, end = mask_illegal(start, transitions, end, self.scheme)
        return Potentials(
            emissions, start / temperature, transitions / temperature, end / temperature
        )


def _find_argmax(
    words: WordSequences, scores: Potentials, scheme: Scheme
) -> Tuple[TaggedSpans, Tensor]:
    log_p = scores.emissions
    best, best_tags = log_p.max(dim=-1)
    tags = best_tags.cpu().numpy()
    found = decode_tags(words, tags, scheme)
    first, last, chain, label = (torch.from_numpy(x).to(best.device) for x in found)
    sums = best.double().cumsum(dim=0)
    log_span = sums[last - 1, chain] - sums[first, chain] + best[first, chain]
    open_ended = ~numpy.append(words.begins_sequence, True)[found.last]
    open_ended &= may_go_on(tags[found.last - 1, found.chain], scheme)
    following = last.clamp(max=max(len(best) - 1, 0))
    # the tags I and, if the scheme has it, E of the label
    on = [INSIDE] if scheme == "BIO" else [INSIDE, END]
    continuing = 1 + N_ROLES[scheme] * label[:, None] + torch.tensor(on, device=label.device)
    continued = log_p[following, chain].gather(1, continuing).double().exp().sum(dim=1)
    stops = torch.log1p(-continued.clamp(max=1.0))
    return found, log_span + torch.where(torch.from_numpy(open_ended).to(best.device), stops, 0.0)


def _find_crf(
    words: WordSequences, scores: Potentials, scheme: Scheme
) -> Tuple[TaggedSpans, Tensor]:
    packing = pack(words.lengths, scores.emissions.device)
    spans = decode_tags(words, viterbi(scores, packing).cpu().numpy(), scheme)
    first, last, chain, label = (torch.from_numpy(x).to(scores.emissions.device) for x in spans)
    log_p = span_log_probabilities(scores, packing, first, last, chain, label, scheme)
    return spans, log_p
