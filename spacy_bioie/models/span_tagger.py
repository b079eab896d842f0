"""Span recognition by tagging words: B, I and O scores over one chain or one for each label."""

from dataclasses import dataclass, replace
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d, Floats3d
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from ..annotation import MentionTable
from .crf import Potentials, mask_illegal, pack, span_log_probabilities, viterbi
from .forking import limit_threads_after_fork
from .listener import watch_gradient
from .losses import crf_negative_log_likelihood, cross_entropy
from .span_head import SPAN_HEAD, GoldBatch, ScoredSpans, split_by_document
from .tagger_module import Arrays, Chains, Decoder, TaggerModule, tagger_layer, tagger_module
from .tagging import (
    TaggedSpans,
    WordSequences,
    count_tags,
    decode_tags,
    encode_spans,
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
    """

    words: WordSequences
    n_labels: int
    emissions: Floats3d
    crf: Arrays = ()


class TaggerHead:
    """Loss and decoding of tag scores, see ``span_head.SpanHead``."""

    def __init__(self, chains: Chains, decoder: Decoder, max_length: int):
        self.chains = chains
        self.decoder = decoder
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
            tags, kept = encode_spans(words, gold, module.n_labels, n_chains)
            lost += sum(int((~mask).sum()) for mask in kept)
            for total, seen in zip(counts, count_tags(words, tags, n_tags), strict=True):
                total += seen
        module.set_frequencies(*counts)
        return lost

    def loss(
        self, output: TagScores, gold: Sequence[MentionTable], weight: float = 1.0
    ) -> Tuple[float, TagScores]:
        """Cross-entropy ("argmax") or CRF negative log likelihood ("crf"), per word."""
        tags, _ = encode_spans(output.words, gold, output.n_labels, output.emissions.shape[1])
        leaves = [xp2torch(x).detach().requires_grad_() for x in (output.emissions, *output.crf)]
        target = torch.from_numpy(tags).to(leaves[0].device)
        with torch.enable_grad():
            if self.decoder == "argmax":
                loss = cross_entropy(leaves[0], target)
            else:
                packing = pack(output.words.lengths, target.device)
                loss = crf_negative_log_likelihood(_potentials(leaves), target, packing)
            gradient = torch.autograd.grad(
                loss * weight, leaves, allow_unused=True, materialize_grads=True
            )
        d_emissions: Any
        d_emissions, *d_crf = (torch2xp(d.contiguous()) for d in gradient)
        return float(loss.detach()), replace(output, emissions=d_emissions, crf=tuple(d_crf))

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
            find = _find_argmax if self.decoder == "argmax" else _find_crf
            spans, log_p = find(words, tensors)
            scores = log_p.exp().float().cpu().numpy()
        doc = numpy.searchsorted(words.doc_starts, words.token_rows[spans.first], "right") - 1
        per_chain = output.n_labels // max(output.emissions.shape[1], 1)
        found = ScoredSpans(
            starts=words.token_rows[spans.first] - words.doc_starts[doc],
            ends=words.token_rows[spans.last - 1] + 1 - words.doc_starts[doc],
            labels=spans.chain * per_chain + spans.label,
            scores=scores,
        )
        return split_by_document(doc, len(words.doc_lengths), found)


def SpanTagger_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    chains: Chains = "joint",
    decoder: Decoder = "crf",
    hidden_size: int = 0,
    dropout: float = 0.1,
    max_length: int = 1024,
) -> Model[List[Doc], TagScores]:
    """Create the architecture ``spacy_bioie.SpanTagger.v1``.

    tok2vec: one vector for each token.
    chains: "joint", one chain of tags over all labels, so that spans never overlap; or
        "per_label", a chain for each label, so that spans of different labels may overlap.
    decoder: "argmax", each word's best tag, trained with cross-entropy; or "crf", a linear-chain
        conditional random field with start, end and transition scores, one for each chain, in
        which illegal steps are barred, trained with its likelihood and decoded with Viterbi.
    hidden_size: width of a layer with GELU before the tag scores; 0 for none.
    dropout: of the word vectors and of the hidden layer, in training.
    max_length: longest sequence in words. Each section of a document is one sequence; a longer
        one is cut, after the end of a sentence where there is one.

    Raises ValueError where a setting has none of these values.
    """
    if chains not in ("joint", "per_label"):
        raise ValueError(f"SpanTagger: chains is {chains!r}, expected 'joint' or 'per_label'.")
    if decoder not in ("argmax", "crf"):
        raise ValueError(f"SpanTagger: decoder is {decoder!r}, expected 'argmax' or 'crf'.")
    if hidden_size < 0:
        raise ValueError(f"SpanTagger: hidden_size is {hidden_size}, expected 0 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"SpanTagger: dropout is {dropout}, expected at least 0 and below 1.")
    if max_length < 2:
        raise ValueError(f"SpanTagger: max_length is {max_length}, expected 2 words or more.")
    limit_threads_after_fork()
    tok2vec = watch_gradient(tok2vec)
    head = tagger_layer(TaggerModule(chains, decoder, hidden_size, dropout))
    return Model(
        "span_tagger",
        forward,
        init=init,
        layers=[tok2vec, head],
        refs={"tok2vec": tok2vec, "head": head},
        dims={"nO": None},
        attrs={SPAN_HEAD: TaggerHead(chains, decoder, max_length)},
    )


def init(model: Model, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Size the head by the vectors of ``tok2vec`` and by the dimension ``nO``, the labels."""
    tok2vec, head = model.get_ref("tok2vec"), model.get_ref("head")
    tok2vec.initialize(X=X)
    width = tok2vec.maybe_get_dim("nO")
    if width is None:
        if not X:
            raise ValueError(
                "SpanTagger: the width of the token vectors is unknown. Expected a tok2vec layer "
                "with the dimension nO, or example documents to initialize with."
            )
        width = tok2vec.predict(X[:1])[0].shape[1]
    tagger_module(head).build(int(width), model.get_dim("nO"))


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[TagScores, Callable[[TagScores], List[Doc]]]:
    tok2vec, head = model.get_ref("tok2vec"), model.get_ref("head")
    module = tagger_module(head)
    if not module.n_labels:
        raise ValueError(
            "SpanTagger: the model has no parameters yet, initialize or load it first."
        )
    words = model.attrs[SPAN_HEAD].sequences(docs)
    token_vectors, backprop_tok2vec = tok2vec(docs, is_train)
    if docs:
        flat = model.ops.xp.concatenate(token_vectors)
    else:
        flat = model.ops.alloc2f(0, module.width)
    rows = model.ops.asarray1i(words.token_rows)
    (emissions, *crf), backprop_head = head(flat[rows], is_train)

    def backprop(d_scores: TagScores) -> List[Doc]:
        d_words = backprop_head((d_scores.emissions, *d_scores.crf))
        d_flat = model.ops.xp.zeros_like(flat)
        d_flat[rows] = d_words
        borders = numpy.cumsum(words.doc_lengths)[:-1].tolist()
        d_docs = model.ops.xp.split(d_flat, borders) if docs else []
        return backprop_tok2vec(d_docs)

    return TagScores(words, module.n_labels, emissions, tuple(crf)), backprop


def _find_argmax(words: WordSequences, tensors: List[Tensor]) -> Tuple[TaggedSpans, Tensor]:
    log_p = tensors[0].log_softmax(dim=-1)
    best, tags = log_p.max(dim=-1)
    spans = decode_tags(words, tags.cpu().numpy())
    first, last, chain, label = (torch.from_numpy(x).to(best.device) for x in spans)
    sums = best.double().cumsum(dim=0)
    scores = sums[last - 1, chain] - sums[first, chain] + best[first, chain]
    goes_on = torch.from_numpy(~numpy.append(words.begins_sequence, True)[spans.last])
    following = last.clamp(max=max(len(best) - 1, 0))
    continued = log_p[following, chain, 2 + 2 * label].double().exp()
    stops = torch.where(goes_on.to(best.device), torch.log1p(-continued), 0.0)
    return spans, scores + stops


def _find_crf(words: WordSequences, tensors: List[Tensor]) -> Tuple[TaggedSpans, Tensor]:
    crf = _potentials(tensors)
    packing = pack(words.lengths, crf.emissions.device)
    spans = decode_tags(words, viterbi(crf, packing).cpu().numpy())
    columns = (torch.from_numpy(x).to(crf.emissions.device) for x in spans)
    return spans, span_log_probabilities(crf, packing, *columns)


def _potentials(tensors: List[Tensor]) -> Potentials:
    emissions, start, transitions, end = tensors
    start, transitions = mask_illegal(start, transitions)
    # a constant for each word cancels in every probability; this one keeps the sums small
    return Potentials(emissions.log_softmax(dim=-1), start, transitions, end)
