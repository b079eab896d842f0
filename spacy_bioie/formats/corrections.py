"""Known bad annotations of a corpus: a list that says which are left out, and which are changed.

A list is a TSV file whose first row names the columns, or JSON lines (``.jsonl``) with the same
names as fields::

    id          the document's id (PMID)
    start, end  characters of the document's text (title, line break, abstract); end is exclusive
    text        the mention's exact text, which is compared if it is given
    label       the mention's label; without it, mentions of all labels at this place
    new_start, new_end, new_label
                what the mention becomes; without any of them it is left out
    reason      why, for those who read the list

An entry with ``id`` and ``reason`` alone leaves the whole document out. Rows that begin with a "#"
are comments. Relations of a mention that is left out go with it.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

from spacy.tokens import Doc

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    mention_characters,
    relations_key,
    set_mentions,
    set_relations,
)
from .articles import token_ranges, with_exact_characters
from .errors import FormatError
from .strict_json import RecordReader, parse_json, read_utf8

_NUMBERS = ("start", "end", "new_start", "new_end")
_REQUIRED = ("id", "reason")


@dataclass(frozen=True)
class Correction:
    """One entry; None or "" where a field is not given. ``place`` is its line, for errors."""

    place: str
    id: str
    reason: str
    start: Optional[int] = None
    end: Optional[int] = None
    text: str = ""
    label: str = ""
    new_start: Optional[int] = None
    new_end: Optional[int] = None
    new_label: str = ""

    @property
    def of_document(self) -> bool:
        """Whether the whole document is left out."""
        return self.start is None

    @property
    def changes(self) -> bool:
        """Whether the mention is changed, not left out."""
        return self.new_start is not None or bool(self.new_label)


_FIELDS = tuple(f.name for f in fields(Correction) if f.name != "place")


class Corrections:
    """The entries of a list, by document, and what they have done.

    ``documents``, ``dropped`` and ``changed`` count documents and mentions; ``relations`` those
    that went with their mentions.
    """

    def __init__(self, entries: Sequence[Correction], file: Union[str, Path] = "") -> None:
        self.file = file
        self.documents = self.dropped = self.changed = self.relations = 0
        self._entries: Dict[str, List[Correction]] = {}
        for entry in entries:
            self._entries.setdefault(entry.id, []).append(entry)

    @property
    def ids(self) -> Set[str]:
        """The documents that entries name."""
        return set(self._entries)

    def drops(self, identifier: str) -> bool:
        """Whether a document is left out, which is counted."""
        found = any(entry.of_document for entry in self._entries.get(identifier, ()))
        self.documents += found
        return found

    def apply(self, doc: Doc, spans_key: str = SPANS_KEY) -> None:
        """Leave out or change the mentions of a document that entries name.

        Raises FormatError for an entry that matches no mention, or whose new borders hold no token.
        """
        identifier = str((doc.user_data.get(META_KEY) or {}).get("id", ""))
        entries = self._entries.get(identifier, ())
        if not entries:
            return
        mentions: List[Optional[Mention]] = list(get_mentions(doc, spans_key))
        done: Set[int] = set()
        for entry in entries:
            matching = [
                i
                for i, m in enumerate(mentions)
                if m is not None and i not in done and _matches(doc, m, entry)
            ]
            if not matching:
                raise self._error(entry, doc, "no mention of the document is at this place")
            for i in matching:
                mentions[i] = self._changed(doc, mentions[i], entry) if entry.changes else None
            done.update(matching)
            self.changed += len(matching) * entry.changes
            self.dropped += len(matching) * (not entry.changes)
        self.relations += _keep(doc, spans_key, [m for m in mentions if m is not None])

    def _changed(self, doc: Doc, mention: Optional[Mention], entry: Correction) -> Mention:
        assert mention is not None
        mention = replace(mention, label=entry.new_label or mention.label)
        if entry.new_start is None or entry.new_end is None:
            return mention
        ((first, last),) = token_ranges(doc, [(entry.new_start, entry.new_end)])
        if first >= last or entry.new_end > len(doc.text):
            raise self._error(entry, doc, "the new borders hold no token of the text")
        moved = replace(mention, start=first, end=last, char_offsets=None)
        return with_exact_characters(doc, moved, entry.new_start, entry.new_end)

    def _error(self, entry: Correction, doc: Doc, problem: str) -> FormatError:
        what = {name: getattr(entry, name) for name in _FIELDS if name not in _REQUIRED}
        given = ", ".join(f"{name} {value!r}" for name, value in what.items() if value)
        found = ""
        if entry.start is not None and entry.end is not None:
            found = f" ({doc.text[entry.start : entry.end][:60]!r} in the text)"
        return FormatError(self.file, entry.place, f"id {entry.id}", f"{problem}: {given}{found}")


def read_corrections(path: Union[str, Path]) -> Corrections:
    """Read a list.

    Raises FormatError, with file, line and field, for what is not as the list wants it and for an
    entry that is there twice, OSError.
    """
    path = Path(path)
    rows = _json_rows(path) if path.suffix == ".jsonl" else _table_rows(path)
    entries: List[Correction] = []
    seen: Dict[Tuple, str] = {}
    for place, row in rows:
        entry = _entry(RecordReader(path, place), place, row)
        key = (entry.id, entry.start, entry.end, entry.label)
        if key in seen:
            raise FormatError(
                path, place, "", f"expected each entry once, it is that of {seen[key]}"
            )
        seen[key] = place
        entries.append(entry)
    return Corrections(entries, path)


def _json_rows(path: Path) -> Iterator[Tuple[str, Dict[str, Any]]]:
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            place = f"line {number}"
            yield place, RecordReader(path, place).object(parse_json(line, path, place), "")


def _table_rows(path: Path) -> Iterator[Tuple[str, Dict[str, Any]]]:
    columns: List[str] = []
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        place, cells = f"line {number}", line.split("\t")
        if not columns:
            columns = [cell.strip() for cell in cells]
            continue
        if len(cells) > len(columns):
            raise FormatError(
                path, place, "", f"expected {len(columns)} cells, as in the first row"
            )
        row: Dict[str, Any] = {}
        for name, cell in zip(columns, cells, strict=False):
            value: Any = cell if name == "text" else cell.strip()
            if name in _NUMBERS and value:
                if not value.isdecimal():
                    raise FormatError(path, place, name, f"expected a number, found {value!r}")
                value = int(value)
            if value != "":
                row[name] = value
        yield place, row


def _entry(reader: RecordReader, place: str, row: Dict[str, Any]) -> Correction:
    unknown = [name for name in row if name not in _FIELDS]
    if unknown:
        raise reader.error(unknown[0], f"expected one of the fields {', '.join(_FIELDS)}")
    values = {
        name: reader.get(row, "", name, int if name in _NUMBERS else str)
        for name in _FIELDS
        if name in row or name in _REQUIRED
    }
    entry = Correction(place, **values)
    for name in _REQUIRED:
        if not values[name]:
            raise reader.error(name, "found '': expected a text")
    for start, end in (_NUMBERS[:2], _NUMBERS[2:]):
        borders = getattr(entry, start), getattr(entry, end)
        if borders == (None, None):
            continue
        if None in borders or not 0 <= borders[0] < borders[1]:
            raise reader.error(start, f"found {borders}: expected 0 <= {start} < {end}")
    if entry.of_document and (entry.label or entry.text or entry.changes):
        raise reader.error("start", "missing: expected the place of the mention")
    return entry


def _matches(doc: Doc, mention: Mention, entry: Correction) -> bool:
    if mention_characters(doc, mention) != (entry.start, entry.end):
        return False
    if entry.text and entry.text != doc.text[entry.start : entry.end]:
        return False
    return not entry.label or entry.label == mention.label


def _keep(doc: Doc, key: str, mentions: Sequence[Mention]) -> int:
    """Replace the mentions by some of them; the number of relations that go with the others."""
    rows = get_relation_rows(doc) if relations_key(doc) == key else []
    known = {mention.id for mention in mentions}
    left = [row for row in rows if row[0] in known and row[2] in known]
    set_mentions(doc, key, mentions)
    if rows:
        set_relations(doc, key, left)
    return len(rows) - len(left)
