"""Relation scores of candidate pairs, in one pass over the token vectors of a batch."""

from typing import Any, Callable, List, Optional, Tuple

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import ArgsKwargs, Floats2d
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from torch.utils.checkpoint import checkpoint

from .candidates import PairInput
from .flat_vectors import flat_vectors, width_of
from .forking import limit_threads_after_fork
from .listener import watch_gradient
from .pair_attention import PairAttention, attended_context
from .pair_features import (
    N_PAIR_FEATURES,
    gaps_between,
    mention_positions,
    pair_features,
    surroundings,
)
from .sized_modules import build_parameters, built_module, sized_layer, vectors_to_torch


class PairScorer(nn.Module):
    """A perceptron over a head, a tail and the context of both.

    Its first layer is linear in the concatenation of: the vectors of both mentions (mean of the
    tokens, first token, embedding of the label), the means of the tokens between them and around
    them, what both attend to (``PairAttention``), and the features of ``pair_features``; plus the
    product of a projection of the head and one of the tail. So everything but the features is
    projected once per mention or token, and a pair only adds and multiplies vectors of the hidden
    size: its cost grows with that size, not with the width of the encoder or with the distance of
    the mentions (sums of ranges of tokens come from prefix sums). A second hidden layer and the
    scores follow.
    """

    def __init__(
        self,
        width: int,
        n_labels: int,
        n_predicates: int,
        hidden_size: int,
        label_size: int,
        dropout: float,
        chunk_size: int,
        around: int,
        attention_heads: int,
    ):
        super().__init__()
        mention_size = 2 * width + label_size
        self.labels = nn.Embedding(n_labels, label_size)
        self.as_head = nn.Linear(mention_size, hidden_size)
        self.as_tail = nn.Linear(mention_size, hidden_size, bias=False)
        self.head_factor = nn.Linear(mention_size, hidden_size, bias=False)
        self.tail_factor = nn.Linear(mention_size, hidden_size, bias=False)
        self.between = nn.Linear(width, hidden_size, bias=False)
        if around:
            self.before = nn.Linear(width, hidden_size, bias=False)
            self.after = nn.Linear(width, hidden_size, bias=False)
        if attention_heads:
            self.attention = PairAttention(width, mention_size, hidden_size, attention_heads)
        self.features = nn.Linear(N_PAIR_FEATURES, hidden_size, bias=False)
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.scores = nn.Linear(hidden_size, n_predicates)
        # relations are rare: from even odds the first steps would only unlearn them
        nn.init.constant_(self.scores.bias, -3.0)
        self.dropout = nn.Dropout(dropout)
        self.chunk_size = chunk_size
        self.around = around
        self.attention_heads = attention_heads

    def forward(self, tokens: Tensor, mentions: Tensor, pairs: Tensor) -> Tensor:
        """Score pairs.

        tokens: float32, (tokens, width). mentions: int64, (mentions, 8), see
        ``mention_positions``. pairs: int64, (pairs, 2): rows of ``mentions``, head and tail.
        RETURNS: float32, (pairs, predicates): logits.
        """
        tokens = self.dropout(tokens)
        sums = _prefix_sums(tokens)
        starts, ends, labels = mentions[:, 0], mentions[:, 1], mentions[:, 2]
        means = (sums[ends] - sums[starts]) / (ends - starts)[:, None]
        vectors = [means.to(tokens.dtype), tokens[starts], self.labels(labels.clamp(min=0))]
        vector = torch.cat(vectors, dim=1)
        projected = [
            self.as_head(vector),
            self.as_tail(vector),
            self.head_factor(vector),
            self.tail_factor(vector),
        ]
        ranges = [self.between, *((self.before, self.after) if self.around else ())]
        projected.extend(_prefix_sums(layer(tokens)) for layer in ranges)
        if self.attention_heads:
            projected.extend(self.attention(tokens, vector, mentions))
        chunks = pairs.split(self.chunk_size)
        if self.training and len(chunks) > 1:
            scores = [
                checkpoint(self._score, mentions, chunk, *projected, use_reentrant=False)
                for chunk in chunks
            ]
        else:
            scores = [self._score(mentions, chunk, *projected) for chunk in chunks]
        return torch.cat(scores)

    def _score(self, mentions: Tensor, pairs: Tensor, *projected: Tensor) -> Tensor:
        as_head, as_tail, head_factor, tail_factor, between, *context = projected
        h, t = pairs[:, 0], pairs[:, 1]
        heads, tails = mentions[h], mentions[t]
        hidden = _range_means(between, *gaps_between(heads, tails)).to(as_head.dtype)
        if self.around:
            before, after, *context = context
            borders = surroundings(heads, tails, self.around)
            hidden = hidden + _range_means(before, *borders[:2]).to(hidden.dtype)
            hidden = hidden + _range_means(after, *borders[2:]).to(hidden.dtype)
        if self.attention_heads:
            attention, values = context
            hidden = hidden + attended_context(attention, values, mentions, pairs)
        hidden = hidden + as_head.index_select(0, h) + as_tail.index_select(0, t)
        hidden = hidden + head_factor.index_select(0, h) * tail_factor.index_select(0, t)
        hidden = hidden + self.features(pair_features(heads, tails).to(as_head.dtype))
        hidden = self.dropout(gelu(hidden))
        hidden = self.dropout(gelu(self.hidden(hidden)))
        return self.scores(hidden)


