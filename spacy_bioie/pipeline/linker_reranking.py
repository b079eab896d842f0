"""The reranker of a ``faiss_entity_linker``: how it is fitted, and what it makes of candidates."""

from dataclasses import replace
from typing import Callable, Iterable, List, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import Candidates, Mention, gold_mentions, mention_texts
from ..kb.candidate_features import candidate_features
from ..kb.held_out import without_mentions
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import CandidatePairs, LinkingSettings
from ..kb.training_names import TrainingNames
from ..models.candidate_reranker import (
    Reranker,
    candidate_scores,
    fit_reranker,
    group_probabilities,
)
from .linker_candidates import find_mention_candidates

# The knowledge base is asked as if it did not know the documents of a fold
FOLDS = 5
# A handful of mentions teaches less than the weights of ``LinkingSettings`` know
MIN_MENTIONS = 200


def fit_linker_reranker(
    model: Reranker,
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
    documents that have others with one.

    RETURNS: the number of mentions whose concept is a candidate. Where these are fewer than
        ``MIN_MENTIONS``, the model is left as it was.
    """
    settings = replace(settings, details=True)
    linked = []
    for eg in examples:
        mentions = gold_mentions(eg, key)
        if any(mention.kb_id for mention in mentions):
            linked.append((eg.predicted, mentions))
    order = numpy.random.default_rng(seed).permutation(len(linked))
    features, groups, gold, n, n_found = [], [], [], 0, 0
    for fold in numpy.array_split(order, min(FOLDS, max(len(linked), 1))):
        if not len(fold):
            continue
        docs = [linked[i][0] for i in fold]
        rows = [linked[i][1] for i in fold]
        fold_kb = without_mentions(kb, _training_names(docs, rows).counts)
        pairs = find_mention_candidates(fold_kb, docs, rows, settings, expand=expand)
        flat = [mention for row in rows for mention in row]
        targets = numpy.asarray([kb.tables.concept_row(m.kb_id) if m.kb_id else -1 for m in flat])
        right = pairs.concepts == targets[pairs.mentions]
        found = numpy.bincount(pairs.mentions, weights=right, minlength=len(flat)) > 0
        features.append(
            candidate_features(fold_kb, pairs, kb.tables.label_rows([m.label for m in flat]))
        )
        groups.append(numpy.concatenate([pairs.mentions, numpy.arange(len(flat))]) + n)
        gold.append(numpy.concatenate([right, ~found]))
        n, n_found = n + len(flat), n_found + int(found.sum())
    if n_found >= MIN_MENTIONS:
        group = numpy.concatenate(groups)
        by_mention = numpy.argsort(group, kind="stable")
        fit_reranker(
            model,
            numpy.concatenate(features)[by_mention],
            group[by_mention],
            numpy.concatenate(gold)[by_mention],
            seed=seed,
        )
    return n_found


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
    model: Reranker,
    kb: FaissKnowledgeBase,
    pairs: CandidatePairs,
    labels: Sequence[str],
    context: Optional[numpy.ndarray],
    context_scale: float,
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The probability that a candidate is the right one, and that none is.

    pairs: with details. labels: of each mention. context: cosines, (pairs,), which join the
    scores, times ``context_scale`` and less the greatest one of the mention.

    RETURNS: float64, (pairs,) and (mentions,); those of a mention sum to 1.
    """
    n = len(labels)
    label_rows = kb.tables.label_rows(labels)
    scores = candidate_scores(model, candidate_features(kb, pairs, label_rows))
    if context is not None and len(context):
        best = numpy.full((n,), -numpy.inf)
        numpy.maximum.at(best, pairs.mentions, context)
        scores[: len(context)] += context_scale * (context - best[pairs.mentions])
    groups = numpy.concatenate([pairs.mentions, numpy.arange(n)])
    probabilities = group_probabilities(scores, groups)
    return probabilities[: len(pairs.mentions)], probabilities[len(pairs.mentions) :]


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
