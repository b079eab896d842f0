"""Concepts as CSV or TSV with a header.

Rows that follow each other under one id are one concept. So both customs are read: a row for each
name, as in the vocabularies of BioNNE-L (``CUI``, ``semantic_type``, ``concept_name``), and a row
for each concept with lists in its cells, as ontology portals export them, split at ``|``. Rows that
such a portal marks as obsolete are suppressed.
"""

import csv
import re
from typing import Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..concepts import Concept, join_concepts
from .filters import folded
from .source import Source

# Names of columns for each field, compared without case, blanks, hyphens and underscores. The
# first that the header has is taken.
COLUMNS: Dict[str, Tuple[str, ...]] = {
    "concept_id": ("conceptid", "id", "classid", "cui", "umlscui", "curie", "identifier", "code"),
    "name": ("name", "conceptname", "canonicalname", "preferredname", "preferredlabel")
    + ("prefname", "term", "label", "str", "description"),
    "synonyms": ("synonyms", "synonym", "aliases", "alias", "names"),
    "types": ("types", "type", "semantictypes", "semantictype", "entitytype", "tui"),
    "definition": ("definition", "definitions", "def"),
    "alt_ids": ("altids", "alternativeids", "alternateids"),
    "xrefs": ("xrefs", "xref", "crossreferences"),
    "parents": ("parents", "parent", "isa"),
    "language": ("language", "lang", "lat"),
    "vocabulary": ("vocabulary", "source", "sab"),
    "obsolete": ("obsolete", "isobsolete", "deprecated", "isdeprecated"),
}
_YES = ("true", "1", "yes", "y")
DELIMITERS = "\t,;|"


def read_table(source: Source) -> Iterator[Concept]:
    """Read the concepts of a table; what splits its cells is told by the header.

    Raises ValueError that names file, line and column where there is no header with a column for
    the id and one for names, a row has another number of cells than the header, or no id.
    """
    rows: List[Concept] = []
    for row in _concept_rows(source):
        if rows and row.concept_id != rows[0].concept_id:
            yield join_concepts(rows)
            rows = []
        rows.append(row)
    if rows:
        yield join_concepts(rows)


class Header(NamedTuple):
    """What splits the cells of a table, its columns, and the place of each known field."""

    delimiter: str
    columns: List[str]
    places: Dict[str, int]


def read_header(line: str) -> Optional[Header]:
    """Understand the first line of a table.

    RETURNS: None where no delimiter gives a column for the id and one for names.
    """
    for delimiter in DELIMITERS:
        if delimiter == "\t":
            cells = [_unquoted(cell.strip()) for cell in line.split(delimiter)]
        else:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        columns = [cell.strip() for cell in cells]
        keys = [re.sub(r"[\s_-]", "", column).casefold() for column in columns]
        places = {}
        for field, names in COLUMNS.items():
            known = [name for name in names if name in keys]
            if known:
                places[field] = keys.index(known[0])
        if "concept_id" in places and ("name" in places or "synonyms" in places):
            return Header(delimiter, columns, places)
    return None


def _concept_rows(source: Source) -> Iterator[Concept]:
    lines = source.lines()
    _, line = next(lines, (0, ""))
    header = read_header(line)
    if header is None:
        raise ValueError(
            f"'{source.path}', line 1: expected a header with a column for the concept id (such as "
            f"'concept_id' or 'CUI') and one for names ('name', 'concept_name' or 'synonyms'), got "
            f"{line[:80]!r}."
        )
    wanted = _wanted_cells(source, header)
    if header.delimiter == "\t":
        rows = _tsv_rows(lines)
    else:
        rows = _csv_rows(source, lines, header.delimiter)
    for number, cells in rows:
        where = f"'{source.path}', line {number}"
        if len(cells) != len(header.columns):
            raise ValueError(
                f"{where}: expected {len(header.columns)} cells as in the header, got {len(cells)}."
            )
        row = {field: cells[place].strip() for field, place in header.places.items()}
        concept_id, name = row["concept_id"], row.get("name", "")
        if not concept_id:
            column = header.columns[header.places["concept_id"]]
            raise ValueError(f"{where}, column '{column}': expected a concept id, got nothing.")
        suppressed = row.get("obsolete", "").casefold() in _YES
        if (suppressed and not source.filters.keep_suppressed) or any(
            row[field].casefold() not in values for field, values in wanted.items()
        ):
            source.findings.note("left_out", concept_id, name)
            continue
        if "name" in row:
            source.keep_name(concept_id, name)
        synonyms = _items(row.get("synonyms", ""))
        name = name or "".join(synonyms[:1])
        yield Concept(
            concept_id=concept_id,
            name=name,
            synonyms=tuple(synonym for synonym in synonyms if synonym != name),
            types=_items(row.get("types", "")),
            definition=row.get("definition", ""),
            alt_ids=_items(row.get("alt_ids", "")),
            xrefs=_items(row.get("xrefs", "")),
            parents=_items(row.get("parents", "")),
        )


def _wanted_cells(source: Source, header: Header) -> Dict[str, FrozenSet[str]]:
    """For each field that filters look at the cells that pass."""
    wanted = {}
    for name, field in (("languages", "language"), ("vocabularies", "vocabulary")):
        values = folded(getattr(source.filters, name))
        if values and field not in header.places:
            raise ValueError(
                f"'{source.path}', line 1: no column '{field}', which the filter {name} needs."
            )
        if values:
            wanted[field] = values
    return wanted


def _tsv_rows(lines: Iterable[Tuple[int, str]]) -> Iterator[Tuple[int, List[str]]]:
    # Split by hand: to the csv module a lone quote at the head of a name would open a cell that
    # swallows the lines behind it
    for number, line in lines:
        if line.strip():
            yield number, [_unquoted(cell) for cell in line.split("\t")]


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def _csv_rows(
    source: Source, lines: Iterable[Tuple[int, str]], delimiter: str
) -> Iterator[Tuple[int, List[str]]]:
    reader = csv.reader((line + "\n" for _, line in lines), delimiter=delimiter, strict=True)
    number = 2
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"'{source.path}', line {number}: expected cells between '{delimiter}', quoted "
                f'with ", but {error}.'
            ) from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, cells
        number = reader.line_num + 2


def _items(cell: str) -> Tuple[str, ...]:
    parts = (part.strip() for part in cell.split("|"))
    return tuple(dict.fromkeys(part for part in parts if part))
