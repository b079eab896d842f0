"""Mentions of a document: a span group whose spans carry ids, scores and candidate concepts.

Values that belong to one mention lie in the group's attrs, aligned by index, because spaCy keys
span extensions on characters alone and nested spans with equal borders would share them.
"""

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

SPANS_KEY = "sc"
MentionTable = numpy.ndarray  # int64, shape (mentions, 3): token start, token end, label index
Candidates = List[Tuple[str, float]]


@dataclass(frozen=True)
class Mention:
    """One mention: token borders (``end`` exclusive), label, and what is known about it.

    ``char_offsets`` is set where the exact characters differ from the token borders: an
    annotation whose border falls inside a token.
    """

    start: int
    end: int
    label: str
    id: str = ""
    kb_id: str = ""
    score: Optional[float] = None
    candidates: Optional[Candidates] = None
    char_offsets: Optional[Tuple[int, int]] = None


def get_mentions(doc: Doc, key: str = SPANS_KEY) -> List[Mention]:
    """Read the mentions of ``doc.spans[key]`` in order; none where the group is absent."""
    if key not in doc.spans:
        return []
    group = doc.spans[key]
    n = len(group)
    scores = _aligned(group, "scores", n)
    candidates = _aligned(group, "candidates", n)
    offsets = _aligned(group, "char_offsets", n)
    mentions = []
    for i, span in enumerate(group):
        exact = None
        if offsets is not None:
            start, end = int(offsets[i][0]), int(offsets[i][1])
            if (start, end) != (span.start_char, span.end_char):
                exact = (start, end)
        mentions.append(
            Mention(
                start=span.start,
                end=span.end,
                label=span.label_,
                id=span.id_,
                kb_id=span.kb_id_,
                score=None if scores is None else float(scores[i]),
                candidates=None if candidates is None else _pairs(candidates[i]),
                char_offsets=exact,
            )
        )
    return mentions


def set_mentions(
    doc: Doc, key: str, mentions: Sequence[Mention], *, keep_ids: bool = True
) -> List[Mention]:
    """Replace ``doc.spans[key]`` by these mentions, in this order, and return them with ids.

    Mentions without an id get the next free of ``T1``, ``T2``, ...; with ``keep_ids=False`` all
    are numbered anew. Raises ValueError where two mentions share an id.
    """
    mentions = _with_ids(mentions, keep_ids)
    group = SpanGroup(
        doc,
        name=key,
        spans=[
            Span(doc, m.start, m.end, label=m.label, kb_id=m.kb_id, span_id=m.id) for m in mentions
        ],
    )
    if mentions and all(m.score is not None for m in mentions):
        group.attrs["scores"] = numpy.asarray([m.score for m in mentions], dtype="float32")
    if any(m.candidates is not None for m in mentions):
        group.attrs["candidates"] = [
            [[str(concept), float(score)] for concept, score in m.candidates or ()]
            for m in mentions
        ]
    if any(m.char_offsets is not None for m in mentions):
        group.attrs["char_offsets"] = [
            [int(border) for border in m.char_offsets]
            if m.char_offsets is not None
            else [span.start_char, span.end_char]
            for m, span in zip(mentions, group, strict=True)
        ]
    doc.spans[key] = group
    return mentions


def ensure_span_ids(doc: Doc, key: str = SPANS_KEY) -> List[Mention]:
    """Give an id to every mention of the group that has none; the others keep theirs."""
    mentions = get_mentions(doc, key)
    if all(m.id for m in mentions):
        return mentions
    attrs = dict(doc.spans[key].attrs)
    mentions = set_mentions(doc, key, mentions)
    for name, value in attrs.items():
        doc.spans[key].attrs.setdefault(name, value)
    return mentions


def mention_characters(doc: Doc, mention: Mention) -> Tuple[int, int]:
    """The exact characters [start, end) of a mention in ``doc.text``."""
    if mention.char_offsets is not None:
        return mention.char_offsets
    last = doc[mention.end - 1]
    return doc[mention.start].idx, last.idx + len(last)


def mention_texts(doc: Doc, mentions: Sequence[Mention]) -> List[str]:
    """The exact texts of mentions of a Doc."""
    text = doc.text  # joined anew from the tokens at each access
    return [text[start:end] for start, end in (mention_characters(doc, m) for m in mentions)]


