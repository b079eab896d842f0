"""From the encoder's windows to one vector for each token."""

from typing import Any, Callable, List, NamedTuple, Sequence, Tuple

import numpy
from thinc.api import Model
from thinc.types import Floats2d, Ragged


class _Choice(NamedTuple):
    """The pieces from which the tokens of one document take their vectors.

    pieces: int32, indices into the flattened windows. tokens: int64, the tokens that have
    pieces, ascending. lengths: int32, pieces of each of these. n_tokens: of the document.
    """

    pieces: numpy.ndarray
    tokens: numpy.ndarray
    lengths: numpy.ndarray
    n_tokens: int


def token_vectors(
    pooling: Model[Ragged, Floats2d], grad_factor: float = 1.0
) -> Model[List[Any], List[Floats2d]]:
    """Model[List[TransformerData], List[Floats2d]]: one row for each token.

    The row is the pooled vectors of the token's pieces in one window, the one in which it lies
    farther from the edge (the earlier one of two equals); zeros for a token without pieces.
    """
    return Model(
        "token_vectors",
        forward,
        layers=[pooling],
        dims={"nO": None},
        attrs={"grad_factor": grad_factor},
    )


def choose_windows(
    pieces: numpy.ndarray, counts: numpy.ndarray, window_lengths: Sequence[int], width: int
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Choose for each token the window in which it lies farther from the edge.

    pieces: for each token in turn, the indices of its pieces in the flattened padded windows,
        ascending. A piece's window is its index divided by ``width``.
    counts: pieces of each token.
    window_lengths: pieces of each window, without padding.
    width: padded pieces of a window.
    RETURNS: the chosen pieces, int32, and how many each token has of them, int32.

    The distance of a token to the edge is the number of pieces between it and the nearer end of
    the window.
    """
    pieces = numpy.asarray(pieces, dtype="int64")
    counts = numpy.asarray(counts, dtype="int64")
    if not len(pieces):
        return pieces.astype("int32"), counts.astype("int32")
    token = numpy.repeat(numpy.arange(len(counts)), counts)
    window, place = numpy.divmod(pieces, width)
    begins = numpy.flatnonzero(
        numpy.concatenate(([True], (numpy.diff(token) != 0) | (numpy.diff(window) != 0)))
    )
    # One row for each token in each of its windows.
    sizes = numpy.diff(numpy.append(begins, len(pieces)))
    owner = token[begins]
    last = numpy.asarray(window_lengths, dtype="int64")[window[begins]] - 1
    distance = numpy.minimum(place[begins], last - place[begins + sizes - 1])
    # Best first within a token; the sort is stable, so that the earlier of two equals wins.
    order = numpy.lexsort((-distance, owner))
    firsts = order[numpy.concatenate(([True], numpy.diff(owner[order]) != 0))]
    chosen = numpy.zeros((len(begins),), dtype=bool)
    chosen[firsts] = True
    kept = pieces[numpy.repeat(chosen, sizes)]
    lengths = numpy.zeros((len(counts),), dtype="int32")
    lengths[owner[firsts]] = sizes[firsts]
    return kept.astype("int32"), lengths


def forward(
    model: Model, trf_datas: Sequence[Any], is_train: bool
) -> Tuple[List[Floats2d], Callable]:
    pooling: Model[Ragged, Floats2d] = model.layers[0]
    ops: Any = model.ops
    hidden = [_hidden(data) for data in trf_datas]
    choices = [_choose(data, tensor) for data, tensor in zip(trf_datas, hidden, strict=True)]
    chosen = [i for i, choice in enumerate(choices) if len(choice.tokens)]
    width = _width(model, hidden)
    outputs: List[Floats2d] = [ops.alloc2f(choice.n_tokens, width) for choice in choices]
    if not chosen:
        return outputs, lambda d_outputs: _gradients(trf_datas, hidden, {})
    rows = [hidden[i].reshape((-1, width))[ops.asarray1i(choices[i].pieces)] for i in chosen]
    lengths = ops.asarray1i(numpy.concatenate([choices[i].lengths for i in chosen]))
    pooled, backprop_pooling = pooling(Ragged(ops.xp.concatenate(rows), lengths), is_train)
    begin = 0
    for i in chosen:
        end = begin + len(choices[i].tokens)
        outputs[i][ops.asarray1i(choices[i].tokens)] = pooled[begin:end]
        begin = end

    def backprop(d_outputs: List[Floats2d]) -> List[Any]:
        d_pooled = ops.xp.concatenate(
            [d_outputs[i][ops.asarray1i(choices[i].tokens)] for i in chosen]
        )
        d_rows = backprop_pooling(d_pooled).dataXd
        d_rows = d_rows * model.attrs["grad_factor"]
        gradients = {}
        begin = 0
        for i in chosen:
            end = begin + len(choices[i].pieces)
            gradients[i] = _scatter(ops, hidden[i], choices[i].pieces, d_rows[begin:end])
            begin = end
        return _gradients(trf_datas, hidden, gradients)

    return outputs, backprop


def _hidden(data: Any) -> Any:
    """(windows, padded pieces, width), or None for a document without tokens."""
    from spacy_transformers.data_classes import TransformerData

    if not isinstance(data, TransformerData):
        raise ValueError(
            f"Expected the output of a transformer component in doc._.trf_data, but found a "
            f"{type(data).__name__}: is another transformer component in the pipeline?"
        )
    return data.model_output.get("last_hidden_state")


def _choose(data: Any, hidden: Any) -> _Choice:
    counts = numpy.asarray(data.align.lengths)
    if hidden is None or not counts.sum():
        nothing = numpy.zeros((0,), dtype="int32")
        return _Choice(nothing, nothing.astype("int64"), nothing, len(counts))
    pieces, lengths = choose_windows(
        data.align.dataXd, counts, data.wordpieces.lengths, hidden.shape[1]
    )
    tokens = numpy.flatnonzero(lengths)
    return _Choice(pieces, tokens, lengths[tokens], len(counts))


def _width(model: Model, hidden: Sequence[Any]) -> int:
    # Kept, so that a batch of empty documents has arrays of the right width too.
    found = next((tensor.shape[-1] for tensor in hidden if tensor is not None), None)
    if found is not None and model.has_dim("nO") is None:
        model.set_dim("nO", found)
    if found is None:
        return model.get_dim("nO") if model.has_dim("nO") else 0
    return found


def _scatter(ops: Any, hidden: Any, pieces: numpy.ndarray, d_rows: Any) -> Any:
    """Gradients of chosen pieces in an array of the shape of ``hidden``."""
    gradient = ops.alloc(hidden.shape, dtype=hidden.dtype)
    flat = gradient.reshape((-1, hidden.shape[-1]))
    _, first = numpy.unique(pieces, return_index=True)
    if len(first) == len(pieces):
        flat[ops.asarray1i(pieces)] = d_rows
        return gradient
    # A piece that several tokens share gets the sum of their gradients.
    again = numpy.ones((len(pieces),), dtype=bool)
    again[first] = False
    flat[ops.asarray1i(pieces[first])] = d_rows[ops.asarray1i(first)]
    rest = d_rows[ops.asarray1i(numpy.flatnonzero(again))]
    ops.scatter_add(flat, ops.asarray1i(pieces[again]), rest)
    return gradient


def _gradients(trf_datas: Sequence[Any], hidden: Sequence[Any], gradients: dict) -> List[Any]:
    """Gradients as the transformer component expects them: none for documents without tokens."""
    from spacy_transformers.data_classes import TransformerData
    from transformers.file_utils import ModelOutput

    output = []
    for i, (data, tensor) in enumerate(zip(trf_datas, hidden, strict=True)):
        if tensor is None:
            continue
        gradient = gradients.get(i)
        if gradient is None:
            gradient = tensor * 0
        output.append(
            TransformerData(
                model_output=ModelOutput(last_hidden_state=gradient),
                wordpieces=data.wordpieces,
                align=data.align,
            )
        )
    return output
