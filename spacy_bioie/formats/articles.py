"""Annotated articles as plain values, and their way into a Doc and back.

An ``Article`` mirrors the organisers' JSON of GutBrainIE: offsets count the characters of one
section from 0, and the end is inclusive.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy
from spacy.language import Language
from spacy.tokens import Doc

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    get_sections,
    join_sections,
    mention_characters,
    relations_key,
    set_mentions,
    set_relations,
    token_borders,
)
from ..annotation.gutbrainie import LOCATIONS
from .errors import FormatError

Tokenize = Union[Language, Callable[[str], Doc]]
_METADATA = ("title", "author", "journal", "year", "abstract", "annotator")  # the order in files


@dataclass(frozen=True)
class Entity:
    """One annotated mention: characters ``start_idx`` to ``end_idx`` (inclusive) of a section.

    ``location`` is "title" or "abstract"; ``uri`` is the concept, None for no link.
    """

    start_idx: int
    end_idx: int
    location: str
    text_span: str
    label: str
    uri: Optional[str] = None


@dataclass(frozen=True)
class EntityRelation:
    """A relation of an article; ``subject`` and ``object`` are indices of its entities."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True)
class Article:
    """One article; ``metadata`` holds at least the strings ``title`` and ``abstract``."""

    pmid: str
    metadata: Dict[str, Any]
    entities: List[Entity] = field(default_factory=list)
    relations: List[EntityRelation] = field(default_factory=list)


def article_to_doc(article: Article, nlp: Tokenize, spans_key: str = SPANS_KEY) -> Doc:
    """Make a Doc of the title, a line break and the abstract, with all annotations as gold.

    ``nlp`` is a pipeline, of which only the tokenizer runs, or a function from a text to a Doc.
    Entities become the mentions "T1", "T2", ... in their order; one whose border falls inside a
    token is widened to whole tokens and keeps its exact characters in the group's attribute
    ``char_offsets``. Relations get the score 1.0. Metadata and PMID go to
    ``doc.user_data["bioie_meta"]``. Raises FormatError where an entity covers no token.
    """
    title, abstract = article.metadata["title"], article.metadata["abstract"]
    doc = make_doc(nlp, join_sections(title, abstract))
    begins = {"title": 0, "abstract": len(title) + 1}
    characters = [
        (begins[e.location] + e.start_idx, begins[e.location] + e.end_idx + 1)
        for e in article.entities
    ]
    mentions = []
    borders = token_ranges(doc, characters)
    for i, (entity, (first, last)) in enumerate(zip(article.entities, borders, strict=True)):
        if first >= last:
            raise FormatError(
                "",
                f"PMID {article.pmid}",
                f"entities[{i}]",
                f"{entity.text_span!r} covers no token: expected more than white space",
            )
        mention = Mention(first, last, entity.label, f"T{i + 1}", entity.uri or "")
        mentions.append(with_exact_characters(doc, mention, *characters[i]))
    set_mentions(doc, spans_key, mentions)
    rows = [(f"T{r.subject + 1}", r.predicate, f"T{r.object + 1}", 1.0) for r in article.relations]
    set_relations(doc, spans_key, rows)
    doc.user_data[META_KEY] = {"id": article.pmid, **article.metadata}
    return doc


def doc_to_article(
    doc: Doc,
    spans_key: str = SPANS_KEY,
    *,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> Article:
    """Turn the mentions, links and relations of a Doc into an Article with offsets per section.

    The PMID is ``doc.user_data["bioie_meta"]["id"]``; scores are left behind. Raises FormatError
    where there is no PMID, where the Doc is not a title and an abstract, and where a mention lies
    in no single section; with ``skip_invalid`` such a mention is left out with its relations and
    the error appended to ``report``.
    """
    meta = dict(doc.user_data.get(META_KEY) or {})
    pmid = str(meta.pop("id", ""))
    record = f"PMID {pmid}" if pmid else f"document beginning {doc.text[:40]!r}"
    if not pmid:
        raise FormatError(
            "", record, f"user_data['{META_KEY}']", "expected an 'id', the document's PMID"
        )
    text = doc.text
    sections = {section.name: section for section in get_sections(doc)}
    if tuple(sections) != LOCATIONS:
        raise FormatError(
            "",
            record,
            "sections",
            f"found {list(sections)}: expected a title, one line break and an abstract",
        )
    texts = {name: text[section.start : section.end] for name, section in sections.items()}
    # a section with line breaks has blanks in the Doc; its original has the same length
    originals = {name: str(meta.get(name, "")) for name in LOCATIONS}
    if join_sections(originals["title"], originals["abstract"]) == text:
        texts = originals
    meta.update(texts)
    metadata = {key: meta.pop(key) for key in _METADATA if key in meta}
    entities: List[Entity] = []
    index: Dict[str, int] = {}
    for mention in get_mentions(doc, spans_key):
        start, end = _inner_characters(doc, text, mention)
        section = next((s for s in sections.values() if s.start <= start and end <= s.end), None)
        if section is None:
            error = FormatError(
                "",
                record,
                f"mention {mention.id} ({mention.label})",
                f"characters {start} to {end} reach from the title into the abstract: expected a "
                "mention inside one section",
            )
            if not skip_invalid:
                raise error
            if report is not None:
                report.append(error)
            continue
        start, end = start - section.start, end - section.start
        span, uri = texts[section.name][start:end], mention.kb_id or None
        index[mention.id] = len(entities)
        entities.append(Entity(start, end - 1, section.name, span, mention.label, uri))
    relations = []
    if relations_key(doc) == spans_key:
        relations = [
            EntityRelation(index[head], label, index[tail])
            for head, label, tail, _ in get_relation_rows(doc)
            if head in index and tail in index
        ]
    return Article(pmid, {**metadata, **meta}, entities, relations)


def make_doc(nlp: Tokenize, text: str) -> Doc:
    """Tokenize a text with a pipeline's tokenizer or a plain function."""
    return nlp.make_doc(text) if isinstance(nlp, Language) else nlp(text)


def token_ranges(doc: Doc, characters: Sequence[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """The tokens [first, last) that character ranges [start, end) touch; empty if there are none.

    Costs one binary search for each border.
    """
    if not characters:
        return []
    starts, ends = token_borders(doc)
    array = numpy.asarray(characters, dtype="int64")
    first = numpy.searchsorted(ends, array[:, 0], side="right")
    last = numpy.searchsorted(starts, array[:, 1], side="left")
    return [(int(i), int(j)) for i, j in zip(first, last, strict=True)]


def with_exact_characters(doc: Doc, mention: Mention, start: int, end: int) -> Mention:
    """The mention with ``char_offsets`` where its characters [start, end) are not whole tokens."""
    if mention_characters(doc, mention) == (start, end):
        return mention
    return replace(mention, char_offsets=(start, end))


def _inner_characters(doc: Doc, text: str, mention: Mention) -> Tuple[int, int]:
    """A mention's characters without white space at the border between two sections.

    The line break there is a token, so a predicted span can begin or end with it.
    """
    start, end = mention_characters(doc, mention)
    found = text[start:end]
    if "\n" not in found or not found.strip():
        return start, end
    return start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip())
