"""This package's own JSONL: one document a line, with all that a Doc carries.

A line is an object with these fields; offsets count the characters of ``text`` from 0 and ends
are exclusive::

    id                  string, the document's id (may be empty)
    text                string
    sections            list of {name, start, end}
    mentions            list of {id, start, end, text, label, concept_id, score, candidates}
    relations           list of {head, label, tail, score}; head and tail are mention ids
    concept_relations   list of {head, head_label, label, tail, tail_label, score}; head and tail
                        are concept ids. Derived from the others, not read
    stated_relations    list of {head, label, tail, values}, only where a corpus states relations
                        between concepts; values are further strings that it gives
    codes               list of {code, score, mentions}, only where the document's codes were stated
                        or set; mentions are the ids of those that support a code
    tier                string, the quality of the annotation, only where it is known
    meta                object, what the corpus says about the document

``concept_id`` is "" for no link; ``score`` of a mention is null where there is none, and
``candidates`` is null or a list of [concept id, score], best first. Read are lines with ``id``
and ``text`` and, where they are given, the others; a mention needs ``start``, ``end`` and
``label``, a relation ``head``, ``label`` and ``tail``, a code ``code``. Scores have float32
precision.
"""

import json
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Optional, Union

import numpy
from spacy.tokens import Doc

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    Mention,
    codes_key,
    find_sections,
    get_codes,
    get_concept_relations,
    get_concept_rows,
    get_mentions,
    get_relation_rows,
    get_sections,
    get_tier,
    mention_characters,
    relations_key,
    set_codes,
    set_concept_rows,
    set_mentions,
    set_relations,
    set_sections,
    set_tier,
    states_concept_relations,
)
from ..annotation.codes import CODES_KEY
from .articles import Tokenize, make_doc
from .atomic import replacing
from .errors import FormatError
from .jsonl_fields import LineReader, Row
from .strict_json import parse_json, read_utf8


def write_jsonl(docs: Iterable[Doc], path: Union[str, Path], *, spans_key: str = SPANS_KEY) -> int:
    """Write one line a document and return their number; the file is complete or untouched.

    Raises ValueError for a value of the metadata that JSON does not have, OSError.
    """
    count = 0
    with replacing(path) as beside, beside.open("w", encoding="utf8", newline="\n") as file:
        for doc in docs:
            record = doc_to_record(doc, spans_key)
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_jsonl(
    path: Union[str, Path],
    nlp: Tokenize,
    *,
    spans_key: str = SPANS_KEY,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> Iterator[Doc]:
    """Read the documents of a file, one a line; empty lines are passed over.

    ``nlp`` is a pipeline, of which only the tokenizer runs, or a function from a text to a Doc.
    Raises FormatError, naming file, line and field; with ``skip_invalid`` the line is left out
    and the error appended to ``report``. Raises OSError.
    """
    path = Path(path)
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if not line.strip():
            continue
        record = f"line {number}"
        try:
            doc = record_to_doc(
                parse_json(line, path, record), nlp, spans_key, file=path, record=record
            )
        except FormatError as error:
            if not skip_invalid:
                raise
            if report is not None:
                report.append(error)
            continue
        yield doc


def doc_to_record(doc: Doc, spans_key: str = SPANS_KEY) -> Row:
    """The object of one line: what the Doc carries, as plain values."""
    text = doc.text
    meta = dict(doc.user_data.get(META_KEY) or {})
    identifier = str(meta.pop("id", ""))
    sections = get_sections(doc)
    for section in sections:
        if meta.get(section.name) == text[section.start : section.end]:
            del meta[section.name]
    own = relations_key(doc) == spans_key
    stated = {"stated_relations": [row._asdict() for row in get_concept_rows(doc)]}
    return {
        "id": identifier,
        "text": text,
        "sections": [section._asdict() for section in sections],
        "mentions": [_mention_row(doc, text, mention) for mention in get_mentions(doc, spans_key)],
        "relations": [
            {"head": head, "label": label, "tail": tail, "score": _plain(score)}
            for head, label, tail, score in (get_relation_rows(doc) if own else ())
        ],
        "concept_relations": [
            {**relation._asdict(), "score": _plain(relation.score)}
            for relation in (get_concept_relations(doc) if own else ())
        ],
        **(stated if states_concept_relations(doc) else {}),
        **({"codes": _code_rows(doc, spans_key)} if _has_codes(doc, spans_key) else {}),
        **({"tier": get_tier(doc)} if get_tier(doc) else {}),
        "meta": meta,
    }


def record_to_doc(
    value: Any,
    nlp: Tokenize,
    spans_key: str = SPANS_KEY,
    *,
    file: Union[str, Path] = "",
    record: str = "",
) -> Doc:
    """Make a Doc of the object of one line. Raises FormatError with ``file`` and ``record``."""
    reader = LineReader(file, record)
    reader.object(value, "")
    identifier = reader.get(value, "", "id", str)
    if identifier:
        reader.record = f"{record} (id {identifier})".strip()
    text = reader.get(value, "", "text", str)
    doc = make_doc(nlp, text)
    sections = reader.sections(value)
    if sections is not None and sections != find_sections(text):
        try:
            set_sections(doc, sections)
        except ValueError as error:
            raise reader.error("sections", str(error)) from None
    mentions = reader.mentions(value, doc)
    try:
        mentions = set_mentions(doc, spans_key, mentions)
    except ValueError as error:
        raise reader.error("mentions", str(error)) from None
    set_relations(doc, spans_key, reader.relations(value, {mention.id for mention in mentions}))
    if "stated_relations" in value:
        set_concept_rows(doc, reader.stated_relations(value))
    if "codes" in value:
        set_codes(doc, reader.codes(value, {mention.id for mention in mentions}), spans_key)
    if "tier" in value:
        set_tier(doc, reader.get(value, "", "tier", str))
    meta = reader.get(value, "", "meta", dict) if "meta" in value else {}
    reader.encodable("meta", meta)
    if identifier:
        meta = {"id": identifier, **meta}
    if meta:
        doc.user_data[META_KEY] = meta
    return doc


def _mention_row(doc: Doc, text: str, mention: Mention) -> Row:
    start, end = mention_characters(doc, mention)
    candidates = mention.candidates
    return {
        "id": mention.id,
        "start": start,
        "end": end,
        "text": text[start:end],
        "label": mention.label,
        "concept_id": mention.kb_id,
        "score": None if mention.score is None else _plain(mention.score),
        "candidates": candidates and [[concept, _plain(score)] for concept, score in candidates],
    }


def _has_codes(doc: Doc, spans_key: str) -> bool:
    return CODES_KEY in doc.user_data and codes_key(doc) == spans_key


def _code_rows(doc: Doc, spans_key: str) -> List[Row]:
    # mentions that were left out since then support nothing any more
    known = {mention.id for mention in get_mentions(doc, spans_key)}
    return [
        {
            "code": row["code"],
            "score": _plain(row["score"]),
            "mentions": [name for name in row["mentions"] if name in known],
        }
        for row in get_codes(doc)
    ]


def _plain(score: float) -> float:
    """The shortest number that is the same float32."""
    return float(str(numpy.float32(score)))
