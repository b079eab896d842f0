"""Mentions in their context, projected into the space of a knowledge base's name vectors."""

from typing import Any, Callable, List, Optional, Sequence, Tuple, cast

import numpy
from spacy.tokens import Doc
from thinc.api import Linear, Maxout, Model, chain
from thinc.types import Floats2d

from ..annotation import MentionTable
from .listener import watch_gradient

MentionInput = Tuple[Sequence[Doc], Sequence[MentionTable]]
MentionVectors = List[Floats2d]  # for each document (mentions, nO)


def MentionEncoder_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    hidden_width: int = 256,
    maxout_pieces: int = 2,
    dropout: float = 0.1,
    nO: Optional[int] = None,
) -> Model[MentionInput, MentionVectors]:
    """Create ``spacy_bioie.MentionEncoder.v1``: from documents and mention tables to vectors.

    A mention is the mean of its token vectors beside the vector of its first token; a maxout layer
    with layer normalisation and a linear layer project both to the width of the name vectors.

    tok2vec: the sublayer that embeds tokens, often a listener.
    hidden_width, maxout_pieces, dropout: of the maxout layer.
    nO: the width of the output; a ``faiss_entity_linker`` sets it to that of its knowledge base.
    """
    tok2vec = watch_gradient(tok2vec)
    projection: Model = chain(
        Maxout(nO=hidden_width, nP=maxout_pieces, normalize=True, dropout=dropout), Linear(nO=nO)
    )
    model: Model[MentionInput, MentionVectors] = Model(
        "mention_encoder",
        forward,
        init=init,
        layers=[tok2vec, projection],
        dims={"nO": nO},
    )
    model.set_ref("tok2vec", tok2vec)
    return model


def init(
    model: Model[MentionInput, MentionVectors],
    X: Optional[MentionInput] = None,
    Y: Optional[Any] = None,
) -> None:
    """Size the layers; ``nO`` has to be set before."""
    tok2vec, projection = model.layers
    docs = list(X[0]) if X is not None else None
    tok2vec.initialize(X=docs)
    width = tok2vec.maybe_get_dim("nO")
    if width is None and docs:
        width = tok2vec.predict(docs[:1])[0].shape[1]
    if width is None:
        raise ValueError(
            "spacy_bioie.MentionEncoder.v1 cannot tell the width of its tok2vec layer: expected "
            "its dimension nO to be set, or documents to initialize with."
        )
    if model.has_dim("nO") is None:
        raise ValueError(
            "spacy_bioie.MentionEncoder.v1 has no output width: expected nO to be set, as a "
            "faiss_entity_linker does from its knowledge base."
        )
    projection.initialize(
        X=model.ops.alloc2f(1, 2 * width), Y=model.ops.alloc2f(1, model.get_dim("nO"))
    )


def forward(
    model: Model[MentionInput, MentionVectors], inputs: MentionInput, is_train: bool
) -> Tuple[MentionVectors, Callable[[MentionVectors], MentionInput]]:
    """Run the token vectors of all documents, also of those without mentions.

    Raises ValueError where a mention covers no token or leaves its document.
    """
    tok2vec, projection = model.layers
    docs, tables = inputs
    ops: Any = model.ops
    token_vectors, backprop_tokens = tok2vec(list(docs), is_train)
    n_tokens = [len(vectors) for vectors in token_vectors]
    sizes = [len(table) for table in tables]
    indices, lengths = _token_indices(tables, n_tokens)
    width = model.get_dim("nO")
    if not sum(sizes):
        empty = [ops.alloc2f(0, width) for _ in tables]

        def backprop_nothing(d_outputs: MentionVectors) -> MentionInput:
            backprop_tokens([ops.xp.zeros_like(vectors) for vectors in token_vectors])
            return inputs

        return empty, backprop_nothing
    tokens = ops.xp.concatenate(token_vectors)
    rows = ops.asarray1i(indices)
    length_array = ops.asarray1i(lengths)
    first = ops.asarray1i(indices[numpy.cumsum(lengths) - lengths])
    means = ops.reduce_mean(tokens[rows], length_array)
    pooled = ops.xp.concatenate((means, tokens[first]), axis=1)
    projected, backprop_projection = projection(pooled, is_train)

    def backprop(d_outputs: MentionVectors) -> MentionInput:
        d_pooled = backprop_projection(ops.xp.concatenate(d_outputs))
        half = d_pooled.shape[1] // 2
        d_tokens = ops.xp.zeros_like(tokens)
        d_means = ops.xp.ascontiguousarray(d_pooled[:, :half])
        ops.scatter_add(d_tokens, rows, ops.backprop_reduce_mean(d_means, length_array))
        ops.scatter_add(d_tokens, first, d_pooled[:, half:])
        backprop_tokens(split_rows(ops, d_tokens, n_tokens))
        return inputs

    return split_rows(ops, projected, sizes), backprop


def check_mentions(tables: Sequence[MentionTable], n_tokens: Sequence[int]) -> None:
    """Raise ValueError where a mention covers no token or leaves its document."""
    sizes = [len(table) for table in tables]
    table = numpy.concatenate([*tables, numpy.zeros((0, 3), dtype="int64")])
    counts = numpy.asarray(n_tokens, dtype="int64")
    starts, ends = table[:, 0], table[:, 1]
    wrong = (starts < 0) | (starts >= ends) | (ends > numpy.repeat(counts, sizes))
    if wrong.any():
        row = int(numpy.flatnonzero(wrong)[0])
        document = int(numpy.repeat(numpy.arange(len(sizes)), sizes)[row])
        raise ValueError(
            f"Mention of tokens {int(starts[row])} to {int(ends[row])} in document {document} of "
            f"the batch: expected at least one token, inside the {int(counts[document])} tokens."
        )


def _token_indices(
    tables: Sequence[MentionTable], n_tokens: Sequence[int]
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The tokens of all mentions, one mention after the other, counted over all documents.

    RETURNS: token indices, int32, and the number of tokens of each mention, int32.
    """
    check_mentions(tables, n_tokens)
    sizes = [len(table) for table in tables]
    table = numpy.concatenate([*tables, numpy.zeros((0, 3), dtype="int64")])
    counts = numpy.asarray(n_tokens, dtype="int64")
    starts, ends = table[:, 0], table[:, 1]
    offsets = numpy.repeat(numpy.cumsum(counts) - counts, sizes)
    lengths = ends - starts
    before = numpy.cumsum(lengths) - lengths
    indices = numpy.arange(int(lengths.sum())) + numpy.repeat(starts + offsets - before, lengths)
    return indices.astype("int32"), lengths.astype("int32")


def split_rows(ops: Any, array: Floats2d, sizes: Sequence[int]) -> MentionVectors:
    """Rows of mentions as an array for each document. sizes: mentions of each document."""
    ends = numpy.cumsum(sizes).tolist()
    return [
        cast(Floats2d, ops.xp.ascontiguousarray(array[end - size : end]))
        for end, size in zip(ends, sizes, strict=True)
    ]
