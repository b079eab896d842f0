"""Write PubTator's text format; ``pubtator`` says how it looks."""

import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple, Union

from spacy.tokens import Doc

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    ConceptRow,
    Mention,
    get_concept_relations,
    get_concept_rows,
    get_mentions,
    get_sections,
    mention_characters,
    relations_key,
    states_concept_relations,
)
from ..annotation.gutbrainie import LOCATIONS
from .atomic import replacing
from .errors import FormatError

LAYOUT_KEY = "bioie_pubtator"  # doc.user_data: lines and empty lines that differ from those written
NO_CONCEPT = "-1"


def write_pubtator(
    docs: Iterable[Doc], path: Union[str, Path], *, spans_key: str = SPANS_KEY
) -> int:
    """Write documents and return their number; the file is complete or untouched.

    See ``doc_to_pubtator``. Raises FormatError, OSError.
    """
    count = 0
    with replacing(path) as beside, beside.open("w", encoding="utf8", newline="\n") as file:
        apart = True
        for doc in docs:
            before, after = _layout(doc).get("empty_lines", (0, 1))
            file.write("\n" * (before if apart else max(before, 1)))
            file.write(doc_to_pubtator(doc, spans_key))
            file.write("\n" * after)
            apart = after > 0
            count += 1
    return count


def doc_to_pubtator(doc: Doc, spans_key: str = SPANS_KEY) -> str:
    """The lines of one document.

    Relations are those that the corpus states between concepts, else the lifted ones. A mention
    without a link gets "-1"; scores are left behind. Raises FormatError where there is no id,
    where the Doc is not a title and an abstract, and where a field has a tab or a line break.
    """
    identifier = str((doc.user_data.get(META_KEY) or {}).get("id", ""))
    record = f"PMID {identifier}" if identifier else f"document beginning {doc.text[:40]!r}"
    if not identifier or re.search(r"[\s|]", identifier):
        raise FormatError(
            "",
            record,
            f"user_data['{META_KEY}']",
            f"found the id {identifier!r}: expected a PMID without white space and '|'",
        )
    text = doc.text
    sections = get_sections(doc)
    if tuple(section.name for section in sections) != LOCATIONS:
        raise FormatError(
            "",
            record,
            "sections",
            f"found {[section.name for section in sections]}: expected a title, one line break "
            "and an abstract",
        )
    lines = [f"{identifier}|{name[0]}|{text[start:end]}" for name, start, end in sections]
    rows: List[Tuple[str, Sequence[str]]] = []
    for mention in get_mentions(doc, spans_key):
        start, end = mention_characters(doc, mention)
        rows.append(
            (f"mention {mention.id}", mention_fields(identifier, text, start, end, mention))
        )
    for relation in _concept_rows(doc, spans_key):
        head, label, tail, values = relation
        rows.append((f"relation {relation[:3]}", [identifier, label, head, tail, *values]))
    originals = _layout(doc).get("lines", {})
    for field, fields in rows:
        if not all(fields) or any(re.search(r"[\t\n\r]", value) for value in fields):
            raise FormatError(
                "",
                record,
                field,
                f"found {list(fields)}: expected fields that are not empty and have no tab and no "
                "line break",
            )
        line = "\t".join(fields)
        lines.append(originals.get(line, line))
    return "\n".join(lines) + "\n"


def mention_fields(identifier: str, text: str, start: int, end: int, mention: Mention) -> List[str]:
    covered = text[start:end].replace("\n", " ")
    concept = mention.kb_id or NO_CONCEPT
    return [identifier, str(start), str(end), covered, mention.label, concept]


def _concept_rows(doc: Doc, spans_key: str) -> List[ConceptRow]:
    if states_concept_relations(doc):
        return get_concept_rows(doc)
    if relations_key(doc) != spans_key:
        return []
    rows = [ConceptRow(r.head, r.label, r.tail) for r in get_concept_relations(doc)]
    return list(dict.fromkeys(rows))


def _layout(doc: Doc) -> Dict[str, Any]:
    return doc.user_data.get(LAYOUT_KEY) or {}
