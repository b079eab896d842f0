"""Plain text: one file a document."""

import errno
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple, Union

from .errors import FormatError
from .strict_json import read_utf8


def read_texts(paths: Union[str, Path, Sequence[Union[str, Path]]]) -> Iterator[Tuple[str, str]]:
    """Read text files, or the ``.txt`` files of folders by name, as (id, text) pairs.

    The id is the file's name without its suffix. The text is without line breaks at its ends; one
    with exactly one inside is a title and an abstract. Raises FormatError for a file that is not
    UTF-8 and for two files of one id, OSError for one that cannot be read, and FileNotFoundError
    for a folder without text files.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    files: List[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(errno.ENOENT, "no .txt file in the folder", str(path))
        files += found
    seen: Dict[str, Path] = {}
    for file in files:
        if file.stem in seen:
            raise FormatError(
                file, "", "", f"has the same name as {seen[file.stem]}: expected one file an id"
            )
        seen[file.stem] = file
    for file in files:
        yield file.stem, read_utf8(file).strip("\n")
