"""What a ``faiss_entity_linker`` learns from: gold concepts, wrong candidates and the loss."""

import warnings
from typing import Any, Callable, Iterable, List, Sequence, Tuple

import numpy
from spacy.training import Example

from ..annotation import Mention, get_mentions
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import CandidatePairs, LinkingSettings, hard_negatives
from ..models.contrastive import contrastive_loss
from ..models.mention_encoder import MentionVectors


def concept_targets(kb: FaissKnowledgeBase, mentions: Sequence[Sequence[Mention]]) -> numpy.ndarray:
    """The row of each mention's concept, int64, (mentions,); -1 without one that is known."""
    rows = [kb.tables.concept_row(m.kb_id) if m.kb_id else -1 for row in mentions for m in row]
    return numpy.asarray(rows, dtype="int64")


def linking_loss(
    kb: FaissKnowledgeBase,
    target: numpy.ndarray,
    find: Callable[[], CandidatePairs],
    vectors: MentionVectors,
    ops: Any,
    settings: LinkingSettings,
    *,
    n_negatives: int,
    temperature: float,
) -> Tuple[float, MentionVectors]:
    """InfoNCE of mention vectors against frozen concept vectors, and its gradient.

    target: see ``concept_targets``, of the mentions of all documents. find: the candidates of
    these mentions, which are looked for only where there is something to learn. vectors: of the
    mentions of each document. ops: thinc's, of the vectors.

    RETURNS: the mean over the mentions that can be learned from, 0 where there are none or
        ``settings.context_weight`` is 0; and the gradient, of the shapes of ``vectors``.
    """
    xp: Any = ops.xp
    zeros = [xp.zeros_like(rows) for rows in vectors]
    if not settings.context_weight or not (target >= 0).any():
        return 0.0, zeros
    concepts = numpy.union1d(
        target[target >= 0], hard_negatives(kb, find(), target, settings, n_negatives)
    )
    concept_vectors = kb.concept_vectors(concepts)
    filled = concept_vectors.any(axis=1)
    concepts, concept_vectors = concepts[filled], concept_vectors[filled]
    learned = numpy.flatnonzero(numpy.isin(target, concepts))
    if not len(learned):
        return 0.0, zeros
    flat = xp.concatenate(vectors)
    chosen = ops.asarray1i(learned)
    loss, d_learned = contrastive_loss(
        flat[chosen],
        ops.asarray2f(concept_vectors),
        ops.asarray1i(numpy.searchsorted(concepts, target[learned])),
        temperature,
    )
    d_flat = xp.zeros_like(flat)
    d_flat[chosen] = d_learned
    ends = numpy.cumsum([len(rows) for rows in vectors]).tolist()
    parts: List[Any] = [
        d_flat[end - len(rows) : end] for end, rows in zip(ends, vectors, strict=True)
    ]
    return loss, parts


def warn_of_unknown_concepts(
    kb: FaissKnowledgeBase, examples: Iterable[Example], key: str, component: str
) -> None:
    """Warn where links of the references name concepts that the knowledge base lacks."""
    links = [
        mention.kb_id
        for eg in examples
        for mention in get_mentions(eg.reference, key)
        if mention.kb_id
    ]
    unknown = [concept_id for concept_id in links if concept_id not in kb]
    if unknown:
        warnings.warn(
            f"Component '{component}': {len(unknown)} of {len(links)} links of the training "
            f"mentions name concepts that the knowledge base lacks, for example "
            f"'{unknown[0]}'. Nothing is learned from these.",
            stacklevel=3,
        )
