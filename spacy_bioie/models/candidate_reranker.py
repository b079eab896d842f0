"""Rerankers: a score for each candidate of a mention, and the perceptron that gives it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple, cast

import numpy
from spacy.tokens import Doc
from thinc.api import Adam, Dropout, Gelu, Linear, Model, Ops, chain
from thinc.types import Floats1d, Floats2d

from ..annotation import MentionTable

Perceptron = Model[Floats2d, Floats2d]


@dataclass(frozen=True)
class CandidateRows:
    """The choices of mentions: a row for each candidate, and one for "no link" of each mention.

    features: float32, (rows, features). groups: int64, (rows,): the mention of each row, numbered
    from 0 through all documents. concepts: int64, (rows,): the number of the candidate, -1 for no
    link. scores: float64, (rows,): by which candidates rank without a reranker, 0 for no link.
    docs, tables: the documents and their mentions. describe: says of the number of a candidate what
    is known about its concept, a list of texts each as "name", "synonyms", "types", "definition".
    """

    features: numpy.ndarray
    groups: numpy.ndarray
    concepts: numpy.ndarray
    scores: numpy.ndarray
    docs: Sequence[Doc]
    tables: Sequence[MentionTable]
    describe: Callable[[int], Dict[str, List[str]]]


class Reranker(ABC):
    """Scores the choices of mentions anew.

    A softmax over the choices of a mention makes probabilities of the scores.
    """

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether there is something that has been learned."""

    @abstractmethod
    def fit(self, rows: CandidateRows, gold: numpy.ndarray) -> float:
        """Learn which rows are right, anew. gold: bool, (rows,), at least one of each mention.

        RETURNS: the mean loss of the last epoch.
        """

    @abstractmethod
    def scores(self, rows: CandidateRows) -> numpy.ndarray:
        """The score of each row: float64, (rows,); -inf for candidates that are not looked at."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """What has been learned."""

    @abstractmethod
    def from_bytes(self, data: bytes) -> "Reranker":
        """Take over what ``to_bytes`` gave."""


def is_fitted(reranker: Optional[Reranker]) -> bool:
    """Whether there is a reranker that has been fitted."""
    return reranker is not None and reranker.is_fitted


def join_rows(parts: Sequence[CandidateRows]) -> CandidateRows:
    """The choices of several batches as those of one."""
    sizes = [sum(map(len, part.tables)) for part in parts]
    starts = numpy.cumsum(sizes) - sizes
    return CandidateRows(
        features=numpy.concatenate([part.features for part in parts]),
        groups=numpy.concatenate(
            [part.groups + start for part, start in zip(parts, starts, strict=True)]
        ),
        concepts=numpy.concatenate([part.concepts for part in parts]),
        scores=numpy.concatenate([part.scores for part in parts]),
        docs=[doc for part in parts for doc in part.docs],
        tables=[table for part in parts for table in part.tables],
        describe=parts[0].describe,
    )


def check_features(rows: CandidateRows, n_features: int) -> None:
    """Raise ValueError where a reranker was fitted to another number of features."""
    n = rows.features.shape[1]
    if n != n_features:
        raise ValueError(
            f"The reranker was fitted to {n_features} features of each candidate, and there are "
            f"{n}: another release has saved it. Expected a pipeline that this one has trained."
        )


class PerceptronReranker(Reranker):
    """Reads the features of a row and nothing else."""

    def __init__(self, model: Perceptron):
        self.model = model

    @property
    def is_fitted(self) -> bool:
        return self.model.layers[0].has_param("W") is True

    def fit(self, rows: CandidateRows, gold: numpy.ndarray) -> float:
        order = numpy.argsort(rows.groups, kind="stable")
        return fit_reranker(self.model, rows.features[order], rows.groups[order], gold[order])

    def scores(self, rows: CandidateRows) -> numpy.ndarray:
        check_features(rows, self.model.layers[0].get_dim("nI"))
        return candidate_scores(self.model, rows.features)

    def to_bytes(self) -> bytes:
        return self.model.to_bytes()

    def from_bytes(self, data: bytes) -> "PerceptronReranker":
        self.model.from_bytes(data)
        return self


def CandidateReranker_v1(hidden_size: int = 32, dropout: float = 0.1) -> Reranker:
    """Create ``spacy_bioie.CandidateReranker.v1``: a perceptron with one hidden layer.

    From rows of features, (rows, features), to one score for each, (rows, 1).

    Raises ValueError for a setting out of range.
    """
    if hidden_size < 1:
        raise ValueError(f"CandidateReranker: hidden_size is {hidden_size}, expected 1 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(
            f"CandidateReranker: dropout is {dropout}, expected at least 0 and below 1."
        )
    model: Perceptron = chain(Gelu(nO=hidden_size), Dropout(dropout), Linear(nO=1))
    model.name = "candidate_reranker"
    return PerceptronReranker(model)


def fit_reranker(
    model: Perceptron,
    features: numpy.ndarray,
    groups: numpy.ndarray,
    gold: numpy.ndarray,
    *,
    epochs: int = 30,
    batches: int = 20,
    learn_rate: float = 3e-3,
    l2: float = 1e-3,
    seed: int = 0,
) -> float:
    """Train a perceptron with the cross-entropy of a softmax over the rows of each group.

    features: float32, (rows, features). groups: int64, (rows,), ascending from 0: the mention of
    each row. gold: bool, (rows,): the right rows; each group has at least one, and the softmax
    sums over them. batches: updates in an epoch. The learning rate falls to 0 in a line.

    Features are brought to mean 0 and deviation 1; the first layer takes both up in the end, so
    that the model reads features as they are. One that is the same in all rows has no weight:
    what it says where it differs is not known. RETURNS: the mean loss of the last epoch.
    """
    rng, ops = numpy.random.default_rng(seed), model.ops
    mean, deviation = features.mean(axis=0, dtype="float64"), features.std(axis=0, dtype="float64")
    deviation[numpy.ptp(features, axis=0) == 0] = numpy.inf
    rows = ((features - mean) / deviation).astype("float32")
    model.initialize(X=_put(ops, rows[:1]), Y=ops.alloc2f(1, 1))
    _draw_weights(model, rng)
    optimizer = Adam(learn_rate, L2=l2, L2_is_weight_decay=True)
    n_groups = int(groups[-1]) + 1
    starts = numpy.searchsorted(groups, numpy.arange(n_groups + 1))
    loss = 0.0
    for epoch in range(epochs):
        losses = []
        parts = numpy.array_split(rng.permutation(n_groups), min(batches, n_groups))
        for i, part in enumerate(parts):
            optimizer.learn_rate = learn_rate * (1 - (epoch + i / len(parts)) / epochs)
            part = numpy.sort(part)
            chosen = numpy.concatenate([numpy.arange(starts[g], starts[g + 1]) for g in part])
            sizes = starts[part + 1] - starts[part]
            within = numpy.repeat(numpy.arange(len(part)), sizes)
            scores, backprop = _begin_update(model, _put(ops, rows[chosen]), rng)
            value, d_scores = group_cross_entropy(ops.to_numpy(scores)[:, 0], within, gold[chosen])
            backprop(_put(ops, d_scores[:, None]))
            model.finish_update(optimizer)
            losses.append(value)
        loss = float(numpy.mean(losses))
    first = model.layers[0]
    weights = ops.to_numpy(first.get_param("W")) / deviation
    bias = ops.to_numpy(first.get_param("b")) - weights @ mean
    first.set_param("W", _put(ops, weights))
    first.set_param("b", ops.asarray1f(cast(Floats1d, bias)))
    return loss


def candidate_scores(model: Perceptron, features: numpy.ndarray) -> numpy.ndarray:
    """The score of each row of features: float64, (rows,)."""
    scores = model.predict(_put(model.ops, features))
    return model.ops.to_numpy(scores)[:, 0].astype("float64")


def group_probabilities(scores: numpy.ndarray, groups: numpy.ndarray) -> numpy.ndarray:
    """Softmax over the rows of each group: float64, (rows,). The order of rows is free."""
    if not len(scores):
        return numpy.zeros((0,))
    n = int(groups.max()) + 1
    best = numpy.full((n,), -numpy.inf)
    numpy.maximum.at(best, groups, scores)
    exponents = numpy.exp(scores.astype("float64") - best[groups])
    return exponents / numpy.bincount(groups, weights=exponents, minlength=n)[groups]


def group_cross_entropy(
    scores: numpy.ndarray, groups: numpy.ndarray, gold: numpy.ndarray
) -> Tuple[float, numpy.ndarray]:
    """The mean over groups of -log of the probability of the gold rows, and its gradient.

    scores: (rows,). groups: (rows,), from 0, none left out. gold: bool, (rows,).
    """
    n = int(groups.max()) + 1
    probabilities = group_probabilities(scores, groups)
    right = numpy.bincount(groups, weights=probabilities * gold, minlength=n)
    right = numpy.maximum(right, 1e-12)
    gradient = probabilities - numpy.where(gold, probabilities / right[groups], 0.0)
    return float(-numpy.log(right).mean()), (gradient / n).astype("float32")


def _begin_update(
    model: Perceptron, rows: Floats2d, rng: numpy.random.Generator
) -> Tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """As ``model.begin_update``, with dropout from a generator of our own: fits can be repeated."""
    first, dropout, last = model.layers
    hidden, backprop_first = first.begin_update(rows)
    kept = 1.0 - dropout.attrs["dropout_rate"]
    mask = _put(model.ops, (rng.random(hidden.shape) < kept) / kept)
    scores, backprop_last = last.begin_update(hidden * mask)
    return scores, lambda d_scores: backprop_first(backprop_last(d_scores) * mask)


def _draw_weights(model: Perceptron, rng: numpy.random.Generator) -> None:
    """Initial weights from the same generator (Glorot)."""
    for layer in (model.layers[0], model.layers[-1]):
        n_out, n_in = layer.get_dim("nO"), layer.get_dim("nI")
        scale = numpy.sqrt(6.0 / (n_out + n_in))
        layer.set_param("W", _put(model.ops, rng.uniform(-scale, scale, (n_out, n_in))))
        layer.set_param("b", model.ops.alloc1f(n_out))


def _put(ops: Ops, array: numpy.ndarray) -> Floats2d:
    """An array of numpy where the model computes: float32."""
    return ops.asarray2f(cast(Floats2d, array))
