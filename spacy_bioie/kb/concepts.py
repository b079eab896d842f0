"""Concepts, and their form as JSON objects.

    {"concept_id": "MESH:D003865", "name": "Depressive Disorder, Major",
     "synonyms": ["major depression", "MDD"], "types": ["DDF"],
     "definition": "...", "alt_ids": ["OMIM:608516"], "xrefs": ["UMLS:C1269683"],
     "parents": ["MESH:D003866"]}

``concept_id`` is required, the rest may be left out. These other names of the fields are read as
well: ``id``; ``canonical_name`` and ``aliases``, as scispaCy writes them; and ``names``, a list
whose first member is the name if there is no other. Fields that are not named here are ignored.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

ID_FIELDS = ("concept_id", "id")
NAME_FIELDS = ("name", "canonical_name")
SYNONYM_FIELDS = ("synonyms", "aliases", "names")


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept of a knowledge base.

    concept_id: its identifier. name: the preferred name, "" where none is known. synonyms: further
    names, distinct, without ``name``. types: semantic types or entity labels. definition: a text.
    alt_ids: other identifiers that mean this concept. xrefs: cross-references, identifiers of the
    same or nearly the same thing in other vocabularies; they are kept, but do not find the concept.
    parents: identifiers of the concepts of the same vocabulary that stand directly above this one.
    """

    concept_id: str
    name: str = ""
    synonyms: Tuple[str, ...] = ()
    types: Tuple[str, ...] = ()
    definition: str = ""
    alt_ids: Tuple[str, ...] = ()
    xrefs: Tuple[str, ...] = ()
    parents: Tuple[str, ...] = ()

    @property
    def names(self) -> Tuple[str, ...]:
        """The preferred name and the synonyms."""
        return ((self.name,) if self.name else ()) + self.synonyms

    def to_record(self) -> Dict[str, Any]:
        """The concept as an object of the documented form; empty fields are left out."""
        record: Dict[str, Any] = {"concept_id": self.concept_id}
        for field in ("name", "synonyms", "types", "definition", "alt_ids", "xrefs", "parents"):
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
    present = [field for field in ID_FIELDS if field in record]
    if not present:
        raise ValueError(f"{where}: no field 'concept_id'. Expected a string that is not empty.")
    concept_id = record[present[0]]
    if not isinstance(concept_id, str) or not concept_id.strip():
        raise ValueError(
            f"{where}, field '{present[0]}': expected a string that is not empty, got "
            f"{_kind(concept_id)}."
        )
    where = f"{where} ({concept_id})"
    name = next((_text(record, f, where) for f in NAME_FIELDS if _text(record, f, where)), "")
    others = [name for field in SYNONYM_FIELDS for name in _texts(record, field, where)]
    if not name and others:
        name = others[0]
    return Concept(
        concept_id=concept_id.strip(),
        name=name,
        synonyms=tuple(other for other in dict.fromkeys(others) if other != name),
        types=tuple(dict.fromkeys(_texts(record, "types", where))),
        definition=_text(record, "definition", where),
        alt_ids=tuple(dict.fromkeys(_texts(record, "alt_ids", where))),
        xrefs=tuple(dict.fromkeys(_texts(record, "xrefs", where))),
        parents=tuple(dict.fromkeys(_texts(record, "parents", where))),
    )


def join_concepts(concepts: Sequence[Concept]) -> Concept:
    """Make one concept of several records of it, under the id of the first.

    The first preferred name stays, all other names become synonyms; types, other ids,
    cross-references and parents are united; the first definition that is not empty stays.
    """
    names = tuple(dict.fromkeys(name for concept in concepts for name in concept.names))
    return Concept(
        concept_id=concepts[0].concept_id,
        name=names[0] if names else "",
        synonyms=names[1:],
        types=tuple(dict.fromkeys(kind for concept in concepts for kind in concept.types)),
        definition=next((concept.definition for concept in concepts if concept.definition), ""),
        alt_ids=tuple(dict.fromkeys(other for concept in concepts for other in concept.alt_ids)),
        xrefs=tuple(dict.fromkeys(xref for concept in concepts for xref in concept.xrefs)),
        parents=tuple(dict.fromkeys(parent for concept in concepts for parent in concept.parents)),
    )


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
