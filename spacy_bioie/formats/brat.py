"""brat's standoff files: texts (.txt) with annotations (.ann) beside them.

Mentions (T), also nested and in several parts; relations (R); events (E), which are relations
where they have two mentions as Agent and Theme, Cause and Theme or Theme and Theme2; concepts of
mentions (N). Attributes, notes and equivalences (A, M, #, \\*) and all other events have no
counterpart in a Doc: they are kept as lines and written back with what they name.
"""

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set, Tuple, Union

from spacy.tokens import Doc

from ..annotation import META_KEY, SPANS_KEY, Mention, set_mentions, set_relations
from .articles import Tokenize, make_doc, token_ranges, with_exact_characters
from .brat_lines import BratLine, parse_line
from .brat_writing import LINES_KEY, doc_to_brat, write_brat
from .errors import FormatError
from .standoff import (
    check_discontinuous,
    covering,
    fragment_text,
    read_exactly,
    set_fragments,
)
from .strict_json import read_utf8

__all__ = ["doc_to_brat", "read_brat", "write_brat"]


def read_brat(
    path: Union[str, Path],
    nlp: Tokenize,
    *,
    spans_key: str = SPANS_KEY,
    discontinuous: str = "cover",
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> Iterator[Doc]:
    """Read the documents of a folder in the order of their names, or one .txt or .ann file.

    ``nlp`` is a pipeline, of which only the tokenizer runs, or a function from a text to a Doc. A
    document's id is its file's name without suffix, a mention keeps its own. The first concept of
    a mention becomes its link. A mention in several parts becomes the span that covers them and
    keeps its parts (see ``get_fragments``); with ``discontinuous="skip"`` it is left out, with
    all that names it, and each such line is told in ``report``. Offsets count the characters of
    the file, carriage returns too.

    Raises FormatError, naming file, line and field; with ``skip_invalid`` the line is left out,
    with all that names it (a document only where a file is missing or no UTF-8), and each error
    appended to ``report``. Raises FileNotFoundError, ValueError for another ``discontinuous``.
    """
    check_discontinuous(discontinuous)
    path = Path(path)
    texts = sorted(path.glob("*.txt")) if path.is_dir() else [path.with_suffix(".txt")]
    if not texts:
        raise FileNotFoundError(errno.ENOENT, "no .txt file in the folder", str(path))

    def read() -> Iterator[Doc]:
        for file in texts:
            reader = _AnnReader(file.with_suffix(".ann"), discontinuous, skip_invalid, report)
            try:
                yield reader.doc(read_exactly(file), nlp, spans_key)
            except FormatError as error:
                reader.skip(error)

    return read()


@dataclass
class _AnnReader:
    """Reads the annotations of one document; ``left_out`` are ids of lines that were skipped."""

    path: Path
    discontinuous: str
    skip_invalid: bool
    report: Optional[List[FormatError]]
    left_out: Set[str] = field(default_factory=set)

    def skip(self, error: FormatError, *, asked: bool = False) -> None:
        if not (self.skip_invalid or asked):
            raise error
        if self.report is not None:
            self.report.append(error)

    def error(self, number: int, line: Optional[BratLine], part: str, problem: str) -> FormatError:
        record = f"line {number}" if line is None else f"line {number} ({line.id})"
        return FormatError(self.path, record, part, problem)

    def doc(self, text: str, nlp: Tokenize, spans_key: str) -> Doc:
        if not self.path.is_file():
            raise FormatError(self.path, "", "", "missing: expected annotations beside the text")
        doc = make_doc(nlp, text)
        lines = self.lines(read_utf8(self.path), text)
        lines = self.without_left_out(self.with_tokens(lines, doc))
        concepts: Dict[str, str] = {}
        for _, line in lines:
            if line.kind == "N":
                concepts.setdefault(line.refs[0], line.concept)
        mentions = []
        found = [line for _, line in lines if line.kind == "T"]
        characters = [covering(line.fragments) for line in found]
        for line, borders, (first, last) in zip(
            found, characters, token_ranges(doc, characters), strict=True
        ):
            mention = Mention(first, last, line.label, line.id, concepts.get(line.id, ""))
            mentions.append(with_exact_characters(doc, mention, *borders))
        set_mentions(doc, spans_key, mentions)
        set_fragments(doc, {line.id: line.fragments for line in found})
        relations = dict.fromkeys(line.relation for _, line in lines if line.relation is not None)
        set_relations(doc, spans_key, [(*relation, 1.0) for relation in relations])
        doc.user_data[META_KEY] = {"id": self.path.stem}
        doc.user_data[LINES_KEY] = [line.raw for _, line in lines]
        return doc

    def lines(self, annotations: str, text: str) -> List[Tuple[int, BratLine]]:
        """The lines that are as they should be by themselves, with their numbers."""
        found: List[Tuple[int, BratLine]] = []
        seen: Set[str] = set()
        for number, raw in enumerate(annotations.split("\n"), 1):
            if not raw.strip():
                continue
            line = None
            try:
                try:
                    line = parse_line(raw)
                except ValueError as error:
                    raise self.error(number, None, "", str(error)) from None
                if line.id in seen:
                    raise self.error(number, line, "id", "expected each id once, it occurs again")
                if line.kind == "T":
                    self.check_mention(number, line, text)
            except FormatError as error:
                self.skip(error)
                if line is not None and line.id not in seen:
                    self.left_out.add(line.id)
                continue
            if line.id != "*":
                seen.add(line.id)
            found.append((number, line))
        return found

    def check_mention(self, number: int, line: BratLine, text: str) -> None:
        for start, end in line.fragments:
            if not start < end <= len(text):
                raise self.error(
                    number,
                    line,
                    "offsets",
                    f"found {start} {end}: expected start < end <= {len(text)}, the length of the "
                    "text (ends are exclusive)",
                )
        expected = fragment_text(text, line.fragments)
        if line.text != expected:
            raise self.error(
                number,
                line,
                "text",
                f"found {line.text[:80]!r}: expected {expected[:80]!r}, the characters at its "
                "offsets",
            )

    def with_tokens(
        self, lines: List[Tuple[int, BratLine]], doc: Doc
    ) -> List[Tuple[int, BratLine]]:
        """The lines without mentions that cannot be spans or are not wanted."""
        kept = []
        for number, line in lines:
            if line.kind == "T":
                ((first, last),) = token_ranges(doc, [covering(line.fragments)])
                if len(line.fragments) > 1 and self.discontinuous == "skip":
                    problem = f"left out: it has {len(line.fragments)} parts"
                    self.skip(self.error(number, line, "offsets", problem), asked=True)
                elif first >= last:
                    problem = "covers no token: expected more than white space"
                    self.skip(self.error(number, line, "text", problem))
                else:
                    kept.append((number, line))
                    continue
                self.left_out.add(line.id)
            else:
                kept.append((number, line))
        return kept

    def without_left_out(self, lines: List[Tuple[int, BratLine]]) -> List[Tuple[int, BratLine]]:
        """The lines that name only lines that are there."""
        while True:
            known = {line.id for _, line in lines}
            kept = []
            for number, line in lines:
                missing = next((ref for ref in line.refs if ref not in known), None)
                if missing is None:
                    kept.append((number, line))
                    continue
                if missing in self.left_out:
                    problem = f"left out: it names {missing}, which is left out"
                    self.skip(self.error(number, line, "", problem), asked=True)
                else:
                    problem = f"found {missing}: expected the id of a line of this file"
                    self.skip(self.error(number, line, "", problem))
                self.left_out.add(line.id)
            if len(kept) == len(lines):
                return kept
            lines = kept
