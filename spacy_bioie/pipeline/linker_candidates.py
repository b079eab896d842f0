"""Which concepts the mentions of documents may name, and which mentions share one."""

from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc

from ..annotation import Mention, expand_abbreviations, mention_texts
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import CandidatePairs, LinkingSettings, find_candidates, merge_mentions
from ..kb.normalisation import normalise_name
from ..kb.type_filter import keep_types


def find_mention_candidates(
    kb: FaissKnowledgeBase,
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    settings: LinkingSettings,
    *,
    expand: bool,
    meanings: Optional[numpy.ndarray] = None,
) -> CandidatePairs:
    """Find the candidates of the mentions of each document, numbered through all documents.

    expand: look up the names with their short forms written out too, where these are known.
    meanings: of the mentions, see ``find_candidates``.
    """
    names = _names(mention_texts, docs, mentions)
    labels = [mention.label for row in mentions for mention in row]
    changed: List[int] = []
    if expand:
        expanded = _names(expand_abbreviations, docs, mentions)
        changed = [i for i, name in enumerate(names) if expanded[i] != name]
    if not changed:
        pairs = find_candidates(kb, names, labels, settings, meanings)
        return keep_types(kb, pairs, labels, settings.label_types)
    owners = numpy.asarray([*range(len(names)), *changed], dtype="int64")
    pairs = find_candidates(
        kb,
        [*names, *(expanded[i] for i in changed)],
        [*labels, *(labels[i] for i in changed)],
        settings,
        None if meanings is None else meanings[owners],
    )
    return keep_types(kb, merge_mentions(pairs, owners), labels, settings.label_types)


def same_text_groups(docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]) -> numpy.ndarray:
    """Number the groups of mentions of one document, normalised text and label: int64."""
    groups: Dict[Tuple[int, str, str], int] = {}
    out = [
        groups.setdefault((i, normalise_name(text), mention.label), len(groups))
        for i, (doc, row) in enumerate(zip(docs, mentions, strict=True))
        for text, mention in zip(mention_texts(doc, row), row, strict=True)
    ]
    return numpy.asarray(out, dtype="int64")


def share_scores(
    pairs: CandidatePairs,
    scores: numpy.ndarray,
    groups: numpy.ndarray,
    margin: float,
    no_link: Optional[numpy.ndarray] = None,
) -> Tuple[numpy.ndarray, Optional[numpy.ndarray]]:
    """Give the mentions of a group one concept, or none: that of the highest sum of their scores.

    Their candidates get the mean of the group's scores (0 from a mention without the candidate).
    A mention whose own best candidate beats the group's by more than ``margin`` keeps its scores,
    and one that lacks the group's candidate does so, too.

    scores: (pairs,). groups: of each mention, int64, (mentions,). no_link: (mentions,), the score
        of having no concept, which then is a candidate as well.
    RETURNS: scores, (pairs,), and those of no link, (mentions,), or None.
    """
    if no_link is None:
        return _shared(pairs.mentions, pairs.concepts, scores, groups, margin), None
    none = pairs.concepts.max(initial=-1) + 1
    both = _shared(
        numpy.concatenate([pairs.mentions, numpy.arange(len(groups))]),
        numpy.concatenate([pairs.concepts, numpy.full((len(groups),), none)]),
        numpy.concatenate([scores, no_link]),
        groups,
        margin,
    )
    return both[: len(scores)], both[len(scores) :]


def _shared(
    mentions: numpy.ndarray,
    concepts: numpy.ndarray,
    scores: numpy.ndarray,
    groups: numpy.ndarray,
    margin: float,
) -> numpy.ndarray:
    """``share_scores`` of any choices. mentions, concepts: int64, like scores, (choices,)."""
    if not len(scores):
        return scores
    n = int(concepts.max()) + 1
    keys = groups[mentions] * n + concepts
    distinct, place = numpy.unique(keys, return_inverse=True)
    group = distinct // n
    means = numpy.bincount(place, weights=scores) / numpy.bincount(groups)[group]
    order = numpy.lexsort((distinct, -numpy.round(means, 5), group))
    found, first = numpy.unique(group[order], return_index=True)
    shared = numpy.full((int(groups.max()) + 1,), -1, dtype="int64")
    shared[found] = distinct[order[first]]
    best = numpy.zeros((len(groups),))
    numpy.maximum.at(best, mentions, scores)
    of_shared = numpy.full((len(groups),), -numpy.inf)
    hit = keys == shared[groups[mentions]]
    of_shared[mentions[hit]] = scores[hit]
    agreed = best - of_shared <= margin
    return numpy.where(agreed[mentions], means[place], scores)


def _names(
    texts_of: Callable[[Doc, Sequence[Mention]], List[str]],
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
) -> List[str]:
    return [
        normalise_name(text)
        for doc, row in zip(docs, mentions, strict=True)
        for text in texts_of(doc, row)
    ]
