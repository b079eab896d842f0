"""What a pipeline finds in a document, as plain text."""

from pathlib import Path
from typing import List, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_model

from ..annotation import (
    SPANS_KEY,
    get_concept_relations,
    get_mentions,
    get_relation_rows,
    mention_characters,
    mention_texts,
    relations_key,
    section_offsets,
)


def annotate_text(pipeline: Union[str, Path, Language], text: str, key: str = SPANS_KEY) -> str:
    """Annotate a text and describe what was found, see ``text_report``.

    pipeline: name or folder of a trained pipeline, or one that is loaded.
    text: a title, a line break and an abstract, or any text. Line breaks around it are dropped.

    Raises OSError where the pipeline is not found, and ValueError where it cannot be run.
    """
    nlp = pipeline if isinstance(pipeline, Language) else load_model(pipeline)
    return text_report(nlp(text.strip("\n")), key)


def text_report(doc: Doc, key: str = SPANS_KEY) -> str:
    """Describe the mentions, concepts and relations of a document in lines of text.

    A mention's line has its id, section and character offsets (end exclusive), label, score,
    concept id (``-`` for no link) and text; a relation's line has its score, head, predicate and
    tail. Relations of the mentions of another key are left out.
    """
    mentions = get_mentions(doc, key)
    texts = dict(zip([m.id for m in mentions], mention_texts(doc, mentions), strict=True))
    lines = [f"Mentions ({len(mentions)})"]
    rows: List[List[str]] = []
    for mention in mentions:
        section, start, end = section_offsets(doc, *mention_characters(doc, mention))
        rows.append(
            [
                mention.id,
                f"{section} {start}-{end}",
                mention.label,
                _score(mention.score),
                mention.kb_id or "-",
                texts[mention.id],
            ]
        )
    lines += _columns(rows)
    relations = get_relation_rows(doc) if relations_key(doc) == key else []
    lines += ["", f"Relations ({len(relations)})"]
    lines += _columns(
        [
            [_score(score), f"{head} {texts[head]}", label, f"{tail} {texts[tail]}"]
            for head, label, tail, score in relations
        ]
    )
    concepts = get_concept_relations(doc)
    lines += ["", f"Relations between concepts ({len(concepts)})"]
    lines += _columns([[_score(r.score), r.head, r.label, r.tail] for r in concepts])
    return "\n".join(lines)


def _score(score: Optional[float]) -> str:
    return "-" if score is None else f"{score:.2f}"


def _columns(rows: List[List[str]]) -> List[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in rows]
    return [("  " + "  ".join(cells)).rstrip() for cells in padded]
