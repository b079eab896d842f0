"""Concept records, and how they are read from JSON lines.

One JSON object in a line is one concept:

    {"concept_id": "MESH:D003865", "name": "Depressive Disorder, Major",
     "synonyms": ["major depression", "MDD"], "types": ["DDF"],
     "definition": "...", "alt_ids": ["OMIM:608516"]}

``concept_id`` is required, the rest may be left out. These other names of the fields are read as
well: ``id``; ``canonical_name``; ``aliases``; and ``names``, a list whose first member is the
name if there is no other. Fields that are not named here are ignored.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Tuple, Union

_ID_FIELDS = ("concept_id", "id")
_NAME_FIELDS = ("name", "canonical_name")
_SYNONYM_FIELDS = ("synonyms", "aliases", "names")


@dataclass(frozen=True)
class Concept:
    """A concept of a knowledge base.

    concept_id: its identifier. name: the preferred name, "" where none is known. synonyms: further
    names, distinct, without ``name``. types: semantic types or entity labels. definition: a text.
    alt_ids: other identifiers that mean this concept.
    """

    concept_id: str
    name: str = ""
    synonyms: Tuple[str, ...] = ()
    types: Tuple[str, ...] = ()
    definition: str = ""
    alt_ids: Tuple[str, ...] = ()

    @property
    def names(self) -> Tuple[str, ...]:
        """The preferred name and the synonyms."""
        return ((self.name,) if self.name else ()) + self.synonyms

    def to_record(self) -> Dict[str, Any]:
        """The concept as an object of the documented form; empty fields are left out."""
        record: Dict[str, Any] = {"concept_id": self.concept_id}
        for field in ("name", "synonyms", "types", "definition", "alt_ids"):
            value = getattr(self, field)
            if value:
                record[field] = list(value) if isinstance(value, tuple) else value
        return record


def concept_from_record(record: Any, where: str = "Concept") -> Concept:
    """Make a Concept of one JSON object.

    where: stands at the head of an error, for example the file and the line.
    Raises ValueError where the record or a field is not of the documented form.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object, got {_kind(record)}.")
    present = [field for field in _ID_FIELDS if field in record]
    if not present:
        raise ValueError(f"{where}: no field 'concept_id'. Expected a string that is not empty.")
    concept_id = record[present[0]]
    if not isinstance(concept_id, str) or not concept_id.strip():
        raise ValueError(
            f"{where}, field '{present[0]}': expected a string that is not empty, got "
            f"{_kind(concept_id)}."
        )
    where = f"{where} ({concept_id})"
    name = next((_text(record, f, where) for f in _NAME_FIELDS if _text(record, f, where)), "")
    others = [name for field in _SYNONYM_FIELDS for name in _texts(record, field, where)]
    if not name and others:
        name = others[0]
    return Concept(
        concept_id=concept_id.strip(),
        name=name,
        synonyms=tuple(other for other in dict.fromkeys(others) if other != name),
        types=tuple(dict.fromkeys(_texts(record, "types", where))),
        definition=_text(record, "definition", where),
        alt_ids=tuple(dict.fromkeys(_texts(record, "alt_ids", where))),
    )


def read_concepts(path: Union[str, Path]) -> Iterator[Concept]:
    """Read the concepts of a file of JSON lines, gzipped if its name ends in ``.gz``.

    Empty lines are skipped. Raises ValueError that names file, line and field where a line is not
    of the documented form, and FileNotFoundError where there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such file of concepts: '{path}'.")
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                where = f"'{path}', line {number}"
                try:
                    record = json.loads(line.decode("utf8"))
                except (UnicodeDecodeError, json.JSONDecodeError) as error:
                    raise ValueError(
                        f"{where}: expected one JSON object in UTF-8, but {error}."
                    ) from None
                yield concept_from_record(record, where)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"'{path}': the gzip data breaks off or is damaged after line {number} ({error})."
        ) from None


def merge_concepts(concepts: Iterable[Concept]) -> Tuple[List[Concept], List[str]]:
    """Merge concepts that share an id, and sort all of them by id.

    Of the merged concepts the first preferred name stays; all other names become synonyms; types
    and other ids are joined; the first definition that is not empty stays.

    RETURNS: the concepts, and the ids that occurred more than once, in the order of the repeats.
    """
    merged: Dict[str, Concept] = {}
    repeated: Dict[str, None] = {}
    for concept in concepts:
        known = merged.get(concept.concept_id)
        if known is None:
            merged[concept.concept_id] = concept
            continue
        repeated[concept.concept_id] = None
        names = tuple(dict.fromkeys(known.names + concept.names))
        merged[concept.concept_id] = Concept(
            concept_id=concept.concept_id,
            name=names[0] if names else "",
            synonyms=names[1:],
            types=tuple(dict.fromkeys(known.types + concept.types)),
            definition=known.definition or concept.definition,
            alt_ids=tuple(dict.fromkeys(known.alt_ids + concept.alt_ids)),
        )
    return [merged[concept_id] for concept_id in sorted(merged)], list(repeated)


def _text(record: Dict[str, Any], field: str, where: str) -> str:
    value = record.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where}, field '{field}': expected a string, got {_kind(value)}.")
    return value.strip()


def _texts(record: Dict[str, Any], field: str, where: str) -> List[str]:
    values = record.get(field)
    if values is None:
        return []
    if not isinstance(values, list):
        raise ValueError(
            f"{where}, field '{field}': expected a list of strings, got {_kind(values)}."
        )
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"{where}, field '{field}', item {i}: expected a string, got {_kind(value)}."
            )
    return [value.strip() for value in values if value.strip()]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    return f"a value of type {type(value).__name__}"
