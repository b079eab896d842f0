"""Titles and abstracts without annotations: JSON lines, gzipped or not, as search results come."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple, Union

from ..annotation import join_sections
from ..kb.sources.source import Source
from .strict_json import RecordReader, parse_json

SUFFIXES = (".jsonl", ".jsonl.gz")


def read_abstracts(
    path: Union[str, Path], on_read: Optional[Callable[[int], Any]] = None
) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Read the documents of a file one after the other, as (text, metadata with the id).

    Each line is an object with the strings ``title`` and ``abstract``, or ``text``; its ``id`` or
    ``pmid``, a string or a whole number, is the document's id. All other fields are metadata.
    Empty lines are passed over. ``on_read`` is called with each number of bytes that was read.

    Raises FormatError, with file, line and field, ValueError for other bytes than UTF-8 and damaged
    gzip data, OSError.
    """
    path = Path(path)
    for number, line in Source(path, on_read=on_read).lines():
        if line.strip():
            record = f"line {number}"
            reader = RecordReader(path, record)
            yield _document(reader, reader.object(parse_json(line, path, record), ""))


def _document(reader: RecordReader, value: Dict[str, Any]) -> Tuple[str, Dict[str, Any]]:
    reader.encodable("", value)
    meta = dict(value)
    identifier: Any = ""
    for key in ("pmid", "id"):
        identifier = meta.pop(key, None) or identifier
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)):
        raise reader.error("id", f"expected a string or a whole number, found {identifier!r}")
    if "text" in meta:
        text = reader.get(meta, "", "text", str)
        del meta["text"]
    elif "title" in meta or "abstract" in meta:
        title, abstract = (reader.get(meta, "", key, str) for key in ("title", "abstract"))
        text = join_sections(title, abstract)
    else:
        raise reader.error("", "expected the fields 'title' and 'abstract', or 'text'")
    return text, {"id": str(identifier), **meta}


def is_abstracts(path: Union[str, Path]) -> bool:
    """Whether the name of a file says that it is in this form."""
    return Path(path).name.lower().endswith(SUFFIXES)
