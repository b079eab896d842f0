"""Several models of candidate pairs as one: their probabilities are averaged."""

from typing import Any, Callable, List, Optional, Tuple

import numpy
from thinc.api import Model
from thinc.types import Floats2d

from .candidates import PairInput
from .span_ensemble import normalised_weights

PRIORS = "prior_logits"
TEMPERATURE = "temperature"
_LEAST = 1e-12  # log odds of a probability of 0 or 1 would be infinite


def PairProbabilities_v1(
    model: Model[PairInput, Floats2d], loss: Any
) -> Model[PairInput, numpy.ndarray]:
    """Create the architecture ``spacy_bioie.PairProbabilities.v1``, a member of an ensemble.

    model: from documents and their candidate pairs to logits, as ``spacy_bioie.PairClassifier.v1``,
        over an encoder of its own or a listener.
    loss: what the model was trained with, which reads the logits.

    The attributes "temperature", which divides the logits, and "prior_logits", a table of labels
    of head and tail and predicates that is added to them, are those of the trained component.
    """
    return Model(
        "pair_probabilities",
        read_probabilities,
        layers=[model],
        attrs={"loss": loss, TEMPERATURE: 1.0, PRIORS: None},
    )


def read_probabilities(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[numpy.ndarray, Callable[[Any], PairInput]]:
    """RETURNS: float32, (pairs, predicates)."""
    _, candidates = X
    logits = model.ops.to_numpy(model.layers[0].predict(X))
    if model.attrs[PRIORS] is not None:
        logits = logits + candidates.pair_values(numpy.asarray(model.attrs[PRIORS], "float32"))
    legal = candidates.pair_legal()
    return model.attrs["loss"].probabilities(logits / model.attrs[TEMPERATURE], legal), _no_backprop


def RelationEnsemble_v1(
    *members: Model[PairInput, numpy.ndarray], weights: Optional[List[float]] = None
) -> Model[PairInput, Floats2d]:
    """Create the architecture ``spacy_bioie.RelationEnsemble.v1``, for ``relation_ensemble``.

    It maps documents and their candidate pairs to logits of shape (pairs, predicates): the log
    odds of the members' mean probability. Members may be of different architectures and losses.

    members: models with the architecture ``spacy_bioie.PairProbabilities.v1``, trained apart over
        one relation schema.
    weights: of the members, above 0; even by default.

    Raises ValueError where there is no member, or the weights do not fit.
    """
    if not members:
        raise ValueError("RelationEnsemble: expected at least one member.")
    return Model(
        "relation_ensemble",
        average_probabilities,
        init=init,
        layers=list(members),
        attrs={"weights": normalised_weights(weights, len(members))},
    )


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    raise ValueError(
        "RelationEnsemble: an ensemble has no parameters of its own to initialize. Expected one "
        "made of trained members, as spacy_bioie.training.relation_averaging makes it."
    )


def average_probabilities(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Any], PairInput]]:
    _, candidates = X
    mean = numpy.zeros((len(candidates.pairs), candidates.n_predicates))
    for member, weight in zip(model.layers, model.attrs["weights"], strict=True):
        mean += weight * member.predict(X)
    mean = mean.clip(_LEAST, 1.0 - _LEAST)
    odds: Any = numpy.log(mean) - numpy.log1p(-mean)
    return model.ops.asarray2f(odds.astype("float32")), _no_backprop


def _no_backprop(d_scores: Any) -> PairInput:
    raise ValueError(
        "RelationEnsemble: an ensemble does not learn, its members are trained apart. Expected "
        "the component in training.frozen_components."
    )
