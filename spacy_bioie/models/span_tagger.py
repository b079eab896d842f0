"""Span recognition by tagging words: B, I and O scores over one chain or one for each label."""

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Callable, List, Literal, Optional, Sequence, Tuple

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs, Floats2d, Floats3d
from thinc.util import torch2xp, xp2torch
from torch import Tensor, nn

from ..annotation import MentionTable
from .crf import Potentials, mask_illegal, pack, span_log_probabilities, viterbi
from .losses import crf_negative_log_likelihood, cross_entropy
from .span_head import SPAN_HEAD, ScoredSpans, split_by_document
from .tagging import TaggedSpans, WordSequences, decode_tags, encode_spans, word_sequences

Chains = Literal["joint", "per_label"]
Decoder = Literal["argmax", "crf"]
Arrays = Tuple[Any, ...]


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


class TaggerModule(nn.Module):
    """Scores of BIO tags from word vectors, with the parameters of a CRF where one is asked for.

    It has no parameters until ``build`` is called, because widths and labels are known only when
    the pipeline is initialized or loaded. Parameters of the layers have "head" in their names and
    those of the CRF "crf", so that an optimizer can give them rates of their own.
    """

    def __init__(self, chains: Chains, decoder: Decoder, hidden_size: int, dropout: float):
        super().__init__()
        self.chains = chains
        self.decoder = decoder
        self.hidden_size = hidden_size
        self.dropout = nn.Dropout(dropout)
        self.width = 0
        self.n_labels = 0

    def build(self, width: int, n_labels: int) -> None:
        """Make the parameters anew for vectors of this width and this number of labels."""
        self.width, self.n_labels = width, n_labels
        n_chains = 1 if self.chains == "joint" else n_labels
        n_tags = 1 + 2 * (n_labels // n_chains)
        if self.hidden_size:
            self.head_hidden = nn.Linear(width, self.hidden_size)
        self.head_output = nn.Linear(self.hidden_size or width, n_chains * n_tags)
        if self.decoder == "crf":
            self.crf_start = nn.Parameter(torch.zeros(n_chains, n_tags))
            self.crf_transitions = nn.Parameter(torch.zeros(n_chains, n_tags, n_tags))
            self.crf_end = nn.Parameter(torch.zeros(n_chains, n_tags))
        self.shape = (n_chains, n_tags)

    def forward(self, vectors: Tensor) -> Tuple[Tensor, ...]:
        """vectors: (words, width). RETURNS: emissions (words, chains, tags), then CRF scores."""
        vectors = self.dropout(vectors)
        if self.hidden_size:
            vectors = self.dropout(nn.functional.gelu(self.head_hidden(vectors)))
        emissions = self.head_output(vectors).unflatten(1, self.shape)
        if self.decoder == "argmax":
            return (emissions,)
        return emissions, self.crf_start, self.crf_transitions, self.crf_end


class TaggerHead:
    """Loss and decoding of tag scores, see ``span_head.SpanHead``."""

    def __init__(self, chains: Chains, decoder: Decoder, max_length: int):
        self.chains = chains
        self.decoder = decoder
        self.max_length = max_length

    @property
    def hint(self) -> str:
        if self.chains == "joint":
            return (
                'One chain of tags finds no overlapping spans; with chains = "per_label" spans '
                "of different labels may overlap."
            )
        return "A chain for each label finds no spans of the same label that overlap."

    def sequences(self, docs: Sequence[Doc]) -> WordSequences:
        return word_sequences(docs, self.max_length)

    def representable(
        self, docs: Sequence[Doc], gold: Sequence[MentionTable], n_labels: int
    ) -> List[numpy.ndarray]:
        n_chains = 1 if self.chains == "joint" else n_labels
        return encode_spans(self.sequences(docs), gold, n_labels, n_chains)[1]

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
    head: Model = PyTorchWrapper_v3(
        TaggerModule(chains, decoder, hidden_size, dropout),
        convert_inputs=_convert_inputs,
        convert_outputs=_convert_outputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )
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
    module: TaggerModule = head.shims[0]._model
    device = head.shims[0].device
    module.build(int(width), model.get_dim("nO"))
    module.to(device)


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[TagScores, Callable[[TagScores], List[Doc]]]:
    tok2vec, head = model.get_ref("tok2vec"), model.get_ref("head")
    module: TaggerModule = head.shims[0]._model
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


def _convert_inputs(
    model: Model, vectors: Floats2d, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    # sums over whole sequences need single precision, whatever the encoder computes in
    single = model.ops.asarray2f(vectors.astype("float32", copy=False))
    tensor = xp2torch(single, requires_grad=is_train, device=model.shims[0].device)

    def from_torch(d_inputs: ArgsKwargs) -> Floats2d:
        return torch2xp(d_inputs.args[0]).astype(vectors.dtype, copy=False)

    return ArgsKwargs(args=(tensor,), kwargs={}), from_torch


def _convert_outputs(
    model: Model, inputs_outputs: Tuple[Any, Tuple[Tensor, ...]], is_train: bool
) -> Tuple[Arrays, Callable[[Arrays], ArgsKwargs]]:
    _, outputs = inputs_outputs

    def to_torch(d_outputs: Arrays) -> ArgsKwargs:
        gradients = tuple(xp2torch(d, device=model.shims[0].device) for d in d_outputs)
        return ArgsKwargs(args=(outputs,), kwargs={"grad_tensors": gradients})

    return tuple(torch2xp(y) for y in outputs), to_torch


def _serialize(module: TaggerModule) -> bytes:
    buffer = BytesIO()
    sizes = {"width": module.width, "n_labels": module.n_labels}
    torch.save({"sizes": sizes, "state": module.state_dict()}, buffer)
    return buffer.getvalue()


def _deserialize(module: TaggerModule, data: bytes, device: torch.device) -> TaggerModule:
    stored = torch.load(BytesIO(data), map_location=device, weights_only=True)
    if stored["sizes"]["n_labels"]:
        module.build(**stored["sizes"])
        module.load_state_dict(stored["state"])
    return module.to(device)
