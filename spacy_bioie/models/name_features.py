"""Where known names stand, beside the encoder's vectors: a gazetteer as features of tokens."""

from typing import Any, Callable, List, Optional, Tuple

from spacy.tokens import Doc
from thinc.api import Model, glorot_uniform_init
from thinc.types import Floats2d

from .flat_vectors import width_of
from .listener import watch_gradient
from .static_vectors import PROJECTION

# Weights start small and move by about the learn rate in an update: features of size 1 would hardly
# be heard beside an encoder's.
STRENGTH = 5.0


def WithNameTable_v1(
    tok2vec: Model[List[Doc], List[Floats2d]], table: Any, width: int = 64
) -> Model[List[Doc], List[Floats2d]]:
    """Create the architecture ``spacy_bioie.WithNameTable.v1``.

    It may stand wherever a head takes ``tok2vec``, and joins each token's vector from there with
    one that says which kinds of names begin at, go on over and end with the token: a gazetteer as
    features (Chiu and Nichols 2016), whose worth the head learns from context.

    tok2vec: one vector for each token.
    table: ``spacy_bioie.NameTable.v1``; filled when the model is initialized, saved with it.
    width: width of a linear projection of the features, which learns.

    Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"WithNameTable: width is {width}, expected 1 or more.")
    tok2vec = watch_gradient(tok2vec)
    return Model(
        "with_name_table",
        forward,
        init=init,
        layers=[tok2vec],
        refs={"tok2vec": tok2vec},
        params={PROJECTION: None},
        dims={"nO": None},
        attrs={"table": table, "width": width},
    )


def init(model: Model, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Read the names, and size the model by them and by the vectors of ``tok2vec``."""
    encoded = width_of(model, X, "WithNameTable")
    table, width = model.attrs["table"], model.attrs["width"]
    table.fill()
    model.set_param(PROJECTION, glorot_uniform_init(model.ops, (width, table.width)))
    model.set_dim("nO", encoded + width)


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    encoded, backprop_tok2vec = model.get_ref("tok2vec")(docs, is_train)
    table, width = model.attrs["table"], model.attrs["width"]
    projection: Any = model.get_param(PROJECTION)
    features = [model.ops.asarray2f(STRENGTH * table.find(doc)) for doc in docs]
    joined = [
        model.ops.xp.concatenate((vectors, model.ops.gemm(found, projection, trans2=True)), axis=1)
        for vectors, found in zip(encoded, features, strict=True)
    ]

    def backprop(d_joined: List[Floats2d]) -> List[Doc]:
        for d, found in zip(d_joined, features, strict=True):
            d_found = model.ops.as_contig(d[:, -width:])
            model.inc_grad(PROJECTION, model.ops.gemm(d_found, found, trans1=True))
        return backprop_tok2vec([model.ops.as_contig(d[:, :-width]) for d in d_joined])

    return joined, backprop