class PairModule(nn.Module):
    """Holds a ``PairScorer``, which is made when the sizes are known: initialized or loaded.

    All parameters have "pair_head" in their names, so that an optimizer can give them a rate of
    their own.
    """

    def __init__(self, **settings: Any):
        super().__init__()
        self.settings = settings
        self.sizes: List[int] = []

    def build(self, width: int, n_labels: int, n_predicates: int) -> None:
        """Make the parameters anew."""
        self.sizes = [width, n_labels, n_predicates]
        self.pair_head = PairScorer(*self.sizes, **self.settings)

    def forward(self, tokens: Tensor, mentions: Tensor, pairs: Tensor) -> Tensor:
        return self.pair_head(tokens, mentions, pairs)


def PairClassifier_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    hidden_size: int = 256,
    label_size: int = 16,
    dropout: float = 0.2,
    chunk_size: int = 16384,
    around: int = 0,
    attention_heads: int = 0,
) -> Model[PairInput, Floats2d]:
    """Create the architecture ``spacy_bioie.PairClassifier.v1``.

    It maps documents and their candidate pairs to logits of shape (pairs, predicates); the
    documents are encoded once, however many pairs they have.

    tok2vec: one vector for each token.
    hidden_size: width of the two hidden layers.
    label_size: width of the embeddings of the mentions' labels.
    dropout: of the token vectors and of the hidden layers, in training.
    chunk_size: so many pairs are computed at a time. In training, a batch with more of them keeps
        no hidden layers but computes them again for the gradient, one chunk at a time; memory
        grows with the number of pairs by little more than their logits.
    around: so many tokens before the first and after the last mention of a pair are read as well.
    attention_heads: heads of the attention with which each mention reads its whole document; a
        pair reads what both attend to. 0 for none.

    Raises ValueError where a setting is out of its range.
    """
    for name, value in (
        ("hidden_size", hidden_size),
        ("label_size", label_size),
        ("chunk_size", chunk_size),
    ):
        if value < 1:
            raise ValueError(f"PairClassifier: {name} is {value}, expected 1 or more.")
    for name, value in (("around", around), ("attention_heads", attention_heads)):
        if value < 0:
            raise ValueError(f"PairClassifier: {name} is {value}, expected 0 or more.")
    if hidden_size % max(attention_heads, 1):
        raise ValueError(
            f"PairClassifier: hidden_size is {hidden_size}, expected a multiple of the "
            f"{attention_heads} attention_heads."
        )
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"PairClassifier: dropout is {dropout}, expected at least 0 and below 1.")
    limit_threads_after_fork()
    tok2vec = watch_gradient(tok2vec)
    module = PairModule(
        hidden_size=hidden_size,
        label_size=label_size,
        dropout=dropout,
        chunk_size=chunk_size,
        around=around,
        attention_heads=attention_heads,
    )
    scorer = sized_layer(module, _convert_inputs)
    return Model(
        "pair_classifier",
        forward,
        init=init,
        layers=[tok2vec, scorer],
        refs={"tok2vec": tok2vec, "scorer": scorer},
        dims={"nO": None},
    )


def init(model: Model, X: Optional[PairInput] = None, Y: Any = None) -> None:
    """Size the model by the vectors of ``tok2vec`` and the labels and predicates of ``X``."""
    if X is None:
        raise ValueError(
            "PairClassifier: labels and predicates are unknown. Expected example documents with "
            "their candidate pairs to initialize with."
        )
    docs, candidates = X
    width = width_of(model, docs, "PairClassifier")
    sizes = (width, candidates.n_labels, candidates.n_predicates)
    build_parameters(model.get_ref("scorer"), *sizes)
    model.set_dim("nO", candidates.n_predicates, force=True)


def forward(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], PairInput]]:
    docs, candidates = X
    scorer = model.get_ref("scorer")
    module: PairModule = built_module(scorer, "PairClassifier")
    flat, backprop_tokens = flat_vectors(model, docs, module.sizes[0], is_train)
    positions = mention_positions(docs, candidates)
    logits, backprop_scorer = scorer((flat, positions, candidates.pairs), is_train)

    def backprop(d_logits: Floats2d) -> PairInput:
        return backprop_tokens(backprop_scorer(d_logits)), candidates

    return logits, backprop


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums of the rows before each row and of all: (rows, n) to float64, (rows + 1, n).

    Differences of sums over a long document would lose their digits in single precision.
    """
    return pad(values.double().cumsum(dim=0), (0, 0, 1, 0))


def _range_means(sums: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """Means of ranges of rows, from their prefix sums; 0 for an empty range."""
    # the two sums are equal, and so their difference 0, where the range is empty
    totals = sums.index_select(0, end) - sums.index_select(0, first)
    return totals / (end - first).clamp(min=1)[:, None]


def _convert_inputs(
    model: Model, X: Tuple[Floats2d, numpy.ndarray, numpy.ndarray], is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    tokens, positions, pairs = X
    others = (torch.from_numpy(positions), torch.from_numpy(pairs))
    return vectors_to_torch(model, tokens, others, is_train)
