"""Relations between concepts: lifted from those between mentions, or stated by a corpus.

Corpora such as BC5CDR and BioRED state relations between the concepts of a document and leave
open which mentions hold them. Those rows are kept in ``doc.user_data`` as plain strings;
``distribute_concept_relations`` makes relations between mentions of them, to train on.
"""

import re
from typing import Callable, Collection, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

import numpy
from spacy.tokens import Doc

from .mentions import SPANS_KEY, Mention, ensure_span_ids, get_mentions
from .relations import get_relations, relations_key, set_relations

CONCEPT_RELATIONS_KEY = "bioie_concept_relations"
DISTRIBUTIONS = ("all", "closest", "sentence")
_SEPARATOR = re.compile(r"[|+,;]")
_CONCEPT_ID = re.compile(r"(?:[A-Za-z]+:)?[A-Za-z]*_?\d+")
_NO_CONCEPT = "-1"  # PubTator's way to say that a part has no concept
_Pair = Tuple[Mention, Mention]


class ConceptRelation(NamedTuple):
    """A relation between two concepts, with the labels of the mentions that support it."""

    head: str
    head_label: str
    label: str
    tail: str
    tail_label: str
    score: float = 1.0


class ConceptRow(NamedTuple):
    """A relation that a corpus states between two concepts.

    ``values`` is what else it says about the relation: ``("Novel",)`` in BioRED.
    """

    head: str
    label: str
    tail: str
    values: Tuple[str, ...] = ()


def concept_ids(kb_id: str) -> List[str]:
    """The concepts that a mention's id joins with ``|``, ``+``, ``,`` or ``;``.

    Only what is a list of database ids is taken apart ("D003110|D009369"): a name of a variant
    such as "c|DEL|657|5" is one id. No link gives no concept.
    """
    if not kb_id:
        return []
    parts = [part.strip() for part in _SEPARATOR.split(kb_id)]
    if not all(part == _NO_CONCEPT or _CONCEPT_ID.fullmatch(part) for part in parts):
        return [kb_id]
    return list(dict.fromkeys(part for part in parts if part != _NO_CONCEPT))


def states_concept_relations(doc: Doc) -> bool:
    """Whether a corpus states which concepts of this Doc are related, be it none."""
    return CONCEPT_RELATIONS_KEY in doc.user_data


def get_concept_rows(doc: Doc) -> List[ConceptRow]:
    """The relations that a corpus states between concepts, in its order."""
    return [
        ConceptRow(str(head), str(label), str(tail), tuple(str(value) for value in values))
        for head, label, tail, *values in doc.user_data.get(CONCEPT_RELATIONS_KEY, ())
    ]


def set_concept_rows(doc: Doc, rows: Iterable[Sequence]) -> None:
    """Store (head, label, tail) or (head, label, tail, values) rows of concept ids.

    Raises ValueError for an empty id or label.
    """
    plain = []
    for row in rows:
        head, label, tail, values = ConceptRow(*row)
        if not (head and label and tail):
            raise ValueError(
                f"Concept relation ({head!r}, {label!r}, {tail!r}): expected two concept ids and "
                "a label, none of them empty."
            )
        plain.append([str(head), str(label), str(tail), *map(str, values)])
    doc.user_data[CONCEPT_RELATIONS_KEY] = plain


def get_concept_relations(doc: Doc) -> List[ConceptRelation]:
    """Read ``doc._.concept_relations``: what the corpus states, else the lifted relations.

    Lifted relations are distinct, each with the best score of its mentions; a mention with several
    concepts lends its relations to each, one without a link to none. For stated relations the
    labels are the most frequent ones among the concept's mentions, empty where it has none.
    """
    if states_concept_relations(doc):
        by_concept = _mentions_by_concept(get_mentions(doc, relations_key(doc)))
        labels = {concept: _label(mentions) for concept, mentions in by_concept.items()}
        return [
            ConceptRelation(
                row.head, labels.get(row.head, ""), row.label, row.tail, labels.get(row.tail, "")
            )
            for row in get_concept_rows(doc)
        ]
    best: Dict[Tuple[str, str, str, str, str], float] = {}
    for head, label, tail, score in get_relations(doc):
        for head_id in concept_ids(head.kb_id_):
            for tail_id in concept_ids(tail.kb_id_):
                key = (head_id, head.label_, label, tail_id, tail.label_)
                best[key] = max(score, best.get(key, score))
    return [ConceptRelation(*key, score) for key, score in best.items()]


