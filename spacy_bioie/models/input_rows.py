"""Inputs of an encoder that are put together from parts of texts.

A document gives one input for each of its pairs, and these share nearly all of their pieces. So
an input is kept as ranges of one pool of pieces, and is written out when its turn comes.
"""

from copy import copy
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy
from numpy.typing import ArrayLike


class Range(NamedTuple):
    """Pieces of a pool, in each row of inputs: ``start`` and ``count`` are int64, (rows,), or one
    number for all rows. ``kind``: the token type of text."""

    start: Any
    count: Any
    kind: int = 0


class PiecePool:
    """The pieces that inputs are made of, each text once."""

    def __init__(self) -> None:
        self.ids: List[numpy.ndarray] = []
        self.types: List[numpy.ndarray] = []
        self.size = 0

    def add(self, ids: ArrayLike, types: Optional[ArrayLike] = None) -> Range:
        """Add pieces, with their token types if they are no text. RETURNS: where they are."""
        added = numpy.asarray(ids, dtype="int64")
        kinds = numpy.zeros(len(added)) if types is None else numpy.asarray(types)
        self.ids.append(added)
        self.types.append(kinds.astype("int64"))
        self.size += len(added)
        return Range(self.size - len(added), len(added))


class Padding(NamedTuple):
    """What rows are filled up with: id and token type, None for an encoder without types."""

    id: int
    type: Optional[int]


class PaddedRows(NamedTuple):
    """ids, types: int64, (rows, longest); types is None for an encoder without them.
    mask: int64, the same shape, 1 for pieces and 0 for padding. read: int64, (rows, n)."""

    ids: numpy.ndarray
    mask: numpy.ndarray
    types: Optional[numpy.ndarray]
    read: numpy.ndarray


class InputRows:
    """Inputs of an encoder: rows of ranges of a pool, side by side.

    lengths: int64, (rows,): pieces. read: int64, (rows, n): the pieces of each row whose vectors
    are asked for.
    """

    def __init__(
        self, pool: PiecePool, ranges: Sequence[Range], read: numpy.ndarray, padding: Padding
    ):
        """Create rows.

        read: int64, (rows, n): indices of ranges, whose first pieces are read.
        """
        self.ids, self.types = numpy.concatenate(pool.ids), numpy.concatenate(pool.types)
        self.starts = _columns([part.start for part in ranges], len(read))
        self.counts = _columns([part.count for part in ranges], len(read))
        self.kinds = numpy.asarray([part.kind for part in ranges], dtype="int64")
        self.lengths = self.counts.sum(axis=1)
        begins = numpy.cumsum(self.counts, axis=1) - self.counts
        self.read = numpy.take_along_axis(begins, read, axis=1)
        self.padding = padding

    def select(self, rows: numpy.ndarray) -> "InputRows":
        """Some of the rows, over the same pool. rows: int64, (n,)."""
        out = copy(self)
        for name in ("starts", "counts", "lengths", "read"):
            setattr(out, name, getattr(self, name)[rows])
        return out

    def write_out(self, rows: numpy.ndarray) -> PaddedRows:
        """The pieces of some rows, padded to the longest of them. rows: int64, (n,)."""
        starts, counts = self.starts[rows].ravel(), self.counts[rows].ravel()
        before = numpy.cumsum(counts) - counts
        pieces = numpy.arange(int(counts.sum())) + numpy.repeat(starts - before, counts)
        lengths = self.lengths[rows]
        filled = numpy.arange(int(lengths.max())) < lengths[:, None]
        ids = numpy.full(filled.shape, self.padding.id, dtype="int64")
        ids[filled] = self.ids[pieces]
        types = None
        if self.padding.type is not None:
            types = numpy.full(filled.shape, self.padding.type, dtype="int64")
            kinds = numpy.repeat(numpy.tile(self.kinds, len(rows)), counts)
            types[filled] = self.types[pieces] + kinds
        return PaddedRows(ids, filled.astype("int64"), types, self.read[rows])


def _columns(values: Sequence[Any], n_rows: int) -> numpy.ndarray:
    """Put values side by side, one number or (rows,) each: int64, (rows, values)."""
    columns = [numpy.broadcast_to(numpy.asarray(value), (n_rows,)) for value in values]
    return numpy.stack(columns, axis=1).astype("int64")
