"""Write files beside their place and put them there when they are complete."""

import errno
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Union


@contextmanager
def replacing(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a path beside ``path``; what is written there replaces ``path`` when the block ends.

    After an error ``path`` is as it was. Folders above it are made. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "a folder is in the place of the file to write", str(path)
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write UTF-8 files; none takes its place before all are written. Raises OSError."""
    with ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(replacing(path)).write_text(text, encoding="utf8", newline="\n")
