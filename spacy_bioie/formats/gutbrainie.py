"""GutBrainIE's annotation JSON of 2025 and 2026: read and validated.

One object with a PMID for each key. An annotated article has ``metadata``, ``entities`` and
``relations`` (in 2026 with concept URIs); an unannotated one is its metadata alone. Lists that
derive from the relations are not read, since bronze holds some that disagree with them.
"""

from pathlib import Path
from typing import Any, Collection, Dict, Iterator, List, Optional, Tuple, Union

from ..annotation.gutbrainie import LABELS, LOCATIONS, PREDICATES
from .articles import Article, Entity, EntityRelation, article_to_doc, doc_to_article
from .errors import FormatError
from .gutbrainie_submissions import (
    SUBTASKS,
    article_to_json,
    submission,
    write_articles,
    write_submissions,
)
from .strict_json import RecordReader, Repeated, join_field, kind_name, parse_json, read_utf8

__all__ = [
    "LABELS",
    "LOCATIONS",
    "PREDICATES",
    "SUBTASKS",
    "Article",
    "Entity",
    "EntityRelation",
    "article_to_doc",
    "article_to_json",
    "doc_to_article",
    "read_articles",
    "submission",
    "write_articles",
    "write_submissions",
]


def read_articles(
    path: Union[str, Path],
    *,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
    labels: Optional[Collection[str]] = LABELS,
    predicates: Optional[Collection[str]] = PREDICATES,
) -> Iterator[Article]:
    """Read the articles of a JSON file, in its order.

    Raises FormatError, naming file, PMID and field, for what is not as expected: no JSON, a
    missing key, a wrong type, an offset outside its section or an end before its start, a
    ``text_span`` that is not the text at its offsets, a label, predicate or location that does
    not exist, a relation whose subject or object is no entity, a PMID that occurs twice. With
    ``skip_invalid`` the entity, relation or article is left out instead (all but a file that is
    no JSON object) and the error appended to ``report``. ``labels`` and ``predicates`` of None
    accept any. Raises OSError for a file that cannot be read.
    """
    path = Path(path)
    values = parse_json(read_utf8(path), path)
    if not isinstance(values, dict):
        raise FormatError(
            path, "", "", f"expected an object with a PMID for each key, found {kind_name(values)}"
        )
    rows = values.rows if isinstance(values, Repeated) else list(values.items())
    # in a file of 2026 every entity has a concept
    linked = any(
        "uri" in entity
        for _, value in rows
        if isinstance(value, dict) and isinstance(value.get("entities"), list)
        for entity in value["entities"]
        if isinstance(entity, dict)
    )

    def read() -> Iterator[Article]:
        seen = set()
        for pmid, value in rows:
            reader = _ArticleReader(path, pmid, linked, labels, predicates, skip_invalid, report)
            try:
                if pmid in seen:
                    raise reader.error("", "expected each PMID once, it occurs again")
                seen.add(pmid)
                article = reader.article(value)
            except FormatError as error:
                reader.skip(error)
                continue
            yield article

    return read()


