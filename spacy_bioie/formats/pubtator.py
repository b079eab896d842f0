"""PubTator's text format, as BC5CDR, BioRED and NCBI Disease come in it.

::

    6794356|t|Tricuspid valve regurgitation and lithium carbonate toxicity ...
    6794356|a|A newborn with massive tricuspid regurgitation ...
    6794356 0   29  Tricuspid valve regurgitation   Disease D014262
    6794356 CID D016651 D001145

with tabs between the fields and an empty line between documents. Offsets count the characters of
the title, one blank and the abstract; ends are exclusive. A mention may join several concepts
("D003110|D009369", see ``concept_ids``) or have none ("-1", "-"). Relations hold between
concepts, in BioRED with one more field for novelty.
"""

import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from spacy.tokens import Doc

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    ConceptRow,
    Mention,
    set_concept_rows,
    set_mentions,
)
from .articles import Tokenize, make_doc, token_ranges, with_exact_characters
from .errors import FormatError
from .pubtator_writing import (
    LAYOUT_KEY,
    NO_CONCEPT,
    doc_to_pubtator,
    mention_fields,
    write_pubtator,
)
from .strict_json import read_utf8

__all__ = ["doc_to_pubtator", "read_pubtator", "write_pubtator"]

_NO_CONCEPT = ("", "-", NO_CONCEPT)
_SECTION = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]+")
_Line = Tuple[int, str]  # number from 1, text


class _Block(NamedTuple):
    lines: List[_Line]
    empty_before: int
    empty_after: int


