"""The fields of a line of this package's own JSONL, see ``jsonl``, checked one by one."""

from typing import Any, Collection, Dict, Iterator, List, Optional

import numpy
from spacy.tokens import Doc

from ..annotation import Candidates, ConceptRow, DocumentCode, Mention, Section
from .articles import token_ranges, with_exact_characters
from .strict_json import RecordReader, kind_name

Row = Dict[str, Any]
_LARGEST = float(numpy.finfo("float32").max)  # of scores, which are written as float32


class LineReader(RecordReader):
    """Reads what the object of a line lists."""

    def rows(self, value: Row, name: str) -> Iterator[Any]:
        for i, row in enumerate(self.get(value, "", name, list) if name in value else ()):
            field = f"{name}[{i}]"
            yield field, self.object(row, field)

    def sections(self, value: Row) -> Optional[List[Section]]:
        if "sections" not in value:
            return None
        return [
            Section(
                self.get(row, field, "name", str),
                self.get(row, field, "start", int),
                self.get(row, field, "end", int),
            )
            for field, row in self.rows(value, "sections")
        ]

    def mentions(self, value: Row, doc: Doc) -> List[Mention]:
        text = doc.text
        rows = list(self.rows(value, "mentions"))
        characters = []
        for field, row in rows:
            start = self.get(row, field, "start", int)
            end = self.get(row, field, "end", int)
            if not 0 <= start < end <= len(text):
                raise self.error(
                    field,
                    f"found characters {start} to {end}: expected 0 <= start < end <= {len(text)}, "
                    "the length of the text (ends are exclusive)",
                )
            if "text" in row and row["text"] != text[start:end]:
                raise self.error(
                    f"{field}.text", f"found {row['text']!r}: expected {text[start:end][:80]!r}"
                )
            characters.append((start, end))
        mentions = []
        borders = token_ranges(doc, characters)
        for (field, row), (start, end), (first, last) in zip(
            rows, characters, borders, strict=True
        ):
            if first >= last:
                raise self.error(field, "covers no token: expected more than white space")
            mention = Mention(
                first,
                last,
                self.get(row, field, "label", str),
                self.get(row, field, "id", str) if "id" in row else "",
                self.get(row, field, "concept_id", str) if "concept_id" in row else "",
                self.score(row, field, None),
                self.candidates(row, field),
            )
            mentions.append(with_exact_characters(doc, mention, start, end))
        return mentions

    def relations(self, value: Row, known: Collection[str]) -> List[Any]:
        rows = []
        for field, row in self.rows(value, "relations"):
            head, label, tail = (
                self.get(row, field, key, str) for key in ("head", "label", "tail")
            )
            for key, mention in (("head", head), ("tail", tail)):
                if mention not in known:
                    raise self.error(
                        f"{field}.{key}", f"found {mention!r}: expected the id of a mention"
                    )
            rows.append((head, label, tail, self.score(row, field, 1.0)))
        return rows

    def stated_relations(self, value: Row) -> List[ConceptRow]:
        rows = []
        for field, row in self.rows(value, "stated_relations"):
            head, label, tail = (
                self.get(row, field, key, str) for key in ("head", "label", "tail")
            )
            for key, name in (("head", head), ("label", label), ("tail", tail)):
                if not name:
                    raise self.error(f"{field}.{key}", "found '': expected a text")
            values = self.get(row, field, "values", list) if "values" in row else []
            for i, entry in enumerate(values):
                if not isinstance(entry, str):
                    raise self.error(
                        f"{field}.values[{i}]", f"expected a string, found {kind_name(entry)}"
                    )
                self.encodable(f"{field}.values[{i}]", entry)
            rows.append(ConceptRow(head, label, tail, tuple(values)))
        return rows

    def codes(self, value: Row, known: Collection[str]) -> List[DocumentCode]:
        codes: Dict[str, DocumentCode] = {}
        for field, row in self.rows(value, "codes"):
            code = self.get(row, field, "code", str)
            if not code:
                raise self.error(f"{field}.code", "found '': expected a code")
            if code in codes:
                raise self.error(f"{field}.code", f"found {code!r} again: expected distinct codes")
            names = self.get(row, field, "mentions", list) if "mentions" in row else []
            for i, name in enumerate(names):
                if not isinstance(name, str) or name not in known:
                    raise self.error(
                        f"{field}.mentions[{i}]", f"found {name!r}: expected the id of a mention"
                    )
            score = self.score(row, field, 1.0)
            codes[code] = {"code": code, "score": score, "mentions": names}
        return list(codes.values())

    def score(self, row: Row, field: str, default: Optional[float]) -> Optional[float]:
        found = row.get("score")
        return default if found is None else self.number(found, f"{field}.score")

    def candidates(self, row: Row, field: str) -> Optional[Candidates]:
        found = row.get("candidates")
        if found is None:
            return None
        field = f"{field}.candidates"
        if not isinstance(found, list) or not all(map(_is_candidate, found)):
            raise self.error(field, "expected a list of [concept id, score]")
        return [
            (concept, self.number(score, f"{field}[{i}][1]"))
            for i, (concept, score) in enumerate(found)
        ]

    def number(self, found: Any, field: str) -> float:
        """Check that a value is a number, and one that can be written again."""
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise self.error(field, f"expected a number, found {kind_name(found)}")
        try:
            number = float(found)
        except OverflowError:
            number = numpy.inf
        if not abs(number) <= _LARGEST:
            raise self.error(field, f"expected a number that float32 holds, found {number}")
        return number


def _is_candidate(pair: Any) -> bool:
    return isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
