"""Abbreviations of a document: where short forms stand, and the long form each stands for.

They are kept in ``doc.user_data`` as plain character offsets, so that DocBin, pickling and
``n_process`` carry them; spans are made of them where they are read.
"""

import re
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc, Span

from .mentions import Mention, mention_characters, mention_texts, token_borders

ABBREVIATIONS_KEY = "bioie_abbreviations"
# Behind the long form of a definition
_BRACKETED = re.compile(r"\s*(?:\([^()]+\)|\[[^\[\]]+\])")


class Abbreviation(NamedTuple):
    """One place of a short form, and its long form: characters of ``doc.text``, ends exclusive.

    The long form stands where the document defines it, the short form anywhere.
    """

    start: int
    end: int
    long_start: int
    long_end: int


def get_abbreviation_rows(doc: Doc) -> List[Abbreviation]:
    """The stored abbreviations in the order of the text; none where none were stored."""
    stored = doc.user_data.get(ABBREVIATIONS_KEY, ())
    return [Abbreviation(*(int(offset) for offset in row)) for row in stored]


def set_abbreviations(doc: Doc, rows: Iterable[Sequence[int]]) -> None:
    """Store (start, end, long start, long end) rows, characters of ``doc.text``.

    Raises ValueError where a range is empty or leaves the text, or short forms overlap.
    """
    length = len(doc.text)
    border = 0
    plain = []
    for row in sorted(Abbreviation(*(int(offset) for offset in row)) for row in rows):
        for start, end in (row[:2], row[2:]):
            if not 0 <= start < end <= length:
                raise ValueError(
                    f"{row}: expected ranges inside the text of {length} characters, none empty."
                )
        if row.start < border:
            raise ValueError(
                f"{row} begins before character {border}, where the short form before it ends: "
                "expected short forms that do not overlap."
            )
        border = row.end
        plain.append(list(row))
    doc.user_data[ABBREVIATIONS_KEY] = plain


def get_abbreviations(doc: Doc) -> List[Span]:
    """Read ``doc._.abbreviations``: every place of a short form, in the order of the text.

    A border inside a token is widened to the whole token.
    """
    borders = _token_ranges(doc, [row[:2] for row in get_abbreviation_rows(doc)])
    return [Span(doc, start, end) for start, end in borders]


def get_long_form(span: Span) -> Optional[Span]:
    """Read ``span._.long_form``: the long form of a short form, None for any other span."""
    doc = span.doc
    rows = get_abbreviation_rows(doc)
    borders = _token_ranges(doc, [row[:2] for row in rows])
    for row, (start, end) in zip(rows, borders, strict=True):
        if (start, end) == (span.start, span.end):
            ((long_start, long_end),) = _token_ranges(doc, [row[2:]])
            return Span(doc, long_start, long_end)
    return None


def expand_abbreviations(doc: Doc, mentions: Sequence[Mention]) -> List[str]:
    """The texts of mentions, as ``mention_texts`` gives them, with short forms written out.

    Every short form that lies in a mention makes room for its long form; a mention without one
    keeps its text. Where a mention holds a definition as a whole, the short form goes with its
    brackets: "gastrointestinal (GI) tract" becomes "gastrointestinal tract".
    """
    rows = get_abbreviation_rows(doc)
    if not rows:
        return mention_texts(doc, mentions)
    text = doc.text
    starts = [row.start for row in rows]
    out = []
    for start, end in (mention_characters(doc, mention) for mention in mentions):
        parts = []
        place = start
        for row in rows[int(numpy.searchsorted(starts, start)) :]:
            if row.end > end:
                break
            if not (start <= row.long_start and row.long_end <= end):
                parts += [text[place : row.start], text[row.long_start : row.long_end]]
                place = row.end
            elif _BRACKETED.fullmatch(text, row.long_end, min(row.end + 1, end)):
                parts.append(text[place : row.long_end])
                place = row.end + 1
        out.append("".join([*parts, text[place:end]]))
    return out


def _token_ranges(doc: Doc, ranges: Sequence[Tuple[int, ...]]) -> List[Tuple[int, int]]:
    """Token borders (end exclusive) of ranges of characters, widened to whole tokens."""
    starts, ends = token_borders(doc)
    characters = numpy.asarray(ranges, dtype="int64").reshape((-1, 2))
    first = numpy.searchsorted(ends, characters[:, 0], side="right")
    last = numpy.searchsorted(starts, characters[:, 1], side="left")
    return list(zip(first.tolist(), last.tolist(), strict=True))