def read_pubtator(
    path: Union[str, Path],
    nlp: Tokenize,
    *,
    spans_key: str = SPANS_KEY,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> Iterator[Doc]:
    """Read the documents of a file, in its order; an id that occurs again is read again.

    ``nlp`` is a pipeline, of which only the tokenizer runs, or a function from a text to a Doc.
    Lines become the mentions "T1", "T2", ... and the stated relations between concepts; where no
    line of the file is a relation, the Docs state nothing about them. What ``write_pubtator``
    would not write again is kept in ``doc.user_data``: ids for no concept, blanks around ids,
    further fields, empty lines.

    Raises FormatError, naming file, line and field; with ``skip_invalid`` the mention, relation
    or document is left out and the error appended to ``report``. Raises OSError.
    """
    path = Path(path)
    blocks = _blocks(read_utf8(path))
    stated = any(_is_relation(line) for block in blocks for _, line in block.lines[2:])

    def read() -> Iterator[Doc]:
        for block in blocks:
            reader = _BlockReader(path, stated, skip_invalid, report)
            try:
                yield reader.doc(block, nlp, spans_key)
            except FormatError as error:
                reader.skip(error)

    return read()


class _BlockReader:
    """Reads one document."""

    def __init__(
        self,
        path: Path,
        stated: bool,
        skip_invalid: bool,
        report: Optional[List[FormatError]],
    ) -> None:
        self.path = path
        self.stated = stated
        self.skip_invalid = skip_invalid
        self.report = report
        self.identifier = ""

    def skip(self, error: FormatError) -> None:
        if not self.skip_invalid:
            raise error
        if self.report is not None:
            self.report.append(error)

    def error(self, number: int, field: str, problem: str) -> FormatError:
        place = f"line {number} (PMID {self.identifier})" if self.identifier else f"line {number}"
        return FormatError(self.path, place, field, problem)

    def doc(self, block: _Block, nlp: Tokenize, spans_key: str) -> Doc:
        title = self.section(block, 0, "t", "title")
        abstract = self.section(block, 1, "a", "abstract")
        text = f"{title}\n{abstract}"
        found: List[Tuple[int, List[str], int, int]] = []  # line, fields, start, end
        relations: List[ConceptRow] = []
        originals: Dict[str, str] = {}
        for number, line in block.lines[2:]:
            try:
                if _is_relation(line):
                    relations.append(self.relation(number, line))
                else:
                    found.append((number, *self.mention(number, line, text)))
            except FormatError as error:
                self.skip(error)
        doc = make_doc(nlp, text)
        mentions: List[Mention] = []
        borders = token_ranges(doc, [(start, end) for _, _, start, end in found])
        for (number, fields, start, end), (first, last) in zip(found, borders, strict=True):
            if first >= last:
                self.skip(self.error(number, "text", "covers no token: expected more than a blank"))
                continue
            concept = fields[5].strip() if len(fields) > 5 else ""
            kb_id = "" if concept in _NO_CONCEPT else concept
            mention = Mention(first, last, fields[4], f"T{len(mentions) + 1}", kb_id)
            mentions.append(with_exact_characters(doc, mention, start, end))
            line = "\t".join(fields)
            written = "\t".join(mention_fields(self.identifier, text, start, end, mention))
            if line != written:
                originals[written] = line
        set_mentions(doc, spans_key, mentions)
        if self.stated:
            set_concept_rows(doc, relations)
        doc.user_data[META_KEY] = {"id": self.identifier}
        layout: Dict[str, Any] = {"lines": originals} if originals else {}
        if (block.empty_before, block.empty_after) != (0, 1):
            layout["empty_lines"] = [block.empty_before, block.empty_after]
        if layout:
            doc.user_data[LAYOUT_KEY] = layout
        return doc

    def section(self, block: _Block, index: int, letter: str, name: str) -> str:
        number, line = block.lines[min(index, len(block.lines) - 1)]
        match = _SECTION.fullmatch(line) if index < len(block.lines) else None
        if match is None or match[2] != letter:
            identifier = self.identifier or "PMID"
            raise self.error(
                number, name, f"missing: expected '{identifier}|{letter}|' and the {name}"
            )
        if not self.identifier:
            self.identifier = match[1].strip()
        self.check_identifier(number, match[1])
        return match[3]

    def check_identifier(self, number: int, found: str) -> None:
        if not self.identifier or found != self.identifier:
            expected = f"{self.identifier!r}, that of the title" if self.identifier else "an id"
            raise self.error(number, "PMID", f"found {found!r}: expected {expected}")

    def relation(self, number: int, line: str) -> ConceptRow:
        identifier, label, head, tail, *values = line.split("\t")
        self.check_identifier(number, identifier)
        for name, value in (("relation", label), ("head", head), ("tail", tail)):
            if not value.strip():
                raise self.error(number, name, f"found {value!r}: expected a text")
        return ConceptRow(head, label, tail, tuple(values))

    def mention(self, number: int, line: str, text: str) -> Tuple[List[str], int, int]:
        fields = line.split("\t")
        self.check_identifier(number, fields[0])
        if len(fields) < 5:
            raise self.error(
                number,
                "",
                f"found {len(fields)} fields: expected PMID, start, end, text, label and concept "
                "of a mention or PMID, label and two concepts of a relation, with tabs between",
            )
        for name, value in (("start", fields[1]), ("end", fields[2])):
            if not _NUMBER.fullmatch(value):
                raise self.error(number, name, f"found {value!r}: expected a number")
        start, end = int(fields[1]), int(fields[2])
        if not start < end <= len(text):
            raise self.error(
                number,
                "end",
                f"found characters {start} to {end}: expected start < end <= {len(text)}, the "
                "length of title, blank and abstract (ends are exclusive)",
            )
        expected = text[start:end].replace("\n", " ")
        if fields[3].strip() != expected.strip():
            raise self.error(
                number,
                "text",
                f"found {fields[3][:80]!r}: expected {expected[:80]!r}, characters {start} to "
                f"{end} of title, blank and abstract",
            )
        if not fields[4].strip():
            raise self.error(number, "label", f"found {fields[4]!r}: expected a text")
        return fields, start, end


def _blocks(text: str) -> List[_Block]:
    """The documents' lines, with the empty lines around them: each belongs to one document."""
    found: List[_Block] = []
    lines: List[_Line] = []
    before, after = 0, 0
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if line.strip():
            if lines and after:
                found.append(_Block(lines, before, after))
                lines, before, after = [], 0, 0
            lines.append((number, line))
        elif lines:
            after += 1
        else:
            before += 1
    if lines:
        found.append(_Block(lines, before, after))
    return found


def _is_relation(line: str) -> bool:
    """Whether the second field is no offset, in a line with as many fields as relations have."""
    fields = line.split("\t")
    return len(fields) in (4, 5) and not _NUMBER.fullmatch(fields[1])
