"""Contrastive loss of vectors against frozen targets."""

from typing import Any, Callable, Tuple

import numpy
from thinc.types import Floats2d, Floats3d, Ints1d

_CHUNK = 65536


def contrastive_loss(
    vectors: Floats2d, targets: Floats2d, gold: Ints1d, temperature: float
) -> Tuple[float, Floats2d]:
    """InfoNCE (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748, eq. 4) over cosines.

    vectors: (n, width). targets: (m, width), of length 1; they get no gradient. gold: for each
    vector the row of its target. temperature: cosines are divided by it.

    RETURNS: the mean over the vectors of -log softmax(cosines / temperature)[gold], and its
        gradient with respect to ``vectors``.
    """
    units, through_units = _normalised(vectors)
    loss, d_logits = _softmax_loss(units @ targets.T / temperature, gold)
    return loss, through_units(d_logits @ targets / (temperature * len(vectors)))


def contrast_of_rows(
    vectors: Floats2d, targets: Floats3d, known: Any, temperature: float
) -> Tuple[float, Floats2d]:
    """``contrastive_loss`` where each vector has targets of its own, the gold one first.

    targets: (n, m, width), of length 1. known: bool, (n, m): those that count; the first always
        does.
    """
    xp: Any = _array_module(vectors)
    units, through_units = _normalised(vectors)
    logits = xp.einsum("nw,nmw->nm", units, targets) / temperature
    logits[~known] = -xp.inf
    loss, d_logits = _softmax_loss(logits, xp.zeros((len(vectors),), dtype="int64"))
    d_units = xp.einsum("nm,nmw->nw", d_logits, targets) / (temperature * len(vectors))
    return loss, through_units(d_units)


def squared_distance(vectors: Floats2d, targets: Floats2d) -> Tuple[float, Floats2d]:
    """The mean squared distance of vectors, scaled to length 1, from their targets.

    That is the mean squared error times the width, so that its size does not depend on this.

    vectors: (n, width). targets: (n, width), of length 1; they get no gradient.
    RETURNS: the mean, and its gradient with respect to ``vectors``.
    """
    units, through_units = _normalised(vectors)
    difference = units - targets
    loss = float((difference**2).sum(axis=1).mean())
    return loss, through_units(difference * (2 / len(vectors)))


def cosines_of_pairs(
    left: numpy.ndarray,
    right: numpy.ndarray,
    left_rows: numpy.ndarray,
    right_rows: numpy.ndarray,
) -> numpy.ndarray:
    """Cosines of chosen pairs of rows: float64, (pairs,); 0 where a row is zero."""
    left, right = _units(left), _units(right)
    out = numpy.zeros((len(left_rows),), dtype="float64")
    for begin in range(0, len(out), _CHUNK):  # bounds the memory that the gathered rows take
        part = slice(begin, begin + _CHUNK)
        out[part] = numpy.einsum("ij,ij->i", left[left_rows[part]], right[right_rows[part]])
    return out


def _normalised(vectors: Floats2d) -> Tuple[Any, Callable[[Any], Floats2d]]:
    """Vectors scaled to length 1, and the way of a gradient back through this."""
    xp: Any = _array_module(vectors)
    lengths = xp.maximum(xp.linalg.norm(vectors, axis=1, keepdims=True), 1e-8)
    units = vectors / lengths

    def backprop(d_units: Any) -> Floats2d:
        along = (d_units * units).sum(axis=1, keepdims=True)
        return ((d_units - units * along) / lengths).astype(vectors.dtype)

    return units, backprop


def _softmax_loss(logits: Any, gold: Any) -> Tuple[float, Any]:
    """The mean of -log softmax(logits)[gold] over n rows, and its gradient times n."""
    xp: Any = _array_module(logits)
    logits = logits - logits.max(axis=1, keepdims=True)
    log_sums = xp.log(xp.exp(logits).sum(axis=1))
    rows = xp.arange(len(logits))
    loss = float((log_sums - logits[rows, gold]).mean())
    d_logits = xp.exp(logits - log_sums[:, None])
    d_logits[rows, gold] -= 1
    return loss, d_logits


def _units(vectors: numpy.ndarray) -> numpy.ndarray:
    lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / numpy.where(lengths > 0, lengths, 1)


def _array_module(array: Any) -> Any:
    from thinc.util import get_array_module

    return get_array_module(array)
