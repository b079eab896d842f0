"""BioNNE-L: nested mentions with UMLS concepts in a table (.tsv), texts in files of their own.

::

    document_id   text           entity_type   spans             UMLS_CUI
    25823269_en   lung injuries  DISO          472-476,492-500   C0273115

with tabs between. Offsets count the characters of the file ``25823269_en.txt``; ends are
exclusive, the parts of a mention in several parts stand in any order. ``CUILESS`` is no concept.
The submission has a line for each of up to five ranked concepts of a mention::

    document_id   spans             rank   prediction
    25823269_en   472-476,492-500   1      C0273115
"""

import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from spacy.tokens import Doc

from ..annotation import META_KEY, SPANS_KEY, Mention, set_mentions
from .articles import Tokenize, make_doc, token_ranges, with_exact_characters
from .bionne_writing import (
    COLUMNS,
    NO_CONCEPT,
    doc_to_bionne,
    write_bionne,
    write_bionne_submission,
)
from .errors import FormatError
from .standoff import (
    Fragments,
    check_discontinuous,
    covering,
    fragment_text,
    read_exactly,
    set_fragments,
)
from .strict_json import read_utf8

__all__ = [
    "doc_to_bionne",
    "read_bionne",
    "texts_folder",
    "write_bionne",
    "write_bionne_submission",
]

_SPANS = re.compile(r"[0-9]+-[0-9]+(?:,[0-9]+-[0-9]+)*")


class _Row(NamedTuple):
    line: int
    text: str
    label: str
    fragments: Fragments
    concept: str


def read_bionne(
    path: Union[str, Path],
    nlp: Tokenize,
    *,
    texts: Union[str, Path, None] = None,
    spans_key: str = SPANS_KEY,
    discontinuous: str = "cover",
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> Iterator[Doc]:
    """Read the documents that a table names, in its order.

    ``nlp`` is a pipeline, of which only the tokenizer runs, or a function from a text to a Doc.
    ``texts`` is the folder of the texts; without it that of ``texts_folder``. Rows become the
    mentions "T1", "T2", ...; a mention in several parts becomes the span that covers them and
    keeps its parts (see ``get_fragments``), or with ``discontinuous="skip"`` is left out and told
    in ``report``. A table without the last column has mentions without concepts.

    Raises FormatError, naming file, line and column; with ``skip_invalid`` the row is left out (a
    document where its text is missing) and the error appended to ``report``. Raises OSError,
    ValueError for another ``discontinuous``.
    """
    check_discontinuous(discontinuous)
    path = Path(path)
    folder = texts_folder(path) if texts is None else Path(texts)
    header, *lines = read_utf8(path).split("\n")
    columns = tuple(header.split("\t"))
    if columns not in (COLUMNS, COLUMNS[:-1]):
        raise FormatError(
            path, "line 1", "", f"found {header[:80]!r}: expected the columns {', '.join(COLUMNS)}"
        )
    reader = _TableReader(path, len(columns), discontinuous, skip_invalid, report)
    documents: Dict[str, List[_Row]] = {}
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            identifier, row = reader.row(number, line)
        except FormatError as error:
            reader.skip(error)
            continue
        documents.setdefault(identifier, []).append(row)

    def read() -> Iterator[Doc]:
        for identifier, rows in documents.items():
            try:
                yield reader.doc(identifier, rows, folder, nlp, spans_key)
            except FormatError as error:
                reader.skip(error)

    return read()


def texts_folder(path: Union[str, Path], *, writing: bool = False) -> Path:
    """Where the texts of a table lie: for ``bionnel_en_dev.tsv`` in ``texts/dev`` beside it.

    A reader that finds no such folder looks into ``texts``, or else into the table's own folder.
    """
    path = Path(path)
    folder = path.parent / "texts"
    own = folder / path.stem.split("_")[-1]
    if writing or own.is_dir():
        return own
    return folder if folder.is_dir() else path.parent


class _TableReader:
    def __init__(
        self,
        path: Path,
        columns: int,
        discontinuous: str,
        skip_invalid: bool,
        report: Optional[List[FormatError]],
    ) -> None:
        self.path = path
        self.columns = columns
        self.discontinuous = discontinuous
        self.skip_invalid = skip_invalid
        self.report = report

    def skip(self, error: FormatError, *, asked: bool = False) -> None:
        if not (self.skip_invalid or asked):
            raise error
        if self.report is not None:
            self.report.append(error)

    def error(self, number: int, identifier: str, column: str, problem: str) -> FormatError:
        record = f"line {number} ({identifier})" if identifier else f"line {number}"
        return FormatError(self.path, record, column, problem)

    def row(self, number: int, line: str) -> Tuple[str, _Row]:
        fields = line.split("\t")
        if len(fields) != self.columns:
            raise self.error(
                number, "", "", f"found {len(fields)} columns: expected {self.columns}"
            )
        identifier, text, label, spans, concept = (*fields, NO_CONCEPT)[:5]
        for name, value in zip(COLUMNS, (identifier, text, label, spans, concept), strict=True):
            if not value.strip():
                raise self.error(number, identifier, name, f"found {value!r}: expected a text")
        if not _SPANS.fullmatch(spans):
            problem = f"found {spans!r}: expected START-END, or several with commas between"
            raise self.error(number, identifier, "spans", problem)
        parts = [part.split("-") for part in spans.split(",")]
        fragments = [(int(start), int(end)) for start, end in parts]
        return identifier, _Row(number, text, label, fragments, concept)

    def doc(
        self, identifier: str, rows: List[_Row], folder: Path, nlp: Tokenize, spans_key: str
    ) -> Doc:
        file = folder / f"{identifier}.txt"
        if file.parent != folder or not file.is_file():
            raise self.error(
                rows[0].line, identifier, "document_id", f"found no text: expected the file {file}"
            )
        text = read_exactly(file)
        doc = make_doc(nlp, text)
        mentions: List[Mention] = []
        fragments: Dict[str, Fragments] = {}
        borders = token_ranges(doc, [covering(row.fragments) for row in rows])
        for row, (first, last) in zip(rows, borders, strict=True):
            try:
                self.check(identifier, row, text)
            except FormatError as error:
                self.skip(error)
                continue
            if len(row.fragments) > 1 and self.discontinuous == "skip":
                problem = f"left out: it has {len(row.fragments)} parts"
                self.skip(self.error(row.line, identifier, "spans", problem), asked=True)
                continue
            name = f"T{len(mentions) + 1}"
            fragments[name] = row.fragments
            concept = "" if row.concept == NO_CONCEPT else row.concept
            mention = Mention(first, last, row.label, name, concept)
            mentions.append(with_exact_characters(doc, mention, *covering(row.fragments)))
        set_mentions(doc, spans_key, mentions)
        set_fragments(doc, fragments)
        doc.user_data[META_KEY] = {"id": identifier}
        return doc

    def check(self, identifier: str, row: _Row, text: str) -> None:
        for start, end in row.fragments:
            if not start < end <= len(text):
                raise self.error(
                    row.line,
                    identifier,
                    "spans",
                    f"found {start}-{end}: expected start < end <= {len(text)}, the length of the "
                    "text (ends are exclusive)",
                )
        expected = fragment_text(text, row.fragments)
        if row.text != expected:
            raise self.error(
                row.line,
                identifier,
                "text",
                f"found {row.text[:80]!r}: expected {expected[:80]!r}, the characters at its spans",
            )
