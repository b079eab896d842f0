"""Scores of GutBrainIE annotations and submissions, from the organisers' JSON.

Tasks of GutBrainIE at CLEF (BioASQ): 2025 6.1 (``ner``), 6.2.1 (``bt``), 6.2.2 (``tt``), 6.2.3
(``tm``); 2026 6.1.1 (``ner``), 6.1.2 (``nerd``), 6.2.1 (``m-re``), 6.2.2 (``c-re``). ``rules``
describes how they are counted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..annotation.gutbrainie import LABELS, LOCATIONS, PREDICATES
from .rules import (
    TASKS,
    CountTable,
    Item,
    Task,
    check_rules,
    count_items,
    distinct_items,
    get_task,
    precision_recall_f1,
)

_FULL = "relations"
_TM_LISTS = ("ternary_mention_based_relations", "mention_level_relations")
# the lists a task can be read from: its own first, then ever finer ones
_LISTS: dict[str, tuple[str, ...]] = {
    "ner": ("entities",),
    "nerd": ("entities",),
    "bt": ("binary_tag_based_relations", "ternary_tag_based_relations", *_TM_LISTS),
    "tt": ("ternary_tag_based_relations", *_TM_LISTS),
    "tm": _TM_LISTS,
    "m-re": tuple(reversed(_TM_LISTS)),
    "c-re": ("concept_level_relations",),
}
_ALLOWED = {
    "label": LABELS,
    "subject_label": LABELS,
    "object_label": LABELS,
    "predicate": PREDICATES,
    "location": LOCATIONS,
}


@dataclass(frozen=True)
class ClassFigures:
    """Counts and figures of one class, or of all together."""

    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Report:
    """Figures of one prediction under one task and one set of rules.

    ``averages`` are micro and macro precision, recall and F1 under the names of
    ``rules.AVERAGES``. ``per_class`` holds every class of the gold annotation and, under the
    strict rules, of the prediction, as ``label`` or ``subject | predicate | object``. ``total``
    are the counts behind the micro figures.
    """

    task: str
    rules: str
    documents: int
    averages: dict[str, float]
    total: ClassFigures
    per_class: dict[str, ClassFigures]
    ignored_predictions: int
    duplicate_predictions: int
    overlapping_predictions: int
    missing_documents: list[str]
    extra_documents: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON values."""
        out = dict(vars(self))
        out["total"] = vars(self.total).copy()
        out["per_class"] = {name: vars(figures).copy() for name, figures in self.per_class.items()}
        return out


def evaluate(
    gold: Mapping[str, Any],
    pred: Mapping[str, Any],
    task: str,
    rules: str = "official-2025",
    *,
    check_labels: bool = True,
    gold_name: str = "gold",
    pred_name: str = "predictions",
) -> Report:
    """Score a prediction against the gold annotation.

    gold, pred: one object for each PMID, as the organisers' files have it. ``gold`` is an
    annotation; its ``relations`` are the source of all relation tasks, its derived lists only where
    they are missing. ``pred`` is a submission or an annotation: the list that belongs to the task
    is taken as it stands, else the items are derived, as a set, from ``relations`` or from a
    finer list (BT from TT, TT from TM).
    task: ``ner``, ``bt``, ``tt``, ``tm`` (2025), ``nerd``, ``m-re`` or ``c-re`` (2026).
    rules: ``official-2025``, ``official-2026`` or ``strict``.
    check_labels: refuse labels and predicates that GutBrainIE does not have.
    gold_name, pred_name: what to call the two in errors.

    A gold document without a prediction loses recall. A predicted document that is not in gold is
    not read, whatever the rules, and named in the report. Raises ValueError that names the
    input, the PMID and the field where a value is missing, of a wrong type or not allowed.
    """
    table = count(
        gold,
        pred,
        task,
        rules,
        check_labels=check_labels,
        gold_name=gold_name,
        pred_name=pred_name,
    )
    return report_counts(table, task, rules, gold, pred)