class _ArticleReader(RecordReader):
    """Checks one article."""

    def __init__(
        self,
        path: Path,
        pmid: str,
        linked: bool,
        labels: Optional[Collection[str]],
        predicates: Optional[Collection[str]],
        skip_invalid: bool,
        report: Optional[List[FormatError]],
    ) -> None:
        super().__init__(path, f"PMID {pmid}")
        self.pmid = pmid
        self.linked = linked
        self.labels = labels
        self.predicates = predicates
        self.skip_invalid = skip_invalid
        self.report = report

    def skip(self, error: FormatError) -> None:
        if not self.skip_invalid:
            raise error
        if self.report is not None:
            self.report.append(error)

    def article(self, value: Any) -> Article:
        if not self.pmid.strip():
            raise self.error("", "expected a PMID as the key, found an empty one")
        self.encodable("", self.pmid)
        self.object(value, "")
        if "metadata" in value:
            metadata = self.get(value, "", "metadata", dict)
            self.object(metadata, "metadata")
            rows = {name: self.get(value, "", name, list) for name in ("entities", "relations")}
            prefix = "metadata"
        elif "entities" in value or "relations" in value or not {*value} & {*LOCATIONS}:
            raise self.error(
                "metadata",
                "missing: expected an object with title and abstract (or, in an article without "
                "annotations, both in the article itself)",
            )
        else:
            metadata, rows, prefix = value, {"entities": [], "relations": []}, ""
        texts = {name: self.get(metadata, prefix, name, str) for name in LOCATIONS}
        for name, entry in metadata.items():
            self.encodable(join_field(prefix, name), entry)
        if "id" in metadata:
            raise self.error(
                join_field(prefix, "id"), "expected no such field, the PMID is the article's key"
            )
        entities: List[Entity] = []
        index: Dict[Tuple[int, int, str, str], List[int]] = {}
        for i, row in enumerate(rows["entities"]):
            try:
                entity = self.entity(row, f"entities[{i}]", texts)
            except FormatError as error:
                self.skip(error)
                continue
            key = (entity.start_idx, entity.end_idx, entity.location, entity.label)
            index.setdefault(key, []).append(len(entities))
            entities.append(entity)
        relations = []
        for i, row in enumerate(rows["relations"]):
            field = f"relations[{i}]"
            try:
                self.object(row, field)
                subject = self.argument(row, field, "subject", entities, index)
                predicate = self.choice(row, field, "predicate", self.predicates)
                target = self.argument(row, field, "object", entities, index)
            except FormatError as error:
                self.skip(error)
                continue
            relations.append(EntityRelation(subject, predicate, target))
        return Article(self.pmid, dict(metadata), entities, relations)

    def entity(self, row: Any, field: str, texts: Dict[str, str]) -> Entity:
        self.object(row, field)
        start = self.get(row, field, "start_idx", int)
        end = self.get(row, field, "end_idx", int)
        location = self.choice(row, field, "location", LOCATIONS)
        span = self.get(row, field, "text_span", str)
        label = self.choice(row, field, "label", self.labels)
        uri = self.get(row, field, "uri", str) if self.linked else ""
        text = texts[location]
        size = f"the {location} has {len(text)} characters"
        if not 0 <= start < len(text):
            raise self.error(
                f"{field}.start_idx", f"found {start}: expected a character of the section, {size}"
            )
        if end < start:
            raise self.error(
                f"{field}.end_idx",
                f"found {end}: expected {start}, the start, or more (ends are inclusive)",
            )
        if end >= len(text):
            raise self.error(
                f"{field}.end_idx", f"found {end}: expected a character of the section, {size}"
            )
        if span != text[start : end + 1]:
            raise self.error(
                f"{field}.text_span",
                f"found {span[:80]!r}: expected {text[start : end + 1][:80]!r}, characters "
                f"{start} to {end} of the {location}",
            )
        if not span.strip():
            raise self.error(
                f"{field}.text_span", f"found {span!r}: expected more than white space"
            )
        return Entity(start, end, location, span, label, uri or None)

    def argument(
        self,
        row: Dict[str, Any],
        field: str,
        side: str,
        entities: List[Entity],
        index: Dict[Tuple[int, int, str, str], List[int]],
    ) -> int:
        """The index of the entity that a relation has as its subject or object."""
        start = self.get(row, field, f"{side}_start_idx", int)
        end = self.get(row, field, f"{side}_end_idx", int)
        location = self.choice(row, field, f"{side}_location", LOCATIONS)
        label = self.choice(row, field, f"{side}_label", self.labels)
        span = self.get(row, field, f"{side}_text_span", str)
        found = index.get((start, end, location, label))
        if not found:
            raise self.error(
                f"{field}.{side}",
                f"{label!r} at {location} {start} to {end} is no entity: expected the offsets, "
                "location and label of one of the article's entities",
            )
        if span != entities[found[0]].text_span:
            raise self.error(
                f"{field}.{side}_text_span",
                f"found {span!r}: expected {entities[found[0]].text_span!r}, the entity's text",
            )
        if not self.linked:
            return found[0]
        uri = self.get(row, field, f"{side}_uri", str)
        for i in found:
            if (entities[i].uri or "") == uri:
                return i
        raise self.error(
            f"{field}.{side}_uri",
            f"found {uri!r}: expected {entities[found[0]].uri or ''!r}, the entity's URI",
        )

    def choice(
        self, value: Dict[str, Any], field: str, key: str, choices: Optional[Collection[str]]
    ) -> str:
        found = self.get(value, field, key, str)
        if not found or (choices is not None and found not in choices):
            raise self.error(
                join_field(field, key),
                f"found {found!r}: expected one of {', '.join(choices or ['any name'])}",
            )
        return found
