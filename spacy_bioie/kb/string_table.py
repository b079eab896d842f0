"""Many strings in one buffer, so that they can be memory-mapped instead of built on load."""

from bisect import bisect_left
from typing import Dict, Iterable, List, Sequence

import numpy


class StringTable(Sequence[str]):
    """Strings as one UTF-8 buffer, uint8 of shape (bytes,), and int64 offsets of shape (n + 1,).

    Reading a string decodes it anew; nothing is kept but the two arrays.
    """

    def __init__(self, buffer: numpy.ndarray, offsets: numpy.ndarray):
        self.buffer = numpy.asarray(buffer)
        self.offsets = numpy.asarray(offsets)
        # Much faster than arrays to read single items of
        self._bytes = memoryview(self.buffer)  # type: ignore[arg-type]
        self._offsets = memoryview(self.offsets)  # type: ignore[arg-type]
        self._n = len(self.offsets) - 1

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> "StringTable":
        """Store strings in the order given."""
        encoded = [string.encode("utf8", errors="surrogatepass") for string in strings]
        offsets = numpy.zeros((len(encoded) + 1,), dtype="int64")
        numpy.cumsum([len(string) for string in encoded], out=offsets[1:])
        return cls(numpy.frombuffer(b"".join(encoded), dtype="uint8"), offsets)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, row):  # type: ignore[override]
        """The string of a row (a non-negative integer)."""
        if not 0 <= row < self._n:
            raise IndexError(f"Row {row} of a table of {self._n} strings.")
        part = self._bytes[self._offsets[row] : self._offsets[row + 1]]
        return str(part, "utf8", "surrogatepass")

    def take(self, rows: Iterable[int]) -> List[str]:
        """The strings of several rows."""
        return [self[int(row)] for row in rows]

    def find_sorted(self, string: str) -> int:
        """The row of a string by binary search, -1 if absent. The table has to be sorted."""
        row = bisect_left(self, string)
        return row if row < self._n and self[row] == string else -1

    def to_arrays(self, name: str) -> Dict[str, numpy.ndarray]:
        """The arrays to be saved, named after the table."""
        return {f"{name}.buffer": self.buffer, f"{name}.offsets": self.offsets}

    @classmethod
    def from_arrays(cls, name: str, arrays: Dict[str, numpy.ndarray]) -> "StringTable":
        """Read what ``to_arrays`` gave."""
        return cls(arrays[f"{name}.buffer"], arrays[f"{name}.offsets"])
