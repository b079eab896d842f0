"""The token vectors of a batch in one array, for heads over the layer ``tok2vec`` of a model."""

from typing import Any, Callable, List, Optional, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d


def width_of(model: Model, docs: Optional[List[Doc]], architecture: str) -> int:
    """Initialize the layer ``tok2vec``, and say how wide its vectors are.

    Raises ValueError where it cannot be told.
    """
    tok2vec = model.get_ref("tok2vec")
    tok2vec.initialize(X=docs)
    width = tok2vec.maybe_get_dim("nO")
    if width is None:
        if not docs:
            raise ValueError(
                f"{architecture}: the width of the token vectors is unknown. Expected a tok2vec "
                "layer with the dimension nO, or example documents to initialize with."
            )
        width = tok2vec.predict(docs[:1])[0].shape[1]
    return int(width)


def flat_vectors(
    model: Model, docs: List[Doc], width: int, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], List[Doc]]]:
    """Run the layer ``tok2vec``.

    width: of its vectors, for a batch without documents.
    RETURNS: (tokens, width), and the way back for their gradient.
    """
    xp: Any = model.ops.xp
    token_vectors, backprop_tok2vec = model.get_ref("tok2vec")(docs, is_train)
    flat = xp.concatenate(token_vectors) if docs else model.ops.alloc2f(0, width)

    def backprop(d_flat: Floats2d) -> List[Doc]:
        borders = numpy.cumsum([len(doc) for doc in docs])[:-1].tolist()
        return backprop_tok2vec(xp.split(d_flat, borders) if docs else [])

    return flat, backprop
