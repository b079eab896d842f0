"""Several span models as one: their scores are averaged, and decoded once."""

from dataclasses import dataclass, replace
from typing import Any, Callable, List, Literal, Optional, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model

from .pointer_head import PointerHead, PointerScores
from .span_head import SPAN_HEAD, TEMPERATURE, get_span_head, temperature_of
from .tag_averaging import average_emissions, average_probabilities, head_of_probabilities
from .tagger_head import TaggerHead, TagScores

AVERAGING = "averaging"
Method = Literal["emissions", "tokens"]
# what the heads of all members have to share for their scores to mean the same
_TAGGER = ("chains", "decoder", "scheme", "max_length")
_POINTER = ("max_width", "overlap", "min_score")


@dataclass(frozen=True)
class Averaging:
    """How the outputs of members are averaged; see ``SpanEnsemble_v1``.

    weights: sum up to 1. label_orders: None where all members have the labels in one order.
    """

    method: Method
    weights: Sequence[float]
    label_orders: Optional[Sequence[List[int]]]


def SpanEnsemble_v1(
    *members: Model[List[Doc], Any],
    method: Method = "emissions",
    weights: Optional[List[float]] = None,
    label_orders: Optional[List[List[int]]] = None,
) -> Model[List[Doc], Any]:
    """Create the architecture ``spacy_bioie.SpanEnsemble.v1``, a model for ``span_ensemble``.

    members: span models, each over an encoder of its own or a listener. They are trained apart.
    method: "emissions" averages the scores of tags and the start, transition and end scores of
        CRFs (GutUZH), for one head trained several times, or the scores of spans of
        ``SpanPointer.v1`` and ``GLiNER.v1``. "tokens" averages the probabilities of each token's
        tags (LYX_DMIIP_FDU), which are marginals where a member has a CRF: for any taggers over
        any encoders. Tags of different schemes are read as BIO then, and where a member has a
        chain for each label, so has the ensemble. Of the averages the best tags are taken; where a
        member has a CRF, the best that are legal.
    weights: of the members, above 0; even by default.
    label_orders: for each member, the places of the ensemble's labels among its own; by default
        all have the same order.

    A member's temperature divides its scores before they are averaged; the ensemble's own
    (attribute "temperature") divides the average.

    Raises ValueError where a setting has none of these values or the members do not fit.
    """
    if not members:
        raise ValueError("SpanEnsemble: expected at least one member.")
    if method not in ("emissions", "tokens"):
        raise ValueError(f"SpanEnsemble: method is {method!r}, expected 'emissions' or 'tokens'.")
    head = _joint_head([get_span_head(member) for member in members], method)
    averaging = Averaging(
        method,
        normalised_weights(weights, len(members)),
        _checked_orders(label_orders, len(members)),
    )
    return Model(
        "span_ensemble",
        forward,
        init=init,
        layers=list(members),
        dims={"nO": None},
        attrs={AVERAGING: averaging, SPAN_HEAD: head, TEMPERATURE: 1.0},
    )


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    raise ValueError(
        "SpanEnsemble: an ensemble has no parameters of its own to initialize. Expected one made "
        "of trained members, as `python -m spacy bioie ensemble` writes it."
    )


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[Any, Callable[[Any], List[Doc]]]:
    outputs = [member.predict(docs) for member in model.layers]
    averaging, head = model.attrs[AVERAGING], model.attrs[SPAN_HEAD]
    weights, orders = averaging.weights, averaging.label_orders
    orders = orders or [list(range(model.get_dim("nO")))] * len(outputs)
    average: Any
    if averaging.method == "tokens":
        heads: List[Any] = [get_span_head(member) for member in model.layers]
        average = average_probabilities(outputs, heads, head, weights, orders)
    elif isinstance(outputs[0], TagScores):
        average = average_emissions(outputs, head, weights, orders)
    else:
        average = average_pointers(outputs, weights, orders)

    def backprop(d_scores: Any) -> List[Doc]:
        raise ValueError(
            "SpanEnsemble: an ensemble does not learn, its members are trained apart. Expected "
            "the component in training.frozen_components."
        )

    return replace(average, temperature=temperature_of(model)), backprop


def average_pointers(
    outputs: Sequence[PointerScores], weights: Sequence[float], orders: Sequence[List[int]]
) -> PointerScores:
    """The mean of the scores of spans."""
    parts = zip(outputs, weights, orders, strict=True)
    logits: Any = sum(
        out.logits[:, :, order] / out.temperature * weight for out, weight, order in parts
    )
    return replace(outputs[0], logits=logits)


def normalised_weights(weights: Optional[Sequence[float]], n: int) -> List[float]:
    """Weights of ``n`` members that sum up to 1; even ones for None.

    Raises ValueError for another number of weights, and for one that is not above 0.
    """
    weights = [1.0] * n if weights is None else list(weights)
    if len(weights) != n or not all(0.0 < weight < float("inf") for weight in weights):
        raise ValueError(f"The weights are {weights}, expected {n}, each above 0.")
    return [weight / sum(weights) for weight in weights]


def _joint_head(heads: Sequence[Any], method: Method) -> Any:
    kinds = {type(head) for head in heads}
    if method == "tokens":
        if kinds != {TaggerHead}:
            raise ValueError(
                "SpanEnsemble: the method 'tokens' averages tags. Expected members with the "
                "architecture 'spacy_bioie.SpanTagger.v1', or a vote over their spans."
            )
        return head_of_probabilities(heads)
    tagging = kinds == {TaggerHead}
    if not tagging and not all(isinstance(head, PointerHead) for head in heads):
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(
            f"SpanEnsemble: the members have heads of the kinds {names}. Expected taggers "
            "('spacy_bioie.SpanTagger.v1') or models that score spans "
            "('spacy_bioie.SpanPointer.v1', 'spacy_bioie.GLiNER.v1'), not both."
        )
    for setting in _TAGGER if tagging else _POINTER:
        values = [getattr(head, setting) for head in heads]
        if len(set(values)) > 1:
            raise ValueError(
                f"SpanEnsemble: {setting} is {values} in the members. The method 'emissions' "
                "expects one head, trained several times."
            )
    return heads[0]


def _checked_orders(orders: Optional[List[List[int]]], n: int) -> Optional[List[List[int]]]:
    if orders is None:
        return None
    places = list(range(len(orders[0]))) if orders else []
    if len(orders) != n or any(sorted(order) != places for order in orders):
        raise ValueError(
            f"SpanEnsemble: label_orders is {orders}, expected for each of {n} members the places "
            "of all labels, each once."
        )
    return [list(order) for order in orders]
