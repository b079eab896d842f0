"""The lines of brat's standoff files, each parsed by itself."""

import re
from dataclasses import dataclass, field
from typing import List, Optional, Tuple

from .standoff import Fragments

# the two roles of an event that is a relation: head, tail
EVENT_ROLES = (("Agent", "Theme"), ("Cause", "Theme"), ("Theme", "Theme2"))
RelationKey = Tuple[str, str, str]  # id of the head, label, id of the tail
_ID = re.compile(r"[TREAMN#][0-9]+|\*")
_MENTION = re.compile(r"(\S+) ([0-9]+ [0-9]+(?:;[0-9]+ [0-9]+)*)")
_ROLE = re.compile(r"([^\s:]+):([TE][0-9]+)")
_KINDS = {
    "T": ("T1<tab>Label 0 5<tab>text, or with several '0 5;9 12'", 3),
    "R": ("R1<tab>Label Arg1:T1 Arg2:T2", 2),
    "E": ("E1<tab>Label:T1 Role:T2 Role:T3", 2),
    "A": ("A1<tab>Name T1", 2),
    "M": ("M1<tab>Name T1", 2),
    "N": ("N1<tab>Reference T1 BASE:ID<tab>name, or N1<tab>BASE:ID T1<tab>name", 2),
    "#": ("#1<tab>Kind T1<tab>text", 2),
    "*": ("*<tab>Equiv T1 T2", 2),
}


@dataclass
class BratLine:
    """One line: what stands in it, by its kind (the first letter of its id).

    ``refs`` are the ids of the lines that it names. A mention has ``label`` and ``fragments``;
    a relation or an event between two mentions has ``relation``; a normalisation has ``concept``.
    """

    raw: str
    id: str
    label: str = ""
    text: str = ""
    refs: List[str] = field(default_factory=list)
    fragments: Fragments = ()
    relation: Optional[RelationKey] = None
    concept: str = ""

    @property
    def kind(self) -> str:
        return self.id[0]


def parse_line(raw: str) -> BratLine:
    """Parse a line. Raises ValueError that says what was expected."""
    identifier, *fields = raw.split("\t")
    if not _ID.fullmatch(identifier):
        raise ValueError(
            f"found {identifier!r}: expected an id, one of {' '.join(_KINDS)} and a number (none "
            "after *), and a tab"
        )
    form, count = _KINDS[identifier[0]]
    line = BratLine(raw, identifier, text="\t".join(fields[1:]))
    if len(fields) + 1 < count or not _parse(line, fields[0]):
        raise ValueError(f"found {raw[:80]!r}: expected {form}")
    return line


def _parse(line: BratLine, content: str) -> bool:
    """Fill in what the second field says; whether it is as its kind of line wants it."""
    words = content.split()
    if line.kind == "T":
        match = _MENTION.fullmatch(content)
        if match is None:
            return False
        parts = [part.split() for part in match[2].split(";")]
        line.label = match[1]
        line.fragments = [(int(start), int(end)) for start, end in parts]
        return True
    if line.kind in "RE":
        return _parse_roles(line, words)
    if len(words) < 2:
        return False
    if line.kind == "N":
        target, line.concept = (words[1], words[2]) if len(words) > 2 else (words[1], words[0])
        line.refs = [target]
        return len(words) <= 3 and target[0] == "T" and _ID.fullmatch(target) is not None
    line.refs = words[1:] if line.kind == "*" else words[1:2]
    return all(_ID.fullmatch(ref) for ref in line.refs)


def _parse_roles(line: BratLine, words: List[str]) -> bool:
    if not words:
        return False
    label, trigger = words[0], ""
    if line.kind == "E":
        match = _ROLE.fullmatch(words[0])
        if match is None:
            return False
        label, trigger = match[1], match[2]
    matches = [_ROLE.fullmatch(word) for word in words[1:]]
    roles = [(match[1], match[2]) for match in matches if match is not None]
    if len(roles) != len(words) - 1 or (line.kind == "R" and len(roles) != 2):
        return False
    line.label = label
    line.refs = [*([trigger] if trigger else []), *(target for _, target in roles)]
    names = tuple(sorted(name for name, _ in roles))
    if line.kind == "E" and names not in EVENT_ROLES:
        return True
    if line.kind == "E" or names == ("Arg1", "Arg2"):
        roles = sorted(roles)
    (_, head), (_, tail) = roles
    if head[0] == tail[0] == "T":
        line.relation = (head, label, tail)
    return True