def mention_table(
    mentions: Sequence[Mention], labels: Union[Sequence[str], Mapping[str, int]]
) -> MentionTable:
    """Put mentions into an int64 table (n, 3): start, end, index of the label.

    A label that is not among ``labels`` gets the index -1.
    """
    index: Mapping[str, int]
    if isinstance(labels, Mapping):
        index = labels
    else:
        index = {label: i for i, label in enumerate(labels)}
    rows = [(m.start, m.end, index.get(m.label, -1)) for m in mentions]
    return numpy.asarray(rows, dtype="int64").reshape((-1, 3))


def mention_entities(doc: Doc, mentions: Sequence[Mention]) -> numpy.ndarray:
    """Number the entities of mentions: mentions of one concept and label share one.

    Mentions without a concept share one with those of the same text, whatever its case, and the
    same label, if these have no concept either.

    RETURNS: int64, (mentions,), from 0 in the order of the first mentions.
    """
    numbers: Dict[Tuple[bool, str, str], int] = {}
    entities = []
    for mention, text in zip(mentions, mention_texts(doc, mentions), strict=True):
        name = mention.kb_id or " ".join(text.lower().split())
        key = (bool(mention.kb_id), name, mention.label)
        entities.append(numbers.setdefault(key, len(numbers)))
    return numpy.asarray(entities, dtype="int64")


def gold_mentions(example: Example, key: str = SPANS_KEY) -> List[Mention]:
    """The reference's mentions with token borders of the predicted Doc.

    Where both Docs have the same tokens the borders are copied; otherwise they are found from the
    characters and widened to whole tokens. Mentions that then cover no token are left out.
    """
    mentions = get_mentions(example.reference, key)
    starts, ends = token_borders(example.predicted)
    gold_starts, gold_ends = token_borders(example.reference)
    same_tokens = numpy.array_equal(starts, gold_starts) and numpy.array_equal(ends, gold_ends)
    if same_tokens or not mentions:
        return mentions
    characters = numpy.asarray([mention_characters(example.reference, m) for m in mentions])
    first = numpy.searchsorted(ends, characters[:, 0], side="right")
    last = numpy.searchsorted(starts, characters[:, 1], side="left")
    return [
        replace(m, start=int(i), end=int(j), char_offsets=(int(c[0]), int(c[1])))
        for m, i, j, c in zip(mentions, first, last, characters, strict=True)
        if i < j
    ]


def token_borders(doc: Doc) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Character starts and ends (exclusive) of all tokens, int64 arrays of shape (tokens,)."""
    array = doc.to_array(["IDX", "LENGTH"]).astype("int64").reshape((-1, 2))
    return array[:, 0], array[:, 0] + array[:, 1]


def get_kb_ents(span: Span) -> Candidates:
    """Read ``span._.kb_ents``: the span's candidate concepts with scores, best first.

    The span is looked up in the groups of its Doc by borders, label and, where it has one, id.
    """
    for group in span.doc.spans.values():
        candidates = _aligned(group, "candidates", len(group))
        if candidates is None:
            continue
        for i, other in enumerate(group):
            if (
                other.start == span.start
                and other.end == span.end
                and other.label == span.label
                and (not span.id or other.id == span.id)
            ):
                return _pairs(candidates[i])
    return []


def _with_ids(mentions: Sequence[Mention], keep_ids: bool) -> List[Mention]:
    taken: Dict[str, Mention] = {}
    if keep_ids:
        for mention in mentions:
            if mention.id and mention.id in taken:
                raise ValueError(
                    f"Two mentions have the id '{mention.id}': {taken[mention.id]} and {mention}. "
                    "Expected ids that are unique in their document."
                )
            if mention.id:
                taken[mention.id] = mention
    number = 0
    out = []
    for mention in mentions:
        if not (keep_ids and mention.id):
            number += 1
            while f"T{number}" in taken:
                number += 1
            mention = replace(mention, id=f"T{number}")
        out.append(mention)
    return out


def _aligned(group: SpanGroup, name: str, n: int) -> Optional[Any]:
    values = group.attrs.get(name)
    if values is not None and len(values) != n:
        raise ValueError(
            f"doc.spans['{group.name}'].attrs['{name}'] has {len(values)} values for {n} spans: "
            "expected one for each span, in the same order."
        )
    return values


def _pairs(values: Any) -> Candidates:
    return [(str(concept), float(score)) for concept, score in values]
