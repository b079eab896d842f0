"""A plain-text report of one annotated document."""

from typing import List, Optional

from spacy.tokens import Doc

from ..annotation import (
    SPANS_KEY,
    get_concept_relations,
    get_mentions,
    get_relation_rows,
    mention_characters,
    mention_texts,
    section_offsets,
)


def text_report(doc: Doc, key: str = SPANS_KEY) -> str:
    """Describe the mentions, concepts and relations of a document in lines of text.

    A mention's line has its id, section and character offsets (end exclusive), label, score,
    concept id (``-`` for no link) and text; a relation's line has its score, head, predicate and
    tail.
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
    relations = get_relation_rows(doc)
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
