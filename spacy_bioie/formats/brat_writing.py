"""Write brat's standoff files; ``brat`` says how they look."""

import itertools
import re
from pathlib import Path
from typing import Collection, Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Union

from spacy.tokens import Doc

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    relations_key,
)
from .atomic import write_texts
from .brat_lines import BratLine, RelationKey, parse_line
from .errors import FormatError
from .standoff import fragment_text, get_fragments

LINES_KEY = "bioie_brat"  # doc.user_data: the lines of the file that a Doc was read from


def write_brat(docs: Iterable[Doc], folder: Union[str, Path], *, spans_key: str = SPANS_KEY) -> int:
    """Write a .txt and an .ann file a document, named after its id, and return their number.

    No file is written where one document raises FormatError (see ``doc_to_brat``). Raises OSError.
    """
    folder = Path(folder)
    texts: Dict[Path, str] = {}
    for doc in docs:
        identifier = _identifier(doc)
        path = folder / f"{identifier}.txt"
        if not identifier or path.parent != folder or path in texts or "\n" in identifier:
            raise _error(
                doc, "id", "expected an id that no other document has and that can name a file"
            )
        texts[path] = doc.text
        texts[path.with_name(f"{identifier}.ann")] = doc_to_brat(doc, spans_key)
    write_texts(texts)
    return len(texts) // 2


def doc_to_brat(doc: Doc, spans_key: str = SPANS_KEY) -> str:
    """The annotations of one document.

    Lines that the Doc was read from come first, in their order, as far as they still hold; then
    what is new. Mentions keep ids such as "T5", others get new ones; scores are left behind.
    Raises FormatError for labels and concept ids with white space, which brat does not have.
    """
    text = doc.text
    mentions = get_mentions(doc, spans_key)
    originals = [parse_line(raw) for raw in doc.user_data.get(LINES_KEY) or ()]
    used = {line.id for line in originals}
    names = _brat_ids(mentions, used)
    current: Dict[str, str] = {}
    concepts: Dict[str, str] = {}
    for name, mention in zip(names, mentions, strict=True):
        place = f"mention {mention.id}"
        _check_name(doc, f"{place}: label", mention.label)
        if mention.kb_id:
            _check_name(doc, f"{place}: concept", mention.kb_id)
        parts = get_fragments(doc, mention)
        offsets = ";".join(f"{start} {end}" for start, end in parts)
        current[name] = f"{name}\t{mention.label} {offsets}\t{fragment_text(text, parts)}"
        concepts[name] = mention.kb_id
    relations: Dict[RelationKey, None] = {}
    if relations_key(doc) == spans_key:
        by_id = {mention.id: name for name, mention in zip(names, mentions, strict=True)}
        for head, label, tail, _ in get_relation_rows(doc):
            _check_name(doc, f"relation {(head, label, tail)}: label", label)
            relations[by_id[head], label, by_id[tail]] = None
    kept = _still_holding(originals, concepts, relations)
    there = {line.id for line in kept}
    lines = [current[line.id] if line.kind == "T" else line.raw for line in kept]
    lines += [line for name, line in current.items() if name not in there]
    written = {line.relation for line in kept}
    numbers = _free_numbers("R", used)
    for relation in relations:
        if relation not in written:
            head, label, tail = relation
            lines.append(f"R{next(numbers)}\t{label} Arg1:{head} Arg2:{tail}")
    linked = {(line.refs[0], line.concept) for line in kept if line.kind == "N"}
    numbers = _free_numbers("N", used)
    for name, concept in concepts.items():
        if concept and (name, concept) not in linked:
            covered = current[name].split("\t", 2)[2]
            lines.append(f"N{next(numbers)}\tReference {name} {concept}\t{covered}")
    return "".join(f"{line}\n" for line in lines)


def _still_holding(
    lines: List[BratLine], concepts: Mapping[str, str], relations: Collection[RelationKey]
) -> List[BratLine]:
    """The lines whose mentions, relations and links the Doc has, and those that name only such."""
    kept = []
    linked: Set[str] = set()
    for line in lines:
        holds = True
        if line.kind == "T":
            holds = line.id in concepts
        elif line.relation is not None:
            holds = line.relation in relations
        elif line.kind == "N" and line.refs[0] not in linked:
            linked.add(line.refs[0])  # the first one is the link
            holds = concepts.get(line.refs[0]) == line.concept
        if holds:
            kept.append(line)
    while True:
        there = {line.id for line in kept}
        fitting = [line for line in kept if all(ref in there for ref in line.refs)]
        if len(fitting) == len(kept):
            return kept
        kept = fitting


def _brat_ids(mentions: Sequence[Mention], used: Set[str]) -> List[str]:
    """Ids of the form "T5": those of the mentions where they have it, else new ones."""
    own = {m.id for m in mentions if re.fullmatch(r"T[0-9]+", m.id)}
    numbers = _free_numbers("T", own | used)
    return [m.id if m.id in own else f"T{next(numbers)}" for m in mentions]


def _free_numbers(kind: str, ids: Iterable[str]) -> Iterator[int]:
    """Numbers above those that ids of this kind have."""
    return itertools.count(max((int(i[1:]) for i in ids if i[0] == kind), default=0) + 1)


def _check_name(doc: Doc, field: str, name: str) -> None:
    if not name or name != "".join(name.split()):
        raise _error(doc, field, f"found {name!r}: expected a name without white space")


def _identifier(doc: Doc) -> str:
    return str((doc.user_data.get(META_KEY) or {}).get("id", ""))


def _error(doc: Doc, field: str, problem: str) -> FormatError:
    identifier = _identifier(doc)
    record = f"document {identifier}" if identifier else f"document beginning {doc.text[:40]!r}"
    return FormatError("", record, field, problem)
