"""Concepts of the UMLS from its Rich Release Format.

MRCONSO holds names, MRSTY semantic types and MRDEF definitions; columns as in the UMLS Reference
Manual, chapter 3 (https://www.ncbi.nlm.nih.gov/books/NBK9685/). All are sorted by CUI in a release
and are read side by side in one pass, so that only the rows of one concept are in memory.
"""

from itertools import groupby
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from ..concepts import Concept
from .filters import folded
from .source import Source

CUI, LAT, TS, STT, ISPREF, SAB, TTY, CODE, STR, SUPPRESS = 0, 1, 2, 4, 6, 11, 12, 13, 14, 16
STY_TUI, STY_NAME = 1, 3
DEF_SAB, DEF_TEXT, DEF_SUPPRESS = 4, 5, 6
# Columns of each file. All but the first file may be absent.
FILES = {"MRCONSO": 18, "MRSTY": 6, "MRDEF": 8}
# Term types that vocabularies give to the name which they prefer
_PREFERRED_TTY = {"PN", "MH", "PT", "NM", "HT"}
_NO_CODE = {"", "NOCODE"}

Row = List[str]


def find_files(path: Path) -> Dict[str, Path]:
    """The files of a release by name: in a folder, or beside an MRCONSO file, gzipped or not.

    Raises FileNotFoundError where a folder has no MRCONSO.
    """
    folder = path if path.is_dir() else path.parent
    found = {} if path.is_dir() else {"MRCONSO": path}
    for name in FILES:
        for file in (folder / f"{name}.RRF", folder / f"{name}.RRF.gz"):
            if file.is_file():
                found.setdefault(name, file)
    if "MRCONSO" not in found:
        raise FileNotFoundError(
            f"'{path}': expected a folder with MRCONSO.RRF or MRCONSO.RRF.gz, found neither."
        )
    return found


def read_rrf(source: Source) -> Iterator[Concept]:
    """Read the concepts of a release: types are TUIs, cross-references ``SAB:CODE``.

    Languages filter by LAT, vocabularies by SAB, semantic types by TUI or by name. Rows are
    suppressed where SUPPRESS is not N. The preferred name is the one that the UMLS prefers
    (TS=P, STT=PF, ISPREF=Y) in the first language wanted, ENG if none is; where filters take it
    away, one that its vocabulary prefers (TTY), then the first by TS, STT and ISPREF.

    Raises ValueError that names file and line where a row has too few columns, no CUI, or is not
    in the order of CUIs, and FileNotFoundError where MRSTY is needed to filter and absent.
    """
    files = find_files(source.path)
    if source.filters.semantic_types and "MRSTY" not in files:
        raise FileNotFoundError(
            f"'{source.path}': no MRSTY.RRF beside MRCONSO, which the filter semantic_types needs."
        )
    types_of = _Beside(source, "MRSTY", files.get("MRSTY"))
    definitions_of = _Beside(source, "MRDEF", files.get("MRDEF"))
    keep = _RowFilter(source)
    languages = [language.casefold() for language in source.filters.languages] or ["eng"]
    for cui, rows in _groups(source, "MRCONSO", files["MRCONSO"]):
        types, definitions = types_of.rows(cui), definitions_of.rows(cui)
        names = [row for row in rows if keep.name(row) and source.keep_name(cui, row[STR].strip())]
        if not names:
            continue
        if not source.filters.keep_types(row[i] for row in types for i in (STY_TUI, STY_NAME)):
            source.findings.note("left_out", cui, names[0][STR].strip())
            continue
        definitions = [row for row in definitions if keep.definition(row)]
        yield _concept(cui, names, types, definitions, languages)