def report_counts(
    table: CountTable, task: str, rules: str, gold: Collection[str], pred: Collection[str]
) -> Report:
    """The report of counts. gold, pred: the ids of documents; the table covers all of ``gold``."""
    totals, counted = table.totals, table.counted
    per_class = {
        " | ".join(table.classes[i]): _figures(totals[i])
        for i in sorted(range(len(totals)), key=lambda i: table.classes[i])
        if counted[i]
    }
    return Report(
        task=task,
        rules=rules,
        documents=len(gold),
        averages=table.averages(),
        total=_figures(totals[counted].sum(axis=0)),
        per_class=per_class,
        ignored_predictions=table.ignored,
        duplicate_predictions=table.duplicates,
        overlapping_predictions=table.overlapping,
        missing_documents=[pmid for pmid in gold if pmid not in pred],
        extra_documents=[pmid for pmid in pred if pmid not in gold],
    )


def count(
    gold: Mapping[str, Any],
    pred: Mapping[str, Any],
    task: str,
    rules: str = "official-2025",
    *,
    check_labels: bool = True,
    gold_name: str = "gold",
    pred_name: str = "predictions",
) -> CountTable:
    """Count true and false positives and false negatives of each gold document and class.

    Arguments and errors are those of ``evaluate``; documents are in the order of ``gold``.
    """
    check_rules(rules)
    true = read_items(gold, task, gold=True, check_labels=check_labels, name=gold_name)
    known = {pmid: document for pmid, document in pred.items() if pmid in gold}
    given = read_items(known, task, check_labels=check_labels, name=pred_name)
    return count_items(
        [true[pmid] for pmid in gold],
        [given.get(pmid, []) for pmid in gold],
        get_task(task),
        rules,
    )


def read_items(
    documents: Mapping[str, Any],
    task: str,
    *,
    gold: bool = False,
    check_labels: bool = True,
    name: str = "predictions",
) -> dict[str, list[Item]]:
    """Read the items of a task from annotation or submission objects, keyed by PMID.

    With ``gold`` the relation tasks read ``relations`` before the task's own list. Items are
    tuples as ``rules.TASKS`` lays them out; see ``evaluate`` for the errors.
    """
    layout = get_task(task)
    own, *finer = _LISTS[task]
    sources: tuple[str, ...] = (own,)
    if not layout.has_spans:
        sources = (_FULL, own, *finer) if gold else (own, _FULL, *finer)
    out = {}
    for pmid, document in documents.items():
        where = f"{name}: PMID {pmid}"
        if not isinstance(document, Mapping):
            raise ValueError(f"{where}: expected an object, found {_kind(document)}.")
        source = next((field for field in sources if field in document), None)
        if source is None:
            raise ValueError(
                f"{where}: expected the field {' or '.join(repr(s) for s in sources)} for the "
                f"task '{task}', found {', '.join(repr(f) for f in document) or 'none'}."
            )
        records = document[source]
        if not isinstance(records, Sequence) or isinstance(records, str):
            raise ValueError(f"{where}: field '{source}': expected a list, found {_kind(records)}.")
        items = [
            _read_item(record, layout, f"{where}: {source}[{i}]", check_labels)
            for i, record in enumerate(records)
        ]
        out[pmid] = items if source == own else distinct_items(items)
    return out


def _read_item(record: Any, task: Task, where: str, check_labels: bool) -> Item:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected an object, found {_kind(record)}.")
    values = []
    for field in task.fields:
        if field not in record:
            raise ValueError(f"{where}: field '{field}' is missing.")
        value = record[field]
        kind = int if field.endswith("_idx") else str
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = "a whole number" if kind is int else "a string"
            raise ValueError(
                f"{where}: field '{field}': expected {expected}, found {_kind(value)}."
            )
        allowed = _ALLOWED.get(field)
        if allowed and value not in allowed and (check_labels or field == "location"):
            raise ValueError(
                f"{where}: field '{field}': {value!r} is not one of {', '.join(allowed)}."
            )
        values.append(value)
    return tuple(values)


def _figures(counts: Any) -> ClassFigures:
    precision, recall, f1 = precision_recall_f1(counts).tolist()
    hits, false, missed = counts.tolist()
    return ClassFigures(hits, false, missed, precision, recall, f1)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    names.update({bool: "true or false", int: "a whole number", float: "a number"})
    return f"{names.get(type(value), type(value).__name__)} ({str(value)[:40]!r})"


__all__ = [
    "LABELS",
    "LOCATIONS",
    "PREDICATES",
    "TASKS",
    "ClassFigures",
    "Report",
    "count",
    "evaluate",
    "read_items",
]
