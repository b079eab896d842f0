"""What formats with a text and offsets into it share: exact texts and mentions in several parts.

A mention in several parts is "lung ... injuries" in "lung and liver injuries". Its span covers all
of them. The parts are kept in ``doc.user_data`` as characters of ``doc.text`` under the mention's
id, so that DocBin, pickling and ``n_process`` carry them; they count for nothing where a mention
of that id has other borders.
"""

from pathlib import Path
from typing import List, Mapping, Sequence, Tuple

from spacy.tokens import Doc

from ..annotation import Mention, mention_characters
from .strict_json import read_utf8

FRAGMENTS_KEY = "bioie_fragments"
DISCONTINUOUS = ("cover", "skip")  # what a reader does with such a mention
Fragments = Sequence[Tuple[int, int]]  # characters [start, end), in the order of the annotation


def set_fragments(doc: Doc, fragments: Mapping[str, Fragments]) -> None:
    """Store the parts of mentions by their ids; those in one part need not be named."""
    plain = {
        identifier: [[int(start), int(end)] for start, end in parts]
        for identifier, parts in fragments.items()
        if len(parts) > 1
    }
    if plain:
        doc.user_data[FRAGMENTS_KEY] = plain
    else:
        doc.user_data.pop(FRAGMENTS_KEY, None)


def get_fragments(doc: Doc, mention: Mention) -> List[Tuple[int, int]]:
    """The parts of a mention as characters of ``doc.text``: one, or those that were stored."""
    borders = mention_characters(doc, mention)
    stored = (doc.user_data.get(FRAGMENTS_KEY) or {}).get(mention.id)
    if stored:
        parts = [(int(start), int(end)) for start, end in stored]
        if covering(parts) == borders:
            return parts
    return [borders]


def covering(fragments: Fragments) -> Tuple[int, int]:
    """The characters from the first to the last of all parts."""
    return min(start for start, _ in fragments), max(end for _, end in fragments)


def fragment_text(text: str, fragments: Fragments) -> str:
    """The texts of the parts with one blank between, on one line."""
    joined = " ".join(text[start:end] for start, end in fragments)
    return joined.replace("\n", " ").replace("\r", " ")


def check_discontinuous(name: str) -> None:
    """Raise ValueError for anything but one of ``DISCONTINUOUS``."""
    if name not in DISCONTINUOUS:
        raise ValueError(
            f"Unknown choice for discontinuous mentions '{name}': expected one of "
            f"{', '.join(DISCONTINUOUS)}."
        )


def read_exactly(path: Path) -> str:
    """The text of a UTF-8 file, character for character: offsets count them all.

    Raises FormatError for other bytes, OSError.
    """
    try:
        return path.read_bytes().decode("utf8")
    except UnicodeDecodeError:
        return read_utf8(path)  # raises the error that all formats have
