"""What the vectors of a ``faiss_entity_linker``'s model say: candidates, and how each suits."""

from dataclasses import replace
from typing import Sequence, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..annotation import Mention, mention_table
from ..kb.context_search import add_context_candidates
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import CandidatePairs, LinkingSettings
from ..kb.type_filter import keep_types
from ..models.contrastive import cosines_of_pairs
from ..models.mention_encoder import MentionInput, MentionVectors
from .linker_candidates import find_mention_candidates


def search_in_context(
    model: Model[MentionInput, MentionVectors],
    kb: FaissKnowledgeBase,
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    settings: LinkingSettings,
    component: str,
    *,
    expand: bool,
) -> Tuple[CandidatePairs, numpy.ndarray]:
    """Find candidates by name in the dictionary, and by context among the names.

    RETURNS: the candidates of the mentions of each document, numbered through all documents, and
        the cosine of mention and concept for each pair: float64, (pairs,).
    """
    by_name = replace(settings, n_search=0)
    pairs = find_mention_candidates(kb, docs, mentions, by_name, expand=expand)
    if not any(mentions):
        return pairs, numpy.zeros((0,), dtype="float64")
    vectors = mention_vectors(model, docs, mentions, component)
    labels = [mention.label for row in mentions for mention in row]
    pairs = add_context_candidates(kb, pairs, vectors, labels, settings.n_search)
    pairs = keep_types(kb, pairs, labels, settings.label_types)
    return pairs, _cosines(kb, pairs, vectors)


def search_by_projection(
    model: Model[MentionInput, MentionVectors],
    kb: FaissKnowledgeBase,
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    settings: LinkingSettings,
    component: str,
    *,
    expand: bool,
) -> Tuple[CandidatePairs, numpy.ndarray]:
    """Find candidates by name, with the mention's vector in the place of the name's meaning.

    The name encoder is not asked: a name that is not known is searched with its spelling and with
    the vector that the model projects into the space of the names.

    RETURNS: as ``search_in_context``.
    """
    if not any(mentions):
        pairs = find_mention_candidates(kb, docs, mentions, settings, expand=expand)
        return pairs, numpy.zeros((0,), dtype="float64")
    vectors = mention_vectors(model, docs, mentions, component)
    pairs = find_mention_candidates(kb, docs, mentions, settings, expand=expand, meanings=vectors)
    return pairs, _cosines(kb, pairs, vectors)


def context_cosines(
    model: Model[MentionInput, MentionVectors],
    kb: FaissKnowledgeBase,
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    pairs: CandidatePairs,
    component: str,
) -> numpy.ndarray:
    """The cosine of mention and concept for candidates found by name: float64, (pairs,).

    Raises ValueError as ``mention_vectors`` does.
    """
    if not len(pairs.mentions):
        return numpy.zeros((0,), dtype="float64")
    return _cosines(kb, pairs, mention_vectors(model, docs, mentions, component))


def _cosines(
    kb: FaissKnowledgeBase, pairs: CandidatePairs, vectors: numpy.ndarray
) -> numpy.ndarray:
    concepts, place = numpy.unique(pairs.concepts, return_inverse=True)
    return cosines_of_pairs(vectors, kb.concept_vectors(concepts), pairs.mentions, place)


def mention_vectors(
    model: Model[MentionInput, MentionVectors],
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    component: str,
) -> numpy.ndarray:
    """The vectors of the mentions of all documents: float32, (mentions, kb.context_dims).

    Raises ValueError, which names the component, where the shared encoder has left nothing.
    """
    from ..models.listener import require_encoder_output

    require_encoder_output(model, docs, component)
    vectors = model.predict((docs, [mention_table(row, {}) for row in mentions]))
    flat: Floats2d = model.ops.xp.concatenate(vectors)
    return model.ops.to_numpy(flat)
