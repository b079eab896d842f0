"""Raw text to train encoders on."""

from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence, Union

from ..formats.abstracts import read_abstracts
from ..kb.sources.source import Source

_JSON_LINES = (".jsonl", ".ndjson")


def text_files(paths: Sequence[Union[str, Path]]) -> List[Path]:
    """The files of some paths: themselves, and of folders those that end in .txt or .jsonl, also
    gzipped, by name.

    Raises FileNotFoundError where there is none.
    """
    files: List[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"No such file of texts: '{path}'.")
        if not path.is_dir():
            files.append(path)
            continue
        found = [file for file in sorted(path.iterdir()) if _suffix(file) in (".txt", *_JSON_LINES)]
        if not found:
            raise FileNotFoundError(f"'{path}': the folder holds no .txt or .jsonl file.")
        files += found
    return files


def read_raw_texts(
    path: Union[str, Path], on_read: Optional[Callable[[int], Any]] = None
) -> Iterator[str]:
    """Read the documents of a file, gzipped or not.

    A .jsonl file is read by ``read_abstracts``. Any other file is plain text, whose documents are
    apart by empty lines. Documents without a character are left out.

    on_read: called with each number of bytes that was read.
    Raises FormatError, with file, line and field, ValueError for other bytes than UTF-8, OSError.
    """
    path = Path(path)
    texts: Iterator[str]
    if _suffix(path) in _JSON_LINES:
        texts = (text for text, _ in read_abstracts(path, on_read))
    else:
        texts = _paragraphs(Source(path, on_read=on_read).lines())
    return (text for text in texts if text.strip())


def _paragraphs(lines: Iterator[Any]) -> Iterator[str]:
    gathered: List[str] = []
    for _, line in lines:
        if line.strip():
            gathered.append(line)
        elif gathered:
            yield "\n".join(gathered)
            gathered = []
    if gathered:
        yield "\n".join(gathered)


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
