"""What models of candidate pairs over an encoder of their own share.

Their module has an ``encoder`` and a ``pair_head``, a method ``prepare`` that makes its input from
documents and their candidates, and sizes that ``PairCandidates`` names so, too.
"""

from functools import partial
from typing import Any, Callable, Optional, Tuple

from thinc.api import Model
from thinc.types import Floats2d
from torch import nn

from .candidates import PairInput
from .own_encoder_layer import own_encoder_layer
from .sized_modules import build_parameters, built_module


def own_pair_model(name: str, architecture: str, module: nn.Module) -> Model[PairInput, Floats2d]:
    """From documents and their candidate pairs to logits of shape (pairs, predicates).

    architecture: what errors call it.
    """
    scorer = own_encoder_layer(module, "pair_head")
    return Model(
        name,
        partial(_forward, architecture),
        init=partial(_init, architecture),
        layers=[scorer],
        refs={"scorer": scorer},
        dims={"nO": None},
    )


def _init(architecture: str, model: Model, X: Optional[PairInput] = None, Y: Any = None) -> None:
    """Read the encoder, if there is none yet, and size the scorer by the predicates of ``X``.

    Raises ValueError where the encoder cannot be read or used.
    """
    if X is None:
        raise ValueError(
            f"{architecture}: predicates are unknown. Expected example documents with their "
            "candidate pairs to initialize with."
        )
    _, candidates = X
    scorer = model.get_ref("scorer")
    sizes = scorer.shims[0]._model.sizes
    build_parameters(scorer, **{name: getattr(candidates, name) for name in sizes})
    model.set_dim("nO", candidates.n_predicates, force=True)


def _forward(
    architecture: str, model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], PairInput]]:
    docs, candidates = X
    scorer = model.get_ref("scorer")
    module = built_module(scorer, architecture)
    if not len(candidates.pairs):
        return model.ops.alloc2f(0, module.n_predicates), lambda d_logits: X
    logits, backprop_scorer = scorer(module.prepare(docs, candidates), is_train)

    def backprop(d_logits: Floats2d) -> PairInput:
        backprop_scorer(d_logits)
        return X

    return logits, backprop
