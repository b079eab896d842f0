"""Temperature and thresholds of a ``nested_spancat``, from documents with gold mentions."""

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from ..annotation import get_mentions, mention_characters, token_borders
from ..models.calibration import best_temperature, calibration_error
from ..models.span_head import TEMPERATURE, ScoredSpans, temperature_of
from ..models.threshold_search import ScoredItems, averaged_threshold, best_thresholds

if TYPE_CHECKING:
    from .span_finder import SpanFinder

BATCH = 32  # documents at a time
SpanKey = Tuple[int, int, str]  # first character, end, label


class Thresholds(NamedTuple):
    """The best threshold, those of labels that have their own, and their strict micro-F1.

    ``common`` is None where no gold mention is found at any threshold.
    """

    common: Optional[float]
    by_label: Dict[str, float]
    f1: float


def fit_temperature(component: "SpanFinder", examples: Sequence[Example]) -> Dict[str, float]:
    """Find the temperature of the highest likelihood; see ``SpanFinder.calibrate``.

    Raises ValueError where the model finds no span, or has a head that cannot rescore spans.
    """
    labels = component.labels
    head: Any = component.head
    if not hasattr(head, "rescore"):
        raise ValueError(
            f"Component '{component.name}': its model '{component.model.name}' cannot be "
            "calibrated, because its span head has no method 'rescore'."
        )
    outputs: List[Any] = []
    hits: List[bool] = []
    for batch in minibatch(examples, BATCH):
        output = component.model.predict([eg.predicted for eg in batch])
        outputs.append(output)
        for eg, spans in zip(batch, head.decode(output), strict=True):
            gold = gold_keys(eg.reference, component.key)
            hits.extend(key in gold for key in span_keys(eg.predicted, spans, labels))
    if not hits:
        raise ValueError(
            f"Component '{component.name}': probabilities cannot be calibrated, because it finds "
            f"no span in any of {len(examples)} documents."
        )

    def probabilities(temperature: float) -> numpy.ndarray:
        found = (head.rescore(output, temperature) for output in outputs)
        return numpy.concatenate([spans.scores for batch in found for spans in batch])

    correct = numpy.asarray(hits)
    temperature = best_temperature(probabilities, correct)
    before = temperature_of(component.model)
    return {
        TEMPERATURE: temperature,
        "ece_before": calibration_error(probabilities(before), correct),
        "ece_after": calibration_error(probabilities(temperature), correct),
    }


def search_thresholds(
    component: "SpanFinder",
    examples: Sequence[Example],
    per_label: bool,
    min_gold: int,
) -> Thresholds:
    """Find the thresholds with the best strict micro-F1; see ``SpanFinder``."""
    items = span_items(component, examples)
    common, f1 = averaged_threshold(items)
    if common is None or not per_label:
        return Thresholds(common, {}, f1)
    moved, f1 = best_thresholds(items, common, min_gold)
    return Thresholds(common, {component.labels[i]: value for i, value in moved.items()}, f1)


def span_items(component: "SpanFinder", examples: Sequence[Example]) -> ScoredItems:
    """All spans that the model finds, whatever their score, for a search of thresholds.

    RETURNS: one row for each span; its group is the label.
    """
    hits: List[bool] = []
    columns: List[ScoredSpans] = []
    doc_gold: List[int] = []
    for batch in minibatch(examples, BATCH):
        found = component.predict([eg.predicted for eg in batch])
        for eg, spans in zip(batch, found, strict=True):
            gold = gold_keys(eg.reference, component.key)
            keys = span_keys(eg.predicted, spans, component.labels)
            hits.extend(key in gold for key in keys)
            doc_gold.append(len(gold))
            columns.append(spans)
    return ScoredItems(
        keys=numpy.arange(len(hits)),  # a model finds no span twice
        scores=_join([spans.scores for spans in columns], "float32"),
        hits=numpy.asarray(hits, dtype=bool),
        groups=_join([spans.labels for spans in columns], "int64"),
        n_gold=sum(doc_gold),
        documents=numpy.repeat(numpy.arange(len(columns)), [len(c.scores) for c in columns]),
        doc_gold=numpy.asarray(doc_gold, dtype="int64"),
    )


def gold_keys(reference: Doc, key: str) -> Set[SpanKey]:
    """The mentions of a reference by their exact characters."""
    found = get_mentions(reference, key)
    return {(*mention_characters(reference, mention), mention.label) for mention in found}


def span_keys(doc: Doc, spans: ScoredSpans, labels: Sequence[str]) -> List[SpanKey]:
    """Spans of a document by their characters."""
    starts, ends = token_borders(doc)
    borders = zip(starts[spans.starts].tolist(), ends[spans.ends - 1].tolist(), strict=True)
    return [
        (start, end, labels[label])
        for (start, end), label in zip(borders, spans.labels.tolist(), strict=True)
    ]


def _join(arrays: Sequence[numpy.ndarray], dtype: str) -> numpy.ndarray:
    return numpy.concatenate([numpy.zeros((0,), dtype=dtype), *arrays])
