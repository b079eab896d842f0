"""Lists of different lengths in flat arrays."""

from typing import Dict, Tuple

import numpy


def ragged_positions(starts: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
    """The positions start, start + 1, ... of several ranges, one range after the other (int64)."""
    lengths = numpy.asarray(lengths, dtype="int64")
    before = numpy.cumsum(lengths) - lengths
    return numpy.arange(int(lengths.sum()), dtype="int64") + numpy.repeat(
        numpy.asarray(starts, dtype="int64") - before, lengths
    )


class RaggedRows:
    """For each of n rows a list of int32 values: ``values[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, offsets: numpy.ndarray, values: numpy.ndarray):
        self.offsets = numpy.asarray(offsets)
        self.values = numpy.asarray(values)

    @classmethod
    def from_pairs(cls, rows: numpy.ndarray, values: numpy.ndarray, n: int) -> "RaggedRows":
        """Store (row, value) pairs, whose rows have to be in ascending order, for n rows."""
        offsets = numpy.zeros((n + 1,), dtype="int64")
        numpy.cumsum(numpy.bincount(rows, minlength=n), out=offsets[1:])
        return cls(offsets, numpy.asarray(values, dtype="int32"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> numpy.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def positions(self, rows: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """Where the values of several rows lie in ``values``.

        RETURNS: the index into ``rows`` and the position, for each value: two int64 arrays.
        """
        rows = numpy.asarray(rows, dtype="int64")
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        return numpy.repeat(numpy.arange(len(rows)), lengths), ragged_positions(starts, lengths)

    def to_arrays(self, name: str) -> Dict[str, numpy.ndarray]:
        """The arrays to be saved, named after the lists."""
        return {f"{name}.offsets": self.offsets, f"{name}.values": self.values}

    @classmethod
    def from_arrays(cls, name: str, arrays: Dict[str, numpy.ndarray]) -> "RaggedRows":
        """Read what ``to_arrays`` gave."""
        return cls(arrays[f"{name}.offsets"], arrays[f"{name}.values"])
