"""Scores of relations by the distance of their mentions and by predicate."""

from collections.abc import Callable, Iterable, Sequence, Set

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY, get_sections
from .relations import RelationKey, doc_relation_keys, has_relations
from .rules import Task, count_items, precision_recall_f1

# sentences from one mention to the other; the last is that of mentions in different sections
DISTANCES = ("same sentence", "1 sentence", "2 sentences", "3+ sentences", "title to abstract")
_STRATUM = Task("stratum", ("stratum", "relation"), ("stratum",))

Row = dict[str, float | int]


def report_relations(
    examples: Iterable[Example], spans_key: str = SPANS_KEY
) -> dict[str, dict[str, Row]]:
    """Score the relations of predicted Docs by distance and by predicate, at mention level.

    Documents whose reference says nothing about relations between the mentions of ``spans_key``
    are left out. Sentences are those of the predicted Doc, or where it has none of the reference.
    Returns what ``report_relation_sets`` does. Raises ValueError where neither Doc has sentences.
    """
    annotated = [eg for eg in examples if has_relations(eg.reference, spans_key)]
    return report_relation_sets(
        [_with_sentences(eg) for eg in annotated],
        [doc_relation_keys(eg.reference) for eg in annotated],
        [doc_relation_keys(eg.predicted) for eg in annotated],
    )


def report_relation_sets(
    docs: Sequence[Doc], gold: Sequence[Set[RelationKey]], predicted: Sequence[Set[RelationKey]]
) -> dict[str, dict[str, Row]]:
    """Score the relations of aligned documents, one set of keys for each document.

    docs: say where sentences and sections are.

    Returns the tables "distance", with the rows of ``DISTANCES``, and "predicate", a row for each
    that is there, sorted. A row has precision, recall and F1 ("p", "r", "f") over the same
    mentions, by exact offsets, and the numbers of "gold" and "predicted" relations.
    """
    by_distance = [distances(doc) for doc in docs]
    return {
        "distance": _count(gold, predicted, lambda i, key: by_distance[i](key), DISTANCES),
        "predicate": _count(gold, predicted, lambda i, key: key[2]),
    }


def distances(doc: Doc) -> Callable[[RelationKey], str]:
    """A function that says how far the mentions of a relation of this Doc are apart, one of
    ``DISTANCES``. A mention lies where its first character does.

    Raises ValueError where the Doc has no sentence borders.
    """
    if len(doc) and not doc.has_annotation("SENT_START"):
        text = " ".join(doc.text.split())
        raise ValueError(
            f"The document '{text[:60]}' has no sentence borders. Expected those of a component "
            "such as biomedical_sentencizer."
        )
    sentences = numpy.asarray([sentence.start_char for sentence in doc.sents], dtype="int64")
    sections = numpy.asarray([section.start for section in get_sections(doc)], dtype="int64")

    def distance(key: RelationKey) -> str:
        starts = numpy.asarray([key[5], key[7]])
        in_section = numpy.searchsorted(sections, starts, side="right")
        if in_section[0] != in_section[1]:
            return DISTANCES[-1]
        head, tail = numpy.searchsorted(sentences, starts, side="right").tolist()
        return DISTANCES[min(abs(head - tail), 3)]

    return distance


def _count(
    gold: Sequence[Set[RelationKey]],
    predicted: Sequence[Set[RelationKey]],
    stratum: Callable[[int, RelationKey], str],
    names: Sequence[str] | None = None,
) -> dict[str, Row]:
    true, given = (
        [{(stratum(i, key), key) for key in keys} for i, keys in enumerate(side)]
        for side in (gold, predicted)
    )
    table = count_items(true, given, _STRATUM, "strict")
    counts = {name[0]: row for name, row in zip(table.classes, table.totals, strict=True)}
    rows: dict[str, Row] = {}
    for name in sorted(counts) if names is None else names:
        hits, false, missed = (counts[name] if name in counts else numpy.zeros(3, "int64")).tolist()
        p, r, f = precision_recall_f1(numpy.asarray([hits, false, missed])).tolist()
        rows[name] = {"p": p, "r": r, "f": f, "gold": hits + missed, "predicted": hits + false}
    return rows


def _with_sentences(example: Example) -> Doc:
    has_sentences = example.predicted.has_annotation("SENT_START")
    return example.predicted if has_sentences else example.reference
