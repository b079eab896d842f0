"""The reranker of a ``faiss_entity_linker``: how it is fitted, and what it makes of candidates."""

from dataclasses import replace
from functools import partial
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import (
    Candidates,
    Mention,
    concept_ids,
    gold_mentions,
    mention_table,
    mention_texts,
)
from ..kb.candidate_features import candidate_features
from ..kb.held_out import without_mentions
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import CandidatePairs, LinkingSettings, score_pairs
from ..kb.training_names import TrainingNames
from ..models.candidate_reranker import CandidateRows, Reranker, group_probabilities, join_rows
from .linker_candidates import find_mention_candidates

# The knowledge base is asked as if it did not know the documents of a fold
FOLDS = 5
# A handful of mentions teaches less than the weights of ``LinkingSettings`` know
MIN_MENTIONS = 200


def fit_linker_reranker(
    reranker: Reranker,
    kb: FaissKnowledgeBase,
    examples: Sequence[Example],
    key: str,
    settings: LinkingSettings,
    *,
    expand: bool,
    seed: int = 0,
) -> int:
    """Fit a reranker to the gold links of examples.

    The knowledge base may hold the mentions of these very documents. Each fold of them is looked
    up without what its own mentions say (``without_mentions``), so that the reranker sees new
    names as often as it will in new documents. Where the concept of a mention is no candidate, or
    unknown, the right choice is no link. Mentions without a concept id teach that, too, in
    documents that have others with one. Mentions of several concepts are left out.

    RETURNS: the number of mentions whose concept is a candidate. Where these are fewer than
        ``MIN_MENTIONS``, the reranker is left as it was.
    """
    settings = replace(settings, details=True, context_weight=0.0)
    linked = []
    for eg in examples:
        mentions = [m for m in gold_mentions(eg, key) if len(concept_ids(m.kb_id)) < 2]
        if any(mention.kb_id for mention in mentions):
            linked.append((eg.predicted, mentions))
    order = numpy.random.default_rng(seed).permutation(len(linked))
    parts, gold, n_found = [], [], 0
    for fold in numpy.array_split(order, min(FOLDS, max(len(linked), 1))):
        if not len(fold):
            continue
        docs = [linked[i][0] for i in fold]
        rows = [linked[i][1] for i in fold]
        fold_kb = without_mentions(kb, _training_names(docs, rows).counts)
        pairs = find_mention_candidates(fold_kb, docs, rows, settings, expand=expand)
        ids = [mention.kb_id for row in rows for mention in row]
        targets = numpy.asarray([kb.tables.concept_row(i) if i else -1 for i in ids])
        right = pairs.concepts == targets[pairs.mentions]
        found = numpy.bincount(pairs.mentions, weights=right, minlength=len(ids)) > 0
        scores = score_pairs(fold_kb, pairs, settings)
        parts.append(candidate_rows(fold_kb, docs, rows, pairs, scores))
        gold.append(numpy.concatenate([right, ~found]))
        n_found += int(found.sum())
    if n_found >= MIN_MENTIONS:
        reranker.fit(join_rows(parts), numpy.concatenate(gold))
    return n_found


def candidate_rows(
    kb: FaissKnowledgeBase,
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    pairs: CandidatePairs,
    scores: numpy.ndarray,
) -> CandidateRows:
    """What rerankers read of candidates: their rows, then "no link" of each mention.

    pairs: with details. scores: by which candidates rank without a reranker, (pairs,).
    """
    label_rows = kb.tables.label_rows([mention.label for row in mentions for mention in row])
    numbers = numpy.arange(len(label_rows))
    return CandidateRows(
        features=candidate_features(kb, pairs, label_rows),
        groups=numpy.concatenate([pairs.mentions, numbers]),
        concepts=numpy.concatenate([pairs.concepts, numpy.full_like(numbers, -1)]),
        scores=numpy.concatenate([scores, numpy.zeros(len(numbers))]),
        docs=docs,
        tables=[mention_table(row, {}) for row in mentions],
        describe=partial(_describe, kb),
    )


def after_rules(
    examples: Iterable[Example], nlp: Optional[Language], component: str
) -> List[Example]:
    """Examples whose predicted documents are copies that the rules before a component have seen.

    Rules are the components that do not train, less those that write mentions, in whose place are
    the gold ones, and those that need what components left out would say.
    """
    rules = [] if nlp is None else _rules(nlp, component)
    out = []
    for eg in examples:
        doc = eg.predicted.copy()
        for rule in rules:
            doc = rule(doc)
        out.append(Example(doc, eg.reference))
    return out


def rerank(
    reranker: Reranker,
    rows: CandidateRows,
    context: Optional[numpy.ndarray],
    context_scale: float,
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The probability that a candidate is the right one, and that none is.

    rows: as ``candidate_rows`` makes them. context: cosines, (pairs,), which join the scores, times
    ``context_scale`` and less the greatest one of the mention.

    RETURNS: float64, (pairs,) and (mentions,); those of a mention sum to 1. Candidates that the
        reranker does not look at have none.
    """
    n_pairs = int((rows.concepts >= 0).sum())
    scores = reranker.scores(rows)
    if context is not None and len(context):
        mentions, seen = rows.groups[:n_pairs], numpy.isfinite(scores[:n_pairs])
        best = numpy.full((len(scores) - n_pairs,), -numpy.inf)
        numpy.maximum.at(best, mentions[seen], context[seen])
        scores[:n_pairs] += context_scale * (context - best[mentions])
    probabilities = group_probabilities(scores, rows.groups)
    return probabilities[:n_pairs], probabilities[n_pairs:]


def insert_no_link(
    ranked: Sequence[Candidates], no_link: numpy.ndarray, top_k: int
) -> List[Candidates]:
    """Rank the choice of no link, with the id "", among the candidates of each mention."""
    out = []
    for candidates, score in zip(ranked, no_link.round(5).tolist(), strict=True):
        place = sum(other >= score for _, other in candidates)
        both = [*candidates[:place], ("", score), *candidates[place:]]
        out.append(both[:top_k])
    return out


def _describe(kb: FaissKnowledgeBase, row: int) -> Dict[str, List[str]]:
    concept = kb.tables.concept(row)
    name, *synonyms = concept.names or (concept.concept_id,)
    return {
        "name": [name],
        "synonyms": synonyms,
        "types": list(concept.types),
        "definition": [concept.definition] if concept.definition else [],
    }


def _rules(nlp: Language, component: str) -> List[Callable[[Doc], Doc]]:
    rules, unsaid = [], {"doc.spans"}
    for name, pipe in nlp.pipeline:
        if name == component:
            break
        meta = nlp.get_pipe_meta(name)
        trains = getattr(pipe, "is_trainable", False)
        if trains or unsaid.intersection((*meta.assigns, *meta.requires)):
            unsaid.update(meta.assigns)
        else:
            rules.append(pipe)
    return rules


def _training_names(docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]) -> TrainingNames:
    names = TrainingNames()
    for doc, row in zip(docs, mentions, strict=True):
        for text, mention in zip(mention_texts(doc, row), row, strict=True):
            names.add(text, mention.label, mention.kb_id)
    return names
