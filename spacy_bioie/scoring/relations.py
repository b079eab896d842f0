"""Scores of relations: label pairs, triples, mention texts, exact mentions and concepts."""

from collections.abc import Callable, Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import (
    SPANS_KEY,
    Mention,
    concept_ids,
    concept_relation_keys,
    get_concept_relations,
    get_mentions,
    get_relation_rows,
    mention_characters,
    relations_key,
    states_concept_relations,
)
from ..annotation.relations import RELATIONS_KEY, RelationRow
from .links import has_links
from .rules import TASKS, CountTable, Item, Task, count_items

# head text, head label, predicate, tail text, tail label, then head start, head end, tail start,
# tail end: character offsets in doc.text, ends exclusive
RelationKey = tuple[str, str, str, str, str, int, int, int, int]

_EXACT = Task(
    "exact",
    (*TASKS["tm"].fields, "subject_start", "subject_end", "object_start", "object_end"),
    TASKS["tm"].class_fields,
)
_STATED = Task("concepts", ("subject_uri", "predicate", "object_uri"), ("predicate",))
_PRF = ("micro_p", "micro_r", "micro_f")


def relation_keys(
    doc: Doc, mentions: Sequence[Mention], rows: Iterable[RelationRow]
) -> set[RelationKey]:
    """Turn (head id, predicate, tail id, score) rows over ``mentions`` of a Doc into keys.

    Raises ValueError where an id names none of the mentions.
    """
    ends = {}
    text = doc.text
    for mention in mentions:
        start, end = mention_characters(doc, mention)
        ends[mention.id] = (text[start:end], mention.label, start, end)
    keys = set()
    for head_id, predicate, tail_id, _ in rows:
        if head_id not in ends or tail_id not in ends:
            raise ValueError(
                f"Relation ({head_id!r}, {predicate!r}, {tail_id!r}) names a mention that is not "
                f"among the {len(mentions)} mentions of its document: expected their ids."
            )
        head, tail = ends[head_id], ends[tail_id]
        keys.add((*head[:2], predicate, *tail[:2], *head[2:], *tail[2:]))
    return keys


def doc_relation_keys(doc: Doc) -> set[RelationKey]:
    """The stored relations of a Doc as keys, over the group that they name."""
    return relation_keys(doc, get_mentions(doc, relations_key(doc)), get_relation_rows(doc))


def score_relation_sets(
    gold: Sequence[Set[RelationKey]], predicted: Sequence[Set[RelationKey]], prefix: str
) -> dict[str, float | None]:
    """Score the relations of aligned documents, one set of keys for each document.

    Returns, as ``{prefix}_{level}_{figure}``, for the levels ``bt`` (label pairs), ``tt`` (triples
    of labels and predicate) and ``tm`` (triples with the texts of the mentions): ``micro_p/r/f``
    and ``macro_f`` over sets with every prediction counted, and ``2025_micro_f`` and
    ``2025_macro_f``, which ignore predictions whose class has no gold item, for ``tm`` also as
    ``2026_micro_f`` and ``2026_macro_f`` (the task M-RE, whose rules differ in what they do with
    repeated predictions alone); for the level ``m`` (the same mentions, by exact offsets)
    ``micro_p/r/f``; and as ``{prefix}_mean_micro_f`` the mean of ``micro_f`` over ``bt``, ``tt``
    and ``tm``. All None where both sides are empty.
    Raises ValueError where they differ in length.
    """
    if len(gold) != len(predicted):
        raise ValueError(
            f"score_relation_sets got {len(gold)} gold and {len(predicted)} predicted sets: "
            "expected one of each for every document."
        )
    something = any(gold) or any(predicted)
    figures: dict[str, float | None] = {}
    for level, project in (
        ("bt", lambda key: (key[1], key[4])),
        ("tt", lambda key: (key[1], key[2], key[4])),
        ("tm", lambda key: key[:5]),
    ):
        true = [{project(key) for key in keys} for keys in gold]
        given = [{project(key) for key in keys} for keys in predicted]
        strict = _averages(true, given, TASKS[level], "strict") if something else {}
        for name in (*_PRF, "macro_f"):
            figures[f"{prefix}_{level}_{name}"] = strict.get(name)
        for year in ("2025", "2026") if level == "tm" else ("2025",):
            rules = f"official-{year}"
            official = _averages(true, given, TASKS[level], rules) if something else {}
            for name in ("micro_f", "macro_f"):
                figures[f"{prefix}_{level}_{year}_{name}"] = official.get(name)
    exact = _averages(gold, predicted, _EXACT, "strict") if something else {}
    figures.update({f"{prefix}_m_{name}": exact.get(name) for name in _PRF})
    micro = [figures[f"{prefix}_{level}_micro_f"] for level in ("bt", "tt", "tm")]
    figures[f"{prefix}_mean_micro_f"] = sum(f or 0.0 for f in micro) / 3 if something else None
    return figures


def concept_relation_items(doc: Doc) -> set[Item]:
    """The relations of a Doc between linked mentions, as distinct items of the task ``c-re``."""
    return {
        (r.head, r.head_label, r.label, r.tail, r.tail_label) for r in get_concept_relations(doc)
    }


