"""Static vectors beside the encoder: spaCy's own, from Word2Vec or floret files."""

from typing import Any, Callable, List, Optional, Tuple

import numpy
from spacy.attrs import ORTH
from spacy.tokens import Doc
from spacy.vectors import Mode
from thinc.api import Model, glorot_uniform_init
from thinc.types import Floats2d

from .flat_vectors import width_of
from .listener import watch_gradient

PROJECTION = "head_projection"  # optimizers know the rates of parts by the names of parameters


def WithStaticVectors_v1(
    tok2vec: Model[List[Doc], List[Floats2d]], width: int = 0
) -> Model[List[Doc], List[Floats2d]]:
    """Create the architecture ``spacy_bioie.WithStaticVectors.v1``.

    It may stand wherever a head takes ``tok2vec``, and joins each token's vector from there with
    that of the token's text in the pipeline's vectors (``initialize.vectors``), as AdaBioBERT joins
    Word2Vec with BioBERT. The vectors themselves do not learn. A token without one has zeros.

    tok2vec: one vector for each token.
    width: width of a linear projection of the static vectors, which learns; 0 for none.

    Raises ValueError for a negative width.
    """
    if width < 0:
        raise ValueError(f"WithStaticVectors: width is {width}, expected 0 or more.")
    tok2vec = watch_gradient(tok2vec)
    return Model(
        "with_static_vectors",
        forward,
        init=init,
        layers=[tok2vec],
        refs={"tok2vec": tok2vec},
        params={PROJECTION: None} if width else {},
        dims={"nO": None, "nM": None},
        attrs={"width": width},
    )


def init(model: Model, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Size the model by the vectors of ``tok2vec`` and by those of the documents' vocabulary."""
    if not X:
        raise ValueError(
            "WithStaticVectors: the static vectors are unknown. Expected example documents to "
            "initialize with."
        )
    encoded = width_of(model, X, "WithStaticVectors")
    width = X[0].vocab.vectors.shape[1]
    if not width:
        raise ValueError(
            "WithStaticVectors: the pipeline has no vectors. Expected the name or folder of a "
            "pipeline with vectors as initialize.vectors; `spacy init vectors` makes one from a "
            "Word2Vec or floret file."
        )
    model.set_dim("nM", width)
    projected = model.attrs["width"]
    if projected:
        model.set_param(PROJECTION, glorot_uniform_init(model.ops, (projected, width)))
    model.set_dim("nO", encoded + (projected or width))


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    encoded, backprop_tok2vec = model.get_ref("tok2vec")(docs, is_train)
    vectors = static_vectors(model, docs)
    static = vectors
    if model.attrs["width"]:
        projection: Any = model.get_param(PROJECTION)
        static = model.ops.gemm(vectors, projection, trans2=True)
    xp = model.ops.xp
    borders = numpy.cumsum([len(doc) for doc in docs])[:-1].tolist()
    parts = xp.split(static, borders) if docs else []
    joined = [xp.concatenate(pair, axis=1) for pair in zip(encoded, parts, strict=True)]
    width = static.shape[1]

    def backprop(d_joined: List[Floats2d]) -> List[Doc]:
        if model.attrs["width"] and d_joined:
            d_static = xp.concatenate([d[:, -width:] for d in d_joined])
            model.inc_grad(PROJECTION, model.ops.gemm(d_static, vectors, trans1=True))
        return backprop_tok2vec([model.ops.as_contig(d[:, :-width]) for d in d_joined])

    return joined, backprop


def static_vectors(model: Model, docs: List[Doc]) -> Floats2d:
    """The static vectors of all tokens, (tokens, nM).

    Raises ValueError where the documents' vocabulary has vectors of another width, or none.
    """
    expected = model.get_dim("nM")
    if not any(len(doc) for doc in docs):
        return model.ops.alloc2f(0, expected)
    vectors = docs[0].vocab.vectors
    if vectors.shape[1] != expected:
        raise ValueError(
            f"WithStaticVectors: the documents' vocabulary has vectors of width "
            f"{vectors.shape[1]}, expected those of width {expected} that the model was "
            "initialized with."
        )
    keys = numpy.concatenate([doc.to_array(getattr(vectors, "attr", ORTH)) for doc in docs])
    if vectors.mode == Mode.floret:
        return model.ops.asarray2f(vectors.get_batch(keys))
    rows = vectors.find(keys=keys)
    found = model.ops.asarray(vectors.data)[rows]
    found[rows < 0] = 0.0
    return model.ops.asarray2f(found)
