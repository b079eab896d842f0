"""Scores and thresholds of a ``RelationFinder`` over the mentions of references."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
from spacy.training import Example
from spacy.util import minibatch

from ..annotation import Mention, concept_ids, get_mentions, gold_mentions, mention_texts
from ..models.calibration import best_temperature, calibration_error
from ..models.candidates import PairCandidates
from ..models.relation_decoding import eligible
from ..models.threshold_search import (
    ScoredItems,
    averaged_threshold,
    best_thresholds,
)
from ..scoring.relation_items import LEVELS, end_items, relation_items
from ..scoring.relations import (
    concept_documents,
    concept_relation_items,
    doc_relation_keys,
    lifted_relations,
    relation_keys,
    score_concept_relations,
    score_relation_sets,
    without_labels,
)
from .relation_targets import pair_targets

if TYPE_CHECKING:
    from .relation_finder import RelationFinder

BATCH = 32  # documents at a time


class Thresholds(NamedTuple):
    """The best threshold, those of predicates that have their own, and their micro-F1.

    ``common`` is None where no gold relation can be predicted at any threshold.
    """

    common: Optional[float]
    by_predicate: Dict[str, float]
    f1: float


def score_gold_input(component: "RelationFinder", examples: Sequence[Example]) -> Dict[str, Any]:
    """Score relations over the references' mentions, under names with ``rel_gold``.

    examples: with relations in the reference; the predicted documents carry what the model reads.
    """
    predicted, lifted = [], []
    for batch in minibatch(examples, BATCH):
        docs = [eg.predicted for eg in batch]
        mentions = [_mentions(eg, component.key, "gold") for eg in batch]
        found = component.find_relations(docs, mentions)
        for doc, own, relations in zip(docs, mentions, found, strict=True):
            rows = component.rows(own, relations)
            predicted.append(relation_keys(doc, own, rows))
            lifted.append(lifted_relations(own, rows))
    gold = [doc_relation_keys(eg.reference) for eg in examples]
    level = _concept_level(component, examples)
    given = [level.read(lifted[i]) for i in level.indices]
    return {
        **score_relation_sets(gold, predicted, "rel_gold"),
        **score_concept_relations(level.gold, given, level.stated, "rel_gold"),
    }


def search_thresholds(
    component: "RelationFinder",
    examples: Sequence[Example],
    metric: str,
    input: str,
    per_predicate: bool,
    min_gold: int,
) -> Thresholds:
    """Find the thresholds with the best strict micro-F1; see ``RelationFinder``."""
    if metric == "c":
        level = _concept_level(component, examples)
        if not any(level.gold):
            raise ValueError(
                f"Component '{component.name}': thresholds cannot be tuned for metric 'c', because "
                "no reference holds a relation between concepts. Expected mentions with concept "
                "ids, or relations that the corpus states between concepts."
            )
        examples = [examples[i] for i in level.indices]
        items = [_concept_items(component, examples, input, level)]
    else:
        items = _mention_items(component, examples, input, metric)
    common, f1 = averaged_threshold(items)
    if common is None or not per_predicate:
        return Thresholds(common, {}, f1)
    moved, f1 = best_thresholds(items, common, min_gold)
    return Thresholds(common, {component.labels[i]: value for i, value in moved.items()}, f1)


def fit_temperature(component: "RelationFinder", examples: Sequence[Example]) -> Dict[str, float]:
    """Find the temperature of the highest likelihood; see ``RelationFinder.calibrate``."""
    mentions = [_mentions(eg, component.key, "gold") for eg in examples]
    candidates, logits = _logits(component, examples, mentions)
    legal = candidates.pair_legal()
    gold = pair_targets(examples, candidates, component.schema, component.key)[legal]

    def probabilities(temperature: float) -> numpy.ndarray:
        return component.probabilities(candidates, logits, temperature)[legal]

    temperature = best_temperature(probabilities, gold)
    return {
        "temperature": temperature,
        "ece_before": calibration_error(probabilities(component.cfg["temperature"]), gold),
        "ece_after": calibration_error(probabilities(temperature), gold),
    }


class _ConceptLevel(NamedTuple):
    """What is scored between concepts: documents by their index, and their gold relations.

    stated: whether relations are compared without labels, see ``concept_documents``.
    """

    indices: List[int]
    stated: bool
    symmetric: Sequence[str]
    gold: List[Set[Any]]

    def read(self, items: Set[Any]) -> Set[Any]:
        return without_labels(items, self.symmetric) if self.stated else items


def _concept_level(component: "RelationFinder", examples: Sequence[Example]) -> _ConceptLevel:
    references = [eg.reference for eg in examples]
    indices, stated = concept_documents(references, component.key)
    level = _ConceptLevel(indices, stated, getattr(component.scorer, "symmetric", ()), [])
    level.gold.extend(level.read(concept_relation_items(references[i])) for i in indices)
    return level


def _mention_items(
    component: "RelationFinder", examples: Sequence[Example], input: str, metric: str
) -> List[ScoredItems]:
    mentions, scored = _scored_pairs(component, examples, input)
    named = [
        [
            (text, mention.label)
            for text, mention in zip(mention_texts(eg.predicted, own), own, strict=True)
        ]
        for eg, own in zip(examples, mentions, strict=True)
    ]
    gold = [doc_relation_keys(eg.reference) for eg in examples]
    levels = LEVELS if metric == "mean" else (metric,)
    return [relation_items(level, *scored, component.labels, named, gold) for level in levels]


def _concept_items(
    component: "RelationFinder", examples: Sequence[Example], input: str, level: _ConceptLevel
) -> ScoredItems:
    mentions, scored = _scored_pairs(component, examples, input)
    ends: List[List[List[Any]]] = [
        [
            [concept if level.stated else (concept, m.label) for concept in concept_ids(m.kb_id)]
            for m in own
        ]
        for own in mentions
    ]
    if level.stated:
        return end_items(*scored, component.labels, ends, level.gold, level.symmetric)
    gold = [{(item[:2], item[2], item[3:]) for item in document} for document in level.gold]
    return end_items(*scored, component.labels, ends, gold)


def _scored_pairs(
    component: "RelationFinder", examples: Sequence[Example], input: str
) -> Tuple[List[List[Mention]], Tuple[PairCandidates, numpy.ndarray, numpy.ndarray]]:
    """The mentions; their pairs, the probabilities and which of these may be predicted."""
    mentions = [_mentions(eg, component.key, input) for eg in examples]
    candidates, logits = _logits(component, examples, mentions)
    probabilities = component.probabilities(candidates, logits)
    one_per_pair = component.cfg["one_predicate_per_pair"]
    allowed = eligible(candidates, probabilities, one_per_pair)
    return mentions, (candidates, probabilities, allowed)


def _logits(
    component: "RelationFinder",
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
