"""A file that is being read: opened, unpacked, and watched."""

import gzip
import io
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Tuple

from ..findings import Findings
from .filters import Filters

GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
_GZIP_MAGIC = b"\x1f\x8b"


class Source:
    """What a reader of concepts works with.

    path: a file, or a folder of files that belong together. filters: what is wanted. findings:
    where the reader notes ``empty_names`` (names without a character) and ``left_out`` (what the
    filters leave out). on_read: called with each number of bytes that was read.
    """

    def __init__(
        self,
        path: Path,
        filters: Optional[Filters] = None,
        findings: Optional[Findings] = None,
        on_read: Optional[Callable[[int], Any]] = None,
    ):
        self.path = path
        self.filters = filters or Filters()
        self.findings = findings if findings is not None else Findings()
        self.on_read = on_read or (lambda size: None)

    @contextmanager
    def open(self, path: Optional[Path] = None) -> Iterator["io.BufferedReader[Any]"]:
        """Open the file, or another file beside it, for bytes; what is gzipped is unpacked."""
        path = path or self.path
        with _WatchedFile(path, self.on_read) as raw, io.BufferedReader(raw, 2**16) as file:
            if path.suffix == ".gz" or file.peek(2)[:2] == _GZIP_MAGIC:
                unpacked = gzip.GzipFile(fileobj=file)
                with io.BufferedReader(unpacked, 2**16) as buffered:  # type: ignore[arg-type]
                    yield buffered
            else:
                yield file

    def lines(self, path: Optional[Path] = None) -> Iterator[Tuple[int, str]]:
        """The lines with their numbers, from 1, without line ends.

        Raises ValueError that names file and line where they are not UTF-8, or gzip data is
        damaged.
        """
        path = path or self.path
        number = 0
        try:
            with self.open(path) as file:
                for number, line in enumerate(file, start=1):
                    try:
                        text = line.decode("utf-8-sig" if number == 1 else "utf8")
                    except UnicodeDecodeError as error:
                        raise ValueError(
                            f"'{path}', line {number}: expected UTF-8, but {error}."
                        ) from None
                    yield number, text.rstrip("\r\n")
        except GZIP_ERRORS as error:
            raise damaged(path, f"line {number}", error) from None

    def keep_name(self, concept_id: str, name: str) -> bool:
        """Whether a name, without white space around it, has a character; notes it if not."""
        if not name:
            self.findings.note("empty_names", concept_id)
        return bool(name)


def damaged(path: Path, place: str, error: BaseException) -> ValueError:
    """The error of a gzipped file that breaks off behind a place, "" where it is not known."""
    after = f" after {place}" if place else ""
    return ValueError(f"'{path}': the gzip data breaks off or is damaged{after} ({error}).")


class _WatchedFile(io.FileIO):
    """A file that tells how many bytes are read: of the packed ones, where it is packed."""

    def __init__(self, path: Path, on_read: Callable[[int], Any]):
        super().__init__(str(path), "rb")  # as a Path it would be told as one where it is absent
        self._on_read = on_read

    def readinto(self, buffer: Any) -> int:
        size = super().readinto(buffer) or 0
        self._on_read(size)
        return size
