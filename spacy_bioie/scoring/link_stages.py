"""Scores of linking by stage, on names and concepts that training has and has not seen."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY, Candidates, Mention, gold_mentions, mention_texts
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import LinkingSettings, rank_candidates, score_pairs
from ..kb.normalisation import normalise_name
from .links import candidate_recall, disambiguation_accuracy, score_candidates


def evaluate_linking(
    kb_or_linker: Any, examples: Iterable[Example], spans_key: str = SPANS_KEY
) -> dict[str, float | int | None]:
    """Score the candidates of gold mentions, as each stage of linking alone would rank them.

    kb_or_linker: a FaissKnowledgeBase, or a ``faiss_entity_linker`` with one (its settings and its
        ``spans_key`` are used). A linker that weighs the context needs predicted documents that
        carry the output of the shared encoder.
    examples: the references have the gold mentions. Those without a concept id are left out.

    Stages: ``dictionary``, equal normalised names with training evidence, labels and frequencies;
    ``search``, the similarity of name vectors and nothing else; ``linker``, all together. Groups:
    all mentions; ``seen_names`` and ``unseen_names``, whether a training mention (in the
    knowledge base) has the same normalised name; ``seen_concepts`` and ``unseen_concepts``,
    whether one has the concept.

    What is found and what is made of it are scored apart: the recall of the candidates, all that
    dictionary and search give, ranked without their context (see ``candidate_recall``), and
    ``disambiguation_acc1``, how often the linker puts the gold concept first where it is one of
    them.

    RETURNS: ``{stage}_acc1``, ``_acc5`` and ``_mrr`` (see ``score_candidates``),
        ``candidates_recall5`` (10, 20), ``candidates_recall`` and ``disambiguation_acc1``, the same
        for each group as ``{stage}_{group}_acc1``, and the numbers of mentions, ``mentions`` and
        ``mentions_{group}``. Figures of an empty group are None.
    """
    linker = None if isinstance(kb_or_linker, FaissKnowledgeBase) else kb_or_linker
    kb: FaissKnowledgeBase = kb_or_linker if linker is None else linker.require_kb()
    settings = LinkingSettings() if linker is None else linker.settings
    key = spans_key if linker is None else linker.key
    docs, mentions = [], []
    for eg in examples:
        linked = [mention for mention in gold_mentions(eg, key) if mention.kb_id]
        if linked:
            docs.append(eg.predicted)
            mentions.append(linked)
    texts = [
        text for doc, row in zip(docs, mentions, strict=True) for text in mention_texts(doc, row)
    ]
    labels = [mention.label for row in mentions for mention in row]
    gold = [kb.main_id(mention.kb_id) for row in mentions for mention in row]
    names = replace(settings, n_search=0, context_weight=0.0)
    vectors = replace(
        settings, dictionary=False, prior_weight=0.0, label_weight=0.0, context_weight=0.0
    )
    stages = {
        "dictionary": kb.search(texts, labels, settings=names),
        "search": kb.search(texts, labels, settings=vectors),
    }
    if linker is None:
        stages["linker"] = kb.search(texts, labels, settings=settings)
    else:
        found = linker.link(docs, mentions) if docs else []
        stages["linker"] = [candidates for row in found for candidates in row]
    if linker is None:
        sets = kb.search(texts, labels, top_k=sys.maxsize, settings=settings)
    else:
        sets = _candidate_sets(linker, kb, docs, mentions)
    rows = kb.tables.name_rows(normalise_name(text) for text in texts)
    seen_names = numpy.zeros((len(rows),), dtype="bool")
    seen_names[rows >= 0] = numpy.diff(kb.tables.evidence.offsets)[rows[rows >= 0]] > 0
    seen_concepts = numpy.asarray([kb.training_mentions(g) > 0 for g in gold], dtype="bool")
    groups = {
        "": numpy.ones((len(gold),), dtype="bool"),
        "_seen_names": seen_names,
        "_unseen_names": ~seen_names,
        "_seen_concepts": seen_concepts,
        "_unseen_concepts": ~seen_concepts,
    }
    figures: dict[str, float | int | None] = {}
    for group, members in groups.items():
        chosen = numpy.flatnonzero(members).tolist()
        figures[f"mentions{group}"] = len(chosen)
        ids = [gold[i] for i in chosen]
        for stage, ranked in stages.items():
            figures.update(score_candidates(ids, [ranked[i] for i in chosen], f"{stage}{group}"))
        found_for = [sets[i] for i in chosen]
        figures.update(candidate_recall(ids, found_for, f"candidates{group}"))
        figures[f"disambiguation{group}_acc1"] = disambiguation_accuracy(
            ids, found_for, [stages["linker"][i] for i in chosen]
        )
    return figures


def _candidate_sets(
    linker: Any, kb: FaissKnowledgeBase, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
) -> list[Candidates]:
    """All candidates of a linker, as the scores without the context rank them."""
    settings = replace(linker.settings, context_weight=0.0)
    pairs, _ = linker.find(docs, mentions)
    n = sum(len(row) for row in mentions)
    return rank_candidates(kb, pairs, score_pairs(kb, pairs, settings), n, sys.maxsize)