def lifted_relations(mentions: Sequence[Mention], rows: Iterable[RelationRow]) -> set[Item]:
    """Relations over any mentions as ``concept_relation_items`` reads them off a Doc."""
    ends = {m.id: [(concept, m.label) for concept in concept_ids(m.kb_id)] for m in mentions}
    return {
        (*head, predicate, *tail)
        for head_id, predicate, tail_id, _ in rows
        for head in ends[head_id]
        for tail in ends[tail_id]
    }


def without_labels(
    items: Iterable[Item], symmetric: Collection[str] = ()
) -> set[tuple[str, str, str]]:
    """Items of the task ``c-re`` as (head, predicate, tail).

    symmetric: predicates whose two concepts stand sorted; "*" for all.
    """
    keys = set()
    for head, _, predicate, tail, _ in items:
        if "*" in symmetric or predicate in symmetric:
            head, tail = sorted((head, tail))
        keys.add((head, predicate, tail))
    return keys


def concept_documents(references: Sequence[Doc], key: str = SPANS_KEY) -> tuple[list[int], bool]:
    """Which references are scored at the level of concepts, by their index.

    The second value says whether they are those that state relations between concepts; these
    are compared without labels. Where none does, it is those with relations between linked
    mentions of ``doc.spans[key]``.
    """
    stated = [i for i, doc in enumerate(references) if states_concept_relations(doc)]
    if stated:
        return stated, True
    linked = [
        i for i, doc in enumerate(references) if has_relations(doc, key) and has_links(doc, key)
    ]
    return linked, False


def score_concept_relations(
    gold: Sequence[Collection[Any]], predicted: Sequence[Collection[Any]], stated: bool, prefix: str
) -> dict[str, float | None]:
    """``{prefix}_c_micro_p/r/f`` and ``{prefix}_c_macro_f`` of aligned documents, over sets with
    every prediction counted, and, of items of the task ``c-re``, ``{prefix}_c_2026_micro_f`` and
    ``{prefix}_c_2026_macro_f`` by its official rules; None where there is no gold relation.

    stated: whether the relations are (head, predicate, tail), or items of the task ``c-re``.
    """
    task = _STATED if stated else TASKS["c-re"]
    strict = _averages(gold, predicted, task, "strict") if any(gold) else {}
    figures = {f"{prefix}_c_{name}": strict.get(name) for name in (*_PRF, "macro_f")}
    if not stated:
        official = _averages(gold, predicted, task, "official-2026") if any(gold) else {}
        for name in ("micro_f", "macro_f"):
            figures[f"{prefix}_c_2026_{name}"] = official.get(name)
    return figures


def score_relations(
    examples: Iterable[Example],
    spans_key: str = SPANS_KEY,
    prefix: str = "rel_pred",
    symmetric: Collection[str] = (),
) -> dict[str, float | None]:
    """Score the relations of predicted Docs against those of the references.

    Returns the figures of ``score_relation_sets`` and, at the level of concepts (``c``), those of
    ``score_concept_relations``. Documents whose reference
    says nothing about relations between the mentions of ``spans_key`` are left out, and for
    the concepts those without links; figures are None where nothing is left to score.

    Where references state relations between concepts, as in BC5CDR and BioRED, level ``c`` is
    that of these documents: triples (head, predicate, tail) without labels of mentions. The other
    levels then compare with whatever mentions the stated relations were distributed over.

    symmetric: predicates whose two concepts have no order in stated relations; "*" for all.
    """
    examples = list(examples)
    annotated = [eg for eg in examples if has_relations(eg.reference, spans_key)]
    gold = [doc_relation_keys(eg.reference) for eg in annotated]
    predicted = [doc_relation_keys(eg.predicted) for eg in annotated]
    figures = score_relation_sets(gold, predicted, prefix)
    indices, stated = concept_documents([eg.reference for eg in examples], spans_key)
    chosen = [examples[i] for i in indices]

    def items(doc: Doc) -> Collection[Any]:
        return concept_relation_keys(doc, symmetric) if stated else concept_relation_items(doc)

    true = [items(eg.reference) for eg in chosen]
    given = [items(eg.predicted) for eg in chosen]
    return {**figures, **score_concept_relations(true, given, stated, prefix)}


@dataclass(frozen=True)
class RelationScorer:
    """The scorer ``spacy_bioie.relation_scorer.v1``, see ``score_relations``.

    A component that hands over its own ``spans_key`` is scored on that group.
    """

    spans_key: str = SPANS_KEY
    symmetric: tuple[str, ...] = ()

    def __call__(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        key = kwargs.get("spans_key") or self.spans_key
        return score_relations(examples, key, symmetric=self.symmetric)


def make_relation_scorer(
    spans_key: str = SPANS_KEY, symmetric: Sequence[str] = ()
) -> Callable[..., dict[str, Any]]:
    """Create a ``RelationScorer``."""
    return RelationScorer(spans_key, tuple(symmetric))


def has_relations(doc: Doc, key: str) -> bool:
    """Whether a Doc says which mentions of ``doc.spans[key]`` are related, be it none."""
    return RELATIONS_KEY in doc.user_data and relations_key(doc) == key


def _averages(
    gold: Sequence[Collection[Any]], predicted: Sequence[Collection[Any]], task: Task, rules: str
) -> dict[str, float]:
    table: CountTable = count_items(gold, predicted, task, rules)
    return table.averages()
