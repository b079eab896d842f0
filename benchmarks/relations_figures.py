"""Figures of ``relations.py``: of a trained pipeline, and of predictions that others stored.

One model's scores are read in several ways, with thresholds chosen on the held-out documents:

tuned           one threshold for the finest level, the mean of the best ones
per_predicate   tuned, then a threshold for each predicate
own_level       tuned, for each level by itself
half            the threshold .5
argmax          a predicate that is more probable than none (of a softmax)
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
import spacy
from gutbrainie_data import DEV
from relations_data import Corpus, identifier
from relations_report import write_counts
from relations_training import NAME, Cost, System
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from spacy_bioie.annotation import (
    SPANS_KEY,
    Mention,
    RelationRow,
    concept_relation_keys,
    gold_mentions,
)
from spacy_bioie.models.relation_losses import PairCrossEntropy, PairSoftmax
from spacy_bioie.pipeline.biomedical_sentencizer import BiomedicalSentencizer
from spacy_bioie.pipeline.relation_finder import RelationFinder
from spacy_bioie.scoring.gutbrainie import count
from spacy_bioie.scoring.relation_reports import report_relation_sets
from spacy_bioie.scoring.relations import (
    RelationKey,
    doc_relation_keys,
    lifted_relations,
    relation_keys,
    score_concept_relations,
    score_relation_sets,
    without_labels,
)
from spacy_bioie.training.saved_pipeline import run_components_before

BATCH = 32  # as the search of thresholds, whose scores are read again
KEPT = ("micro_p", "micro_r", "micro_f", "2025_micro_f")
PROJECT: Dict[str, Callable[[RelationKey], Tuple[str, ...]]] = {
    "bt": lambda key: (key[1], key[4]),
    "tt": lambda key: (key[1], key[2], key[4]),
    "tm": lambda key: key[:5],
}
# The files that others stored: task -> file in the folder of data; and what made the mentions
STORED = {
    "gut_instincts_tt": {"bt": "gut-instincts_tt_dev", "tt": "gut-instincts_tt_dev"},
    "gut_instincts_tm": dict.fromkeys(("bt", "tt", "tm"), "gut-instincts_tm_dev"),
    "organisers": {
        "bt": "organisers_T621_BaselineRun_ATLOP",
        "tt": "organisers_T622_BaselineRun_ATLOP",
        "tm": "organisers_T623_BaselineRun_ATLOP",
    },
}

Thresholds = Tuple[float, Dict[str, float]]


class Found(NamedTuple):
    """The relations of documents: over mentions, or over concepts where a corpus states these."""

    relations: List[Set[Any]]
    docs: List[Doc]
    concepts: bool

    def items(self, level: str) -> List[Set[Any]]:
        if self.concepts:
            return self.relations
        return [{PROJECT[level](key) for key in document} for document in self.relations]


def evaluate(
    nlp: Language, system: System, corpus: Corpus, inputs: Dict[str, List[Doc]]
) -> Tuple[Dict[str, Optional[float]], Dict[str, Any]]:
    """The figures of a pipeline over each input of dev, and what stands behind them.

    inputs: "gold" is among them.
    """
    component: Any = nlp.get_pipe(NAME)
    remember_scores(component)
    held_out = _processed(nlp, corpus.docs("held_out", nlp))
    readings = choose_thresholds(component, held_out, corpus)
    if system.reading == "argmax":
        readings["argmax"] = {level: (0.5, {}) for level in corpus.levels}
    del held_out
    gold = Found(_gold(inputs["gold"], corpus), inputs["gold"], corpus.target == "c")
    figures: Dict[str, Optional[float]] = {}
    details: Dict[str, Any] = {"thresholds": readings, "counts": {}, "tables": {}}
    for name, docs in inputs.items():
        with Cost() as cost:
            examples = _processed(nlp, docs)
            _read(component, system, system.reading, readings[system.reading][corpus.target])
            found = find(component, examples, corpus)
        if name == "gold":
            figures.update(cost.figures("predict"))
            figures["predict_docs_per_second"] = len(docs) / cost.seconds
            mentions = [gold_mentions(eg, SPANS_KEY) for eg in examples]
            candidates = component.candidates([eg.predicted for eg in examples], mentions)
            figures["predict_pairs"] = len(candidates.pairs)
        for reading, thresholds in readings.items():
            for level in corpus.levels:
                _read(component, system, reading, thresholds[level])
                again = find(component, examples, corpus)
                scores = score(gold, again, corpus, name)
                value = scores[f"{name}_{level}_micro_f"]
                figures[f"{name}_{reading}_{level}_micro_f"] = value
        for key, value in score(gold, found, corpus, name).items():
            if any(key == f"{name}_{level}_{figure}" for level in corpus.levels for figure in KEPT):
                figures[key] = value
        details["counts"][name] = {
            level: write_counts(_count(gold.items(level), found.items(level)))
            for level in corpus.levels
        }
        if not gold.concepts:
            split = BiomedicalSentencizer()
            ruled = [split(doc.copy()) for doc in inputs["gold"]]
            tables = report_relation_sets(ruled, gold.relations, found.relations)
            details["tables"][name] = {
                table: {
                    row: {key: round(value, 4) for key, value in values.items()}
                    for row, values in rows.items()
                }
                for table, rows in tables.items()
            }
    return figures, details


def choose_thresholds(
    component: RelationFinder, held_out: Sequence[Example], corpus: Corpus
) -> Dict[str, Dict[str, Thresholds]]:
    """For each reading the thresholds with which each level is scored."""

    def tune(metric: Any, **settings: Any) -> Thresholds:
        found = component.tune_thresholds(held_out, metric=metric, **settings)
        return found["threshold"], found["thresholds"]

    levels, target = corpus.levels, corpus.target
    return {
        "tuned": dict.fromkeys(levels, tune(target)),
        "per_predicate": dict.fromkeys(levels, tune(target, per_predicate=True)),
        "own_level": {level: tune(level) for level in levels},
        "half": {level: (0.5, {}) for level in levels},
    }


def find(component: RelationFinder, examples: Sequence[Example], corpus: Corpus) -> Found:
    """The relations over the references' mentions, by the component's thresholds."""
    relations: List[Set[Any]] = []
    for batch in minibatch(examples, BATCH):
        docs = [eg.predicted for eg in batch]
        mentions = [_numbered(gold_mentions(eg, SPANS_KEY)) for eg in batch]
        found = component.find_relations(docs, mentions)
        for doc, own, scored in zip(docs, mentions, found, strict=True):
            rows: List[RelationRow] = component.rows(own, scored)
            if corpus.target == "c":
                relations.append(without_labels(lifted_relations(own, rows), corpus.symmetric))
            else:
                relations.append(relation_keys(doc, own, rows))
    return Found(relations, [eg.predicted for eg in examples], corpus.target == "c")


def score(gold: Found, found: Found, corpus: Corpus, prefix: str) -> Dict[str, Optional[float]]:
    if gold.concepts:
        return score_concept_relations(gold.relations, found.relations, True, prefix)
    return score_relation_sets(gold.relations, found.relations, prefix)


def remember_scores(component: Any) -> None:
    """Keep the scores of the same mentions of the same documents, which are read several times."""
    compute, known = component.logits, {}

    def logits(docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]) -> Any:
        places = tuple(tuple((m.start, m.end, m.label) for m in own) for own in mentions)
        key = (tuple(doc.text for doc in docs), places)
        if key not in known:
            known[key] = compute(docs, mentions)
        return known[key]

    component.logits = logits


def stored_figures(
    data: Path, name: str, documents: Sequence[str]
) -> Tuple[Dict[str, Optional[float]], Dict[str, Any]]:
    """The figures of predictions that others stored, over these documents of dev.

    A coarser task than a file's own is derived from it.
    """
    dev = json.loads((data / DEV).read_text(encoding="utf8"))
    gold = {pmid: dev[pmid] for pmid in documents}
    figures: Dict[str, Optional[float]] = {}
    counts = {}
    for level, file in STORED[name].items():
        found = json.loads((data / "peers" / f"{file}.json").read_text(encoding="utf8"))
        table = count(gold, found, level, "strict")
        official = count(gold, found, level, "official-2025").averages()
        averages = {**table.averages(), "2025_micro_f": official["micro_f"]}
        figures.update({f"stored_{level}_{key}": averages[key] for key in KEPT})
        counts[level] = write_counts(table.counts.sum(axis=1))
    return figures, {"counts": {"stored": counts}}


def load(folder: Path) -> Language:
    """A pipeline without what finds and links mentions, which are given."""
    names = ["nested_spancat", "label_consistency", "faiss_entity_linker"]
    return spacy.load(folder, exclude=names)


def dev_ids(inputs: Dict[str, List[Doc]]) -> List[str]:
    return [identifier(doc) for doc in inputs["gold"]]


def _processed(nlp: Language, docs: Sequence[Doc]) -> List[Example]:
    """Examples with these references, ready for the component."""
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    return run_components_before(nlp, NAME, examples, False)


def _read(component: Any, system: System, reading: str, thresholds: Thresholds) -> None:
    component.cfg["threshold"], component.cfg["thresholds"] = thresholds
    if system.reading == "argmax":
        # the odds of a predicate against none are those of a softmax over these two
        loss = PairCrossEntropy() if reading == "argmax" else PairSoftmax()
        component.learning = replace(component.learning, loss=loss)


def _gold(docs: Sequence[Doc], corpus: Corpus) -> List[Set[Any]]:
    if corpus.target == "c":
        return [concept_relation_keys(doc, corpus.symmetric) for doc in docs]
    return [doc_relation_keys(doc) for doc in docs]


def _numbered(mentions: Sequence[Mention]) -> List[Mention]:
    return [replace(mention, id=str(i)) for i, mention in enumerate(mentions)]


def _count(gold: Sequence[Set[Any]], found: Sequence[Set[Any]]) -> numpy.ndarray:
    """RETURNS: int64, (documents, 3): hits, false ones, missed ones."""
    rows = [(len(g & f), len(f - g), len(g - f)) for g, f in zip(gold, found, strict=True)]
    return numpy.asarray(rows, dtype="int64").reshape((-1, 3))
