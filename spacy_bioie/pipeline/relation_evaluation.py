"""Scores and thresholds of a ``relation_extractor`` over the mentions of references."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from spacy.training import Example
from spacy.util import minibatch

from ..annotation import Mention, get_mentions, gold_mentions, mention_texts
from ..models.calibration import best_temperature, calibration_error
from ..models.candidates import PairCandidates
from ..models.relation_decoding import eligible
from ..models.threshold_search import averaged_threshold, best_thresholds
from ..scoring.relation_items import relation_items
from ..scoring.relations import doc_relation_keys, relation_keys, score_relation_sets
from .relation_targets import pair_targets

if TYPE_CHECKING:
    from .relation_extractor import RelationExtractor

BATCH = 32  # documents at a time


class Thresholds(NamedTuple):
    """The best threshold, those of predicates that have their own, and their micro-F1.

    ``common`` is None where no gold relation can be predicted at any threshold.
    """

    common: Optional[float]
    by_predicate: Dict[str, float]
    f1: float


def score_gold_input(component: "RelationExtractor", examples: Sequence[Example]) -> Dict[str, Any]:
    """Score relations over the references' mentions, under names with ``rel_gold``.

    examples: with relations in the reference; the predicted documents carry what the model reads.
    """
    gold = [doc_relation_keys(eg.reference) for eg in examples]
    predicted = []
    for batch in minibatch(examples, BATCH):
        docs = [eg.predicted for eg in batch]
        mentions = [_mentions(eg, component.key, "gold") for eg in batch]
        found = component.find_relations(docs, mentions)
        for doc, own, relations in zip(docs, mentions, found, strict=True):
            predicted.append(relation_keys(doc, own, component.rows(own, relations)))
    return score_relation_sets(gold, predicted, "rel_gold")


def search_thresholds(
    component: "RelationExtractor",
    examples: Sequence[Example],
    metric: str,
    input: str,
    per_predicate: bool,
    min_gold: int,
) -> Thresholds:
    """Find the thresholds with the best strict micro-F1; see ``RelationExtractor``."""
    mentions = [_mentions(eg, component.key, input) for eg in examples]
    candidates, logits = _logits(component, examples, mentions)
    probabilities = component.probabilities(candidates, logits)
    items = relation_items(
        metric,
        candidates,
        probabilities,
        eligible(candidates, probabilities, component.cfg["one_predicate_per_pair"]),
        component.labels,
        [
            [
                (text, mention.label)
                for text, mention in zip(mention_texts(eg.predicted, own), own, strict=True)
            ]
            for eg, own in zip(examples, mentions, strict=True)
        ],
        [doc_relation_keys(eg.reference) for eg in examples],
    )
    common, f1 = averaged_threshold(items)
    if common is None or not per_predicate:
        return Thresholds(common, {}, f1)
    moved, f1 = best_thresholds(items, common, min_gold)
    return Thresholds(common, {component.labels[i]: value for i, value in moved.items()}, f1)


def fit_temperature(
    component: "RelationExtractor", examples: Sequence[Example]
) -> Dict[str, float]:
    """Find the temperature of the highest likelihood; see ``RelationExtractor.calibrate``."""
    mentions = [_mentions(eg, component.key, "gold") for eg in examples]
    candidates, logits = _logits(component, examples, mentions)
    legal = candidates.pair_legal()
    gold = pair_targets(examples, candidates, component.schema, component.key)[legal]

    def probabilities(temperature: float) -> numpy.ndarray:
        return component.learning.loss.probabilities(logits / temperature, legal)[legal]

    temperature = best_temperature(probabilities, gold)
    return {
        "temperature": temperature,
        "ece_before": calibration_error(probabilities(component.cfg["temperature"]), gold),
        "ece_after": calibration_error(probabilities(temperature), gold),
    }


def _logits(
    component: "RelationExtractor",
    examples: Sequence[Example],
    mentions: Sequence[Sequence[Mention]],
) -> Tuple[PairCandidates, numpy.ndarray]:
    docs = [eg.predicted for eg in examples]
    parts = [numpy.zeros((0, len(component.labels)), dtype="float32")]
    for start in range(0, len(docs), BATCH):
        end = start + BATCH
        parts.append(component.logits(docs[start:end], mentions[start:end])[1])
    return component.candidates(docs, mentions), numpy.concatenate(parts)


def _mentions(example: Example, key: str, input: str) -> List[Mention]:
    found = gold_mentions(example, key) if input == "gold" else get_mentions(example.predicted, key)
    return [replace(mention, id=str(i)) for i, mention in enumerate(found)]
