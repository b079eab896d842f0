"""Named sections of a document: a title and an abstract, or one running text.

Sections are a function of the text alone, because spaCy's ``Corpus`` and ``spacy evaluate`` make
the predicted Doc anew from the text of the reference.
"""

from typing import Iterable, List, NamedTuple, Optional, Tuple

import numpy
from spacy.tokens import Doc

SECTIONS_KEY = "bioie_sections"


class Section(NamedTuple):
    """A named range of characters of ``doc.text``; ``end`` is exclusive."""

    name: str
    start: int
    end: int


def find_sections(text: str) -> List[Section]:
    """Find the sections of a text.

    A text with exactly one line break is a title and an abstract (either may be empty); any other
    text is one section called ``text``.
    """
    if text.count("\n") == 1:
        border = text.index("\n")
        return [Section("title", 0, border), Section("abstract", border + 1, len(text))]
    return [Section("text", 0, len(text))]


def join_sections(title: str, abstract: str) -> str:
    """The text of a document with these two sections.

    A line break inside a section becomes one blank, so that every character offset holds.
    """
    return f"{_one_line(title)}\n{_one_line(abstract)}"


def get_sections(doc: Doc) -> List[Section]:
    """Read ``doc._.sections``: what was set by hand, else what the text says."""
    stored = doc.user_data.get(SECTIONS_KEY)
    if stored is not None:
        return [Section(str(name), int(start), int(end)) for name, start, end in stored]
    return find_sections(doc.text)


def set_sections(doc: Doc, sections: Optional[Iterable[Tuple[str, int, int]]]) -> None:
    """Set ``doc._.sections`` by hand; ``None`` goes back to what the text says.

    Raises ValueError where a section leaves the text or overlaps the one before it.
    """
    if sections is None:
        doc.user_data.pop(SECTIONS_KEY, None)
        return
    checked = [Section(str(name), int(start), int(end)) for name, start, end in sections]
    border = 0
    length = len(doc.text)
    for name, start, end in checked:
        if not border <= start <= end <= length:
            raise ValueError(
                f"Section '{name}' covers characters {start} to {end}: expected ranges in "
                f"ascending order, without overlap, inside a text of {length} characters."
            )
        border = end
    doc.user_data[SECTIONS_KEY] = [list(section) for section in checked]


def section_token_ranges(doc: Doc) -> List[Tuple[int, int]]:
    """Token ranges (start, end exclusive) of the sections, in order.

    Every token lies in exactly one range: a token between two sections (the line break) belongs
    to the earlier one. Empty ranges are left out.
    """
    if not len(doc):
        return []
    begins = [section.start for section in get_sections(doc)][1:]
    borders = numpy.searchsorted(doc.to_array("IDX").astype("int64"), begins, side="left")
    edges = [0, *(int(border) for border in borders), len(doc)]
    return [(start, end) for start, end in zip(edges, edges[1:], strict=False) if start < end]


def section_offsets(doc: Doc, start: int, end: int) -> Tuple[str, int, int]:
    """Turn document characters [start, end) into (section name, start, end) inside the section.

    Raises ValueError where the range lies in no single section.
    """
    for section in get_sections(doc):
        if section.start <= start and end <= section.end:
            return section.name, start - section.start, end - section.start
    raise ValueError(
        f"Characters {start} to {end} lie in no single section: expected a range inside one of "
        f"{[tuple(section) for section in get_sections(doc)]}."
    )


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
