"""Contrastive loss of vectors against frozen targets."""

from typing import Any, Tuple

import numpy
from thinc.types import Floats2d, Ints1d

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
    xp: Any = _array_module(vectors)
    n = len(vectors)
    lengths = xp.maximum(xp.linalg.norm(vectors, axis=1, keepdims=True), 1e-8)
    units = vectors / lengths
    logits = units @ targets.T / temperature
    logits -= logits.max(axis=1, keepdims=True)
    log_sums = xp.log(xp.exp(logits).sum(axis=1))
    rows = xp.arange(n)
    loss = float((log_sums - logits[rows, gold]).mean())
    d_logits = xp.exp(logits - log_sums[:, None])
    d_logits[rows, gold] -= 1
    d_units = d_logits @ targets / (temperature * n)
    along = (d_units * units).sum(axis=1, keepdims=True)
    return loss, ((d_units - units * along) / lengths).astype(vectors.dtype)


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


def _units(vectors: numpy.ndarray) -> numpy.ndarray:
    lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / numpy.where(lengths > 0, lengths, 1)


def _array_module(array: Any) -> Any:
    from thinc.util import get_array_module

    return get_array_module(array)
