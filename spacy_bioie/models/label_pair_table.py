"""Relation scores from the labels of the mentions alone: the prior that every model has to beat."""

from typing import Any, Callable, Optional, Tuple

from thinc.api import Model
from thinc.types import Floats2d

from .candidates import PairInput


def LabelPairTable_v1() -> Model[PairInput, Floats2d]:
    """Create the architecture ``spacy_bioie.LabelPairTable.v1``.

    A trainable logit for each head label, tail label and predicate; the texts are not read. With
    ``use_priors`` of the component it is the prior of the training documents before any training.
    """
    return Model("label_pair_table", forward, init=init, params={"W": None}, dims={"nO": None})


def init(model: Model, X: Optional[PairInput] = None, Y: Any = None) -> None:
    """Size the table by the labels and predicates of ``X``."""
    if X is None:
        raise ValueError(
            "LabelPairTable: labels and predicates are unknown. Expected example documents with "
            "their candidate pairs to initialize with."
        )
    model.set_dim("nO", X[1].n_predicates, force=True)
    model.set_param("W", model.ops.alloc3f(*X[1].legal.shape))


def forward(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], PairInput]]:
    docs, candidates = X
    table: Any = model.get_param("W")
    labels = candidates.mentions[candidates.pairs, 2]
    heads, tails = (model.ops.asarray1i(column) for column in (labels[:, 0], labels[:, 1]))

    def backprop(d_logits: Floats2d) -> PairInput:
        gradient = model.ops.xp.zeros_like(table)
        model.ops.xp.add.at(gradient, (heads, tails), d_logits)
        model.inc_grad("W", gradient)
        return docs, candidates

    return table[heads, tails], backprop
