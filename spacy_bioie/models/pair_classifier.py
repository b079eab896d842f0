"""Relation scores of candidate pairs, in one pass over the token vectors of a batch."""

from io import BytesIO
from typing import Any, Callable, List, Optional, Tuple

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs, Floats2d
from thinc.util import torch2xp, xp2torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from torch.utils.checkpoint import checkpoint

from .candidates import PairCandidates
from .forking import limit_threads_after_fork
from .listener import watch_gradient
from .pair_features import N_PAIR_FEATURES, gaps_between, mention_positions, pair_features

PairInput = Tuple[List[Doc], PairCandidates]


class PairScorer(nn.Module):
    """A perceptron over a head, a tail and the tokens between them.

    Its first layer is linear in the concatenation of: the vectors of both mentions (mean of the
    tokens, first token, embedding of the label), the mean of the tokens between them, and the
    features of ``pair_features``; plus the product of a projection of the head and one of the
    tail. So everything but the features is projected once per mention or token, and a pair only
    adds and multiplies vectors of the hidden size: its cost grows with that size, not with the
    width of the encoder or with the distance of the mentions (the sums of the tokens between come
    from prefix sums). A second hidden layer and the scores follow.
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
    ):
        super().__init__()
        mention_size = 2 * width + label_size
        self.labels = nn.Embedding(n_labels, label_size)
        self.as_head = nn.Linear(mention_size, hidden_size)
        self.as_tail = nn.Linear(mention_size, hidden_size, bias=False)
        self.head_factor = nn.Linear(mention_size, hidden_size, bias=False)
        self.tail_factor = nn.Linear(mention_size, hidden_size, bias=False)
        self.between = nn.Linear(width, hidden_size, bias=False)
        self.features = nn.Linear(N_PAIR_FEATURES, hidden_size, bias=False)
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.scores = nn.Linear(hidden_size, n_predicates)
        # relations are rare: from even odds the first steps would only unlearn them
        nn.init.constant_(self.scores.bias, -3.0)
        self.dropout = nn.Dropout(dropout)
        self.chunk_size = chunk_size

    def forward(self, tokens: Tensor, mentions: Tensor, pairs: Tensor) -> Tensor:
        """Score pairs.

        tokens: float32, (tokens, width). mentions: int64, (mentions, 6), see
        ``mention_positions``. pairs: int64, (pairs, 2): rows of ``mentions``, head and tail.
        RETURNS: float32, (pairs, predicates): logits.
        """
        tokens = self.dropout(tokens)
        sums = _prefix_sums(tokens)
        starts, ends, labels = mentions[:, 0], mentions[:, 1], mentions[:, 2]
        means = (sums[ends] - sums[starts]) / (ends - starts)[:, None]
        vectors = [means.to(tokens.dtype), tokens[starts], self.labels(labels.clamp(min=0))]
        vector = torch.cat(vectors, dim=1)
        projected = (
            self.as_head(vector),
            self.as_tail(vector),
            self.head_factor(vector),
            self.tail_factor(vector),
            _prefix_sums(self.between(tokens)),
        )
        chunks = pairs.split(self.chunk_size)
        if self.training and len(chunks) > 1:
            scores = [
                checkpoint(self._score, *projected, mentions, chunk, use_reentrant=False)
                for chunk in chunks
            ]
        else:
            scores = [self._score(*projected, mentions, chunk) for chunk in chunks]
        return torch.cat(scores)

    def _score(
        self,
        as_head: Tensor,
        as_tail: Tensor,
        head_factor: Tensor,
        tail_factor: Tensor,
        between_sums: Tensor,
        mentions: Tensor,
        pairs: Tensor,
    ) -> Tensor:
        h, t = pairs[:, 0], pairs[:, 1]
        heads, tails = mentions[h], mentions[t]
        first, end = gaps_between(heads, tails)
        # the two sums are equal, and so their difference 0, where nothing lies between
        sums = between_sums.index_select(0, end) - between_sums.index_select(0, first)
        hidden = (sums / (end - first).clamp(min=1)[:, None]).to(as_head.dtype)
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
        self.sizes: Tuple[int, ...] = ()

    def build(self, width: int, n_labels: int, n_predicates: int) -> None:
        """Make the parameters anew."""
        self.sizes = (width, n_labels, n_predicates)
        self.pair_head = PairScorer(*self.sizes, **self.settings)

    def forward(self, tokens: Tensor, mentions: Tensor, pairs: Tensor) -> Tensor:
        return self.pair_head(tokens, mentions, pairs)


def PairClassifier_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    hidden_size: int = 256,
    label_size: int = 16,
    dropout: float = 0.2,
    chunk_size: int = 16384,
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

    Raises ValueError where a setting is out of its range.
    """
    for name, value in (
        ("hidden_size", hidden_size),
        ("label_size", label_size),
        ("chunk_size", chunk_size),
    ):
        if value < 1:
            raise ValueError(f"PairClassifier: {name} is {value}, expected 1 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"PairClassifier: dropout is {dropout}, expected at least 0 and below 1.")
    limit_threads_after_fork()
    tok2vec = watch_gradient(tok2vec)
    module = PairModule(
        hidden_size=hidden_size, label_size=label_size, dropout=dropout, chunk_size=chunk_size
    )
    scorer: Model = PyTorchWrapper_v3(
        module,
        convert_inputs=_convert_inputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )
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
    tok2vec, scorer = model.get_ref("tok2vec"), model.get_ref("scorer")
    tok2vec.initialize(X=docs)
    width = tok2vec.maybe_get_dim("nO")
    if width is None:
        if not docs:
            raise ValueError(
                "PairClassifier: the width of the token vectors is unknown. Expected a tok2vec "
                "layer with the dimension nO, or example documents to initialize with."
            )
        width = tok2vec.predict(docs[:1])[0].shape[1]
    shim: Any = scorer.shims[0]
    device = shim.device  # the default one while there are no parameters
    shim._model.build(int(width), candidates.n_labels, candidates.n_predicates)
    shim._model.to(device)
    model.set_dim("nO", candidates.n_predicates, force=True)


def forward(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], PairInput]]:
    docs, candidates = X
    tok2vec, scorer = model.get_ref("tok2vec"), model.get_ref("scorer")
    module: PairModule = scorer.shims[0]._model
    if not module.sizes:
        raise ValueError(
            "PairClassifier: the model has no parameters yet, initialize or load it first."
        )
    token_vectors, backprop_tok2vec = tok2vec(docs, is_train)
    if docs:
        flat = model.ops.xp.concatenate(token_vectors)
    else:
        flat = model.ops.alloc2f(0, module.sizes[0])
    positions = mention_positions(docs, candidates)
    logits, backprop_scorer = scorer((flat, positions, candidates.pairs), is_train)

    def backprop(d_logits: Floats2d) -> PairInput:
        d_flat = backprop_scorer(d_logits)
        borders = numpy.cumsum([len(doc) for doc in docs])[:-1].tolist()
        d_tokens = model.ops.xp.split(d_flat, borders) if docs else []
        return backprop_tok2vec(d_tokens), candidates

    return logits, backprop


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums of the rows before each row and of all: (rows, n) to float64, (rows + 1, n).

    Differences of sums over a long document would lose their digits in single precision.
    """
    return pad(values.double().cumsum(dim=0), (0, 0, 1, 0))


def _convert_inputs(
    model: Model, X: Tuple[Floats2d, numpy.ndarray, numpy.ndarray], is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    tokens, positions, pairs = X
    shim: Any = model.shims[0]
    device = shim.device
    single: Any = tokens.astype("float32", copy=False)  # whatever the encoder computes in
    args = (
        xp2torch(single, requires_grad=is_train, device=device),
        torch.from_numpy(positions).to(device),
        torch.from_numpy(pairs).to(device),
    )

    def from_torch(d_inputs: ArgsKwargs) -> Floats2d:
        d_tokens: Any = torch2xp(d_inputs.args[0])
        return d_tokens.astype(tokens.dtype, copy=False)

    return ArgsKwargs(args=args, kwargs={}), from_torch


def _serialize(module: PairModule) -> bytes:
    buffer = BytesIO()
    torch.save({"sizes": list(module.sizes), "state": module.state_dict()}, buffer)
    return buffer.getvalue()


def _deserialize(module: PairModule, data: bytes, device: torch.device) -> PairModule:
    stored = torch.load(BytesIO(data), map_location=device, weights_only=True)
    if stored["sizes"]:
        module.build(*stored["sizes"])
        module.load_state_dict(stored["state"])
    return module.to(device)
