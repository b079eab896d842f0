"""Scores of mentions for each code of a closed set, over the shared encoder."""

from typing import Any, List, Optional

from spacy.tokens import Doc
from thinc.api import Gelu, Linear, Model, chain
from thinc.types import Floats2d

from .listener import watch_gradient
from .mention_encoder import MentionInput, MentionVectors, forward
from .mention_encoder import init as init_mentions


def CodeClassifier_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    hidden_width: int = 256,
    dropout: float = 0.1,
    nO: Optional[int] = None,
) -> Model[MentionInput, MentionVectors]:
    """Create ``spacy_bioie.CodeClassifier.v1``: from documents and mention tables to logits.

    A mention is the mean of its token vectors beside the vector of its first token. A perceptron
    with one hidden layer (GELU, layer normalisation) scores the codes: the two layers of
    LYX_DMIIP_FDU at ELCardioCC 2025, over mentions in their context.

    tok2vec: the sublayer that embeds tokens, often a listener.
    hidden_width, dropout: of the hidden layer.
    nO: the number of codes; a ``code_linker`` sets it.

    RETURNS: for each document float32, (mentions, codes).
    """
    tok2vec = watch_gradient(tok2vec)
    head: Model = chain(Gelu(nO=hidden_width, normalize=True, dropout=dropout), Linear(nO=nO))
    model: Model[MentionInput, MentionVectors] = Model(
        "code_classifier", forward, init=init, layers=[tok2vec, head], dims={"nO": nO}
    )
    model.set_ref("tok2vec", tok2vec)
    return model


def init(
    model: Model[MentionInput, MentionVectors], X: Optional[MentionInput] = None, Y: Any = None
) -> None:
    """Size the layers; ``nO`` has to be set before."""
    if model.has_dim("nO") is None:
        raise ValueError(
            "spacy_bioie.CodeClassifier.v1 does not know the number of codes: expected nO to be "
            "set, as a code_linker does from its labels."
        )
    init_mentions(model, X, Y)