def _concept(
    cui: str, rows: List[Row], types: List[Row], definitions: List[Row], languages: List[str]
) -> Concept:
    preferred = min(rows, key=lambda row: _rank(row, languages))
    names = dict.fromkeys(row[STR].strip() for row in (preferred, *rows))
    xrefs = (
        _xref(row[SAB], row[CODE].strip()) for row in rows if row[CODE].strip() not in _NO_CODE
    )
    name, *synonyms = names
    return Concept(
        concept_id=cui,
        name=name,
        synonyms=tuple(synonyms),
        types=tuple(dict.fromkeys(row[STY_TUI] for row in types)),
        definition=definitions[0][DEF_TEXT].strip() if definitions else "",
        xrefs=tuple(dict.fromkeys(xrefs)),
    )


def _rank(row: Row, languages: List[str]) -> Tuple[bool, int, bool, bool, bool, bool, bool]:
    language = row[LAT].casefold()
    ts, stt, ispref = row[TS] != "P", row[STT] != "PF", row[ISPREF] != "Y"
    return (
        row[SUPPRESS] != "N",
        languages.index(language) if language in languages else len(languages),
        ts or stt or ispref,
        row[TTY] not in _PREFERRED_TTY,
        ts,
        stt,
        ispref,
    )


def _xref(vocabulary: str, code: str) -> str:
    """Codes of some vocabularies, such as GO:0008150, bring a prefix of their own."""
    return code if ":" in code else f"{vocabulary}:{code}"


class _RowFilter:
    """Which rows are wanted; the names that are not are noted."""

    def __init__(self, source: Source):
        self.findings = source.findings
        self.languages = folded(source.filters.languages)
        self.vocabularies = folded(source.filters.vocabularies)
        self.keep_suppressed = source.filters.keep_suppressed

    def name(self, row: Row) -> bool:
        """Whether a row of MRCONSO is wanted."""
        wanted = self._wanted(row[SAB], row[SUPPRESS]) and (
            not self.languages or row[LAT].casefold() in self.languages
        )
        if not wanted:
            self.findings.note("left_out", row[CUI], row[STR])
        return wanted

    def definition(self, row: Row) -> bool:
        """Whether a row of MRDEF is wanted."""
        return self._wanted(row[DEF_SAB], row[DEF_SUPPRESS])

    def _wanted(self, vocabulary: str, suppressed: str) -> bool:
        return (self.keep_suppressed or suppressed == "N") and (
            not self.vocabularies or vocabulary.casefold() in self.vocabularies
        )


class _Beside:
    """The rows of a file for CUIs that are asked for in ascending order."""

    def __init__(self, source: Source, name: str, path: Optional[Path]):
        self._groups = iter(()) if path is None else _groups(source, name, path)
        self._next: Optional[Tuple[str, List[Row]]] = next(self._groups, None)

    def rows(self, cui: str) -> List[Row]:
        while self._next is not None and self._next[0] < cui:
            self._next = next(self._groups, None)
        return self._next[1] if self._next is not None and self._next[0] == cui else []


def _groups(source: Source, name: str, path: Path) -> Iterator[Tuple[str, List[Row]]]:
    """The rows of a file, concept by concept."""
    for cui, rows in groupby(_rows(source, path, FILES[name]), key=lambda row: row[CUI]):
        yield cui, list(rows)


def _rows(source: Source, path: Path, columns: int) -> Iterator[Row]:
    before = ""
    for number, line in source.lines(path):
        row = line.split("|")
        # Each column ends in a bar, so that there is one empty cell more
        if len(row) != columns + 1 or row[-1]:
            raise ValueError(
                f"'{path}', line {number}: expected {columns} columns, each with '|' behind it, "
                f"got {line[:80]!r}."
            )
        cui = row[CUI]
        if not cui:
            raise ValueError(f"'{path}', line {number}, column CUI: expected a CUI, got nothing.")
        if cui < before:
            raise ValueError(
                f"'{path}', line {number}, column CUI: {cui} stands behind {before}: expected rows "
                "in the order of CUIs, as in a release (LC_ALL=C sort gives it)."
            )
        before = cui
        yield row
