"""Relations between mentions.

They are kept in ``doc.user_data`` as plain strings and floats keyed by span ids, so that DocBin,
pickling and ``n_process`` carry them.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple, Union

from spacy.tokens import Doc, Span
from spacy.training import Example

from .mentions import SPANS_KEY, gold_mentions

RELATIONS_KEY = "bioie_relations"
RelationRow = Tuple[str, str, str, float]  # head id, predicate, tail id, score


class Relation(NamedTuple):
    """``head`` stands in the relation ``label`` to ``tail``; ``score`` is a probability."""

    head: Span
    label: str
    tail: Span
    score: float = 1.0

    @property
    def evidence(self) -> Span:
        """The text that supports the relation: the sentences from one mention to the other.

        Without sentence borders, the tokens from one mention to the other.
        """
        doc = self.head.doc
        first = min(self.head, self.tail, key=lambda span: span.start)
        last = max(self.head, self.tail, key=lambda span: span.end)
        if not doc.has_annotation("SENT_START"):
            return doc[first.start : last.end]
        return doc[doc[first.start].sent.start : doc[last.end - 1].sent.end]


def get_relation_rows(doc: Doc) -> List[RelationRow]:
    """The stored relations as (head id, predicate, tail id, score)."""
    stored = doc.user_data.get(RELATIONS_KEY)
    if stored is None:
        return []
    return [
        (str(head), str(label), str(tail), float(score))
        for head, label, tail, score in stored["relations"]
    ]


def relations_key(doc: Doc) -> str:
    """The key of the span group whose ids the relations of this Doc name."""
    stored = doc.user_data.get(RELATIONS_KEY)
    return SPANS_KEY if stored is None else str(stored["spans_key"])


def set_relations(doc: Doc, key: str, rows: Iterable[Sequence]) -> None:
    """Store (head id, predicate, tail id, score) rows over ``doc.spans[key]``.

    Raises ValueError where an id names no mention of the group.
    """
    known = {span.id_ for span in doc.spans[key]} if key in doc.spans else set()
    plain = []
    for head, label, tail, score in rows:
        for end in (head, tail):
            if not end or end not in known:
                raise ValueError(
                    f"Relation ({head!r}, {label!r}, {tail!r}): no mention of doc.spans['{key}'] "
                    f"has the id {end!r}."
                )
        plain.append([str(head), str(label), str(tail), float(score)])
    doc.user_data[RELATIONS_KEY] = {"spans_key": key, "relations": plain}


def get_relations(doc: Doc) -> List[Relation]:
    """Read ``doc._.relations``."""
    rows = get_relation_rows(doc)
    if not rows:
        return []
    spans = _spans_by_id(doc)
    return [Relation(spans[head], label, spans[tail], score) for head, label, tail, score in rows]


def set_relation_values(doc: Doc, values: Iterable[Union[Relation, Sequence]]) -> None:
    """Write ``doc._.relations``: Relation objects or (head id, predicate, tail id, score)."""
    rows = []
    for head, label, tail, score in values:
        head = head.id_ if isinstance(head, Span) else head
        tail = tail.id_ if isinstance(tail, Span) else tail
        rows.append((head, label, tail, score))
    set_relations(doc, relations_key(doc), rows)


def gold_relation_rows(example: Example, key: str = SPANS_KEY) -> List[RelationRow]:
    """The reference's relations between mentions that have tokens in the predicted Doc."""
    if relations_key(example.reference) != key:
        return []
    known = {mention.id for mention in gold_mentions(example, key)}
    return [
        row for row in get_relation_rows(example.reference) if row[0] in known and row[2] in known
    ]


def _spans_by_id(doc: Doc) -> Dict[str, Span]:
    key = relations_key(doc)
    spans = {span.id_: span for span in doc.spans[key]} if key in doc.spans else {}
    for head, label, tail, _ in get_relation_rows(doc):
        if head not in spans or tail not in spans:
            raise ValueError(
                f"Relation ({head!r}, {label!r}, {tail!r}) names a mention that is not in "
                f"doc.spans['{key}']: the group was replaced after the relations were set."
            )
    return spans