def concept_relation_keys(doc: Doc, symmetric: Collection[str] = ()) -> Set[Tuple[str, str, str]]:
    """The relations between concepts as (head, label, tail), without the labels of mentions.

    symmetric: labels whose two concepts have no order; they stand sorted. "*" means all labels.
    """
    keys = set()
    for relation in get_concept_relations(doc):
        head, tail = relation.head, relation.tail
        if _is_symmetric(relation.label, symmetric):
            head, tail = sorted((head, tail))
        keys.add((head, relation.label, tail))
    return keys


def distribute_concept_relations(
    doc: Doc,
    key: str = SPANS_KEY,
    *,
    pairs: str = "all",
    symmetric: Collection[str] = (),
) -> List[ConceptRow]:
    """Replace the relations between mentions by those that the stated concept relations allow.

    pairs: which pairs of mentions of the two concepts hold a relation: "all"; "closest", the one
        pair with the fewest tokens between; "sentence", all pairs inside a sentence, and the
        closest one where there are none.
    symmetric: labels whose two concepts have no order: the mention with the alphabetically first
        label becomes the head, of two with one label that which stands first. "*" means all.

    RETURNS: the stated relations that no two mentions of the Doc can hold.
    A Doc without stated relations stays as it is. Raises ValueError for an unknown kind of pairs,
    and for "sentence" in a Doc without sentence borders.
    """
    if pairs not in DISTRIBUTIONS:
        raise ValueError(f"Unknown pairs '{pairs}': expected one of {', '.join(DISTRIBUTIONS)}.")
    if not states_concept_relations(doc):
        return []
    if pairs == "sentence" and not doc.has_annotation("SENT_START"):
        raise ValueError(
            "Relations cannot be distributed by sentence: the document has no sentence borders, "
            "expected those of a component such as biomedical_sentencizer."
        )
    by_concept = _mentions_by_concept(ensure_span_ids(doc, key))
    choose = _chooser(doc, pairs)
    rows: Dict[Tuple[str, str, str], None] = {}
    left = []
    for row in get_concept_rows(doc):
        found = [
            (head, tail)
            for head in by_concept.get(row.head, ())
            for tail in by_concept.get(row.tail, ())
            if head.id != tail.id
        ]
        if not found:
            left.append(row)
            continue
        for head, tail in choose(found):
            if _is_symmetric(row.label, symmetric):
                head, tail = sorted((head, tail), key=lambda m: (m.label, m.start, m.end))
            rows[head.id, row.label, tail.id] = None
    set_relations(doc, key, [(*row, 1.0) for row in rows])
    return left


def _mentions_by_concept(mentions: Sequence[Mention]) -> Dict[str, List[Mention]]:
    """Mentions of each concept; an id that joins several is a key as a whole too."""
    found: Dict[str, List[Mention]] = {}
    for mention in mentions:
        for concept in dict.fromkeys([mention.kb_id, *concept_ids(mention.kb_id)]):
            if concept:
                found.setdefault(concept, []).append(mention)
    return found


def _chooser(doc: Doc, pairs: str) -> Callable[[List[_Pair]], List[_Pair]]:
    if pairs == "all":
        return lambda found: found
    sentences = numpy.cumsum(doc.to_array("SENT_START") == 1) if pairs == "sentence" else None

    def choose(found: List[_Pair]) -> List[_Pair]:
        if sentences is not None:
            inside = [(a, b) for a, b in found if sentences[a.start] == sentences[b.start]]
            if inside:
                return inside
        return [min(found, key=lambda pair: _tokens_between(*pair))]

    return choose


def _tokens_between(first: Mention, second: Mention) -> int:
    return max(first.start - second.end, second.start - first.end, 0)


def _is_symmetric(label: str, symmetric: Collection[str]) -> bool:
    return label in symmetric or "*" in symmetric


def _label(mentions: Sequence[Mention]) -> str:
    """The most frequent label of mentions; of two as frequent the first."""
    labels = [mention.label for mention in mentions]
    return max(dict.fromkeys(labels), key=labels.count)
