"""Concepts of MeSH from its ASCII files of descriptors (d2024.bin) and supplements (c2024.bin).

A record is ``*NEWRECORD`` and lines ``KEY = value``; keys as in
https://www.nlm.nih.gov/mesh/dtype.html and https://www.nlm.nih.gov/mesh/ctype.html.
"""

from typing import Dict, Iterator, List, Tuple

from ..concepts import Concept
from .mesh_registry import registry_xref
from .source import Source

NEW_RECORD = "*NEWRECORD"
# Kind of record -> the key of its name
_NAMES = {"D": "MH", "C": "NM"}
_TERMS = ("PRINT ENTRY", "ENTRY", "SY")

Record = Dict[str, List[str]]


def read_mesh_ascii(source: Source) -> Iterator[Concept]:
    """Read the records: types are TUIs (ST) and tree numbers (MN), cross-references the
    registry number (RN).

    Names are heading or name (MH, NM), entry terms and synonyms (PRINT ENTRY, ENTRY, SY); the
    definition is the scope note (MS). Raises ValueError that names file, line and key where a line
    is not of this form, or a record lacks UI or its name.
    """
    for number, record in _records(source):
        where = f"'{source.path}', record of line {number}"
        kind = record.get("RECTYPE", [""])[0]
        if kind not in _NAMES:
            raise ValueError(
                f"{where}, key RECTYPE: expected D (descriptor) or C (supplement), got {kind!r}."
            )
        concept_id = record.get("UI", [""])[0]
        if not concept_id:
            raise ValueError(f"{where}, key UI: expected an identifier, got nothing.")
        name = record.get(_NAMES[kind], [""])[0]
        if not name:
            raise ValueError(f"{where} ({concept_id}), key {_NAMES[kind]}: expected a name.")
        # Behind the term of an entry stand its semantic types, kind, dates
        terms = [value.split("|")[0].strip() for key in _TERMS for value in record.get(key, [])]
        terms = [term for term in terms if source.keep_name(concept_id, term)]
        xrefs = map(registry_xref, record.get("RN", []))
        yield Concept(
            concept_id=concept_id,
            name=name,
            synonyms=tuple(term for term in dict.fromkeys(terms) if term != name),
            types=tuple(dict.fromkeys([*record.get("ST", []), *record.get("MN", [])])),
            definition=record.get("MS", [""])[0],
            xrefs=tuple(dict.fromkeys(xref for xref in xrefs if xref)),
        )


def _records(source: Source) -> Iterator[Tuple[int, Record]]:
    """The records, with the number of their first line."""
    first = 0
    record: Record = {}
    for number, line in source.lines():
        if not line.strip():
            continue
        if line.strip() == NEW_RECORD:
            if first:
                yield first, record
            first, record = number, {}
            continue
        key, mark, value = line.partition("=")
        if not first or not mark or not key.strip():
            expected = "'KEY = value'" if first else f"{NEW_RECORD} before anything else"
            raise ValueError(
                f"'{source.path}', line {number}: expected {expected}, got {line[:80]!r}."
            )
        record.setdefault(key.strip(), []).append(value.strip())
    if first:
        yield first, record
