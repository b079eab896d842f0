"""Concepts as JSON lines, in the form of this package and in scispaCy's.

``concepts`` says which fields there are. Both forms may stand in one file; a line is told by its
fields.
"""

import json
from typing import Any, Dict, Iterator

from ..concepts import NAME_FIELDS, SYNONYM_FIELDS, Concept, concept_from_record
from .source import Source


def read_jsonl(source: Source) -> Iterator[Concept]:
    """Read one concept of each line; empty lines are skipped.

    Raises ValueError that names file, line and field where a line is not of the documented form.
    """
    for number, line in source.lines():
        if not line.strip():
            continue
        where = f"'{source.path}', line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: expected one JSON object, but {error}.") from None
        concept = concept_from_record(record, where)
        for name in _names(record):
            source.keep_name(concept.concept_id, name.strip())
        yield concept


def _names(record: Dict[str, Any]) -> Iterator[str]:
    values = [record.get(field) for field in NAME_FIELDS]
    for field in SYNONYM_FIELDS:
        values.extend(record.get(field) or ())
    return (value for value in values if isinstance(value, str))
