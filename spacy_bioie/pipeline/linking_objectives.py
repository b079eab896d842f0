"""Objectives: what the mention encoder of a ``faiss_entity_linker`` learns."""

from typing import TYPE_CHECKING, Any, Callable, Iterable, Protocol, Sequence, Tuple

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import Mention, gold_mentions, mention_texts
from ..kb.context_search import vectors_of_names
from ..kb.normalisation import normalise_name
from ..models.contrastive import squared_distance
from ..models.mention_encoder import MentionVectors, split_rows
from .linker_candidates import find_mention_candidates
from .linker_training import concept_targets, linking_loss

if TYPE_CHECKING:
    from .faiss_entity_linker import FaissEntityLinker

GetExamples = Callable[[], Iterable[Example]]


class LinkingObjective(Protocol):
    """How mention vectors are learned. ``temperature`` and ``n_negatives`` are the linker's."""

    def start(self, linker: "FaissEntityLinker", get_examples: GetExamples) -> None:
        """A training begins: the linker has been initialized with these examples."""

    def loss(
        self, linker: "FaissEntityLinker", examples: Sequence[Example], vectors: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        """The loss of a batch and its gradient.

        vectors: of the gold mentions of each example.
        RETURNS: the loss, 0 where nothing can be learned, and the gradient, of the shapes of
            ``vectors``.
        """


class ConceptContrast:
    """InfoNCE against the vectors of concepts; nothing is kept from batch to batch.

    Each gold mention whose concept has a vector is to be nearer to it than to the other concepts
    of the batch: its own best ``n_negatives`` wrong candidates, those of the other mentions, and
    their concepts (``contrastive_loss``). The loss is the mean over these mentions, 0 where there
    are none or the linker's ``context_weight`` is 0.
    """

    def start(self, linker: "FaissEntityLinker", get_examples: GetExamples) -> None:
        return None

    def loss(
        self, linker: "FaissEntityLinker", examples: Sequence[Example], vectors: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        kb, cfg = linker.require_kb(), linker.cfg
        docs = [eg.predicted for eg in examples]
        mentions = [gold_mentions(eg, linker.key) for eg in examples]
        return linking_loss(
            kb,
            concept_targets(kb, mentions),
            lambda: find_mention_candidates(
                kb, docs, mentions, linker.settings, expand=cfg["expand_abbreviations"]
            ),
            vectors,
            linker.model.ops,
            linker.settings,
            n_negatives=cfg["n_negatives"],
            temperature=cfg["temperature"],
        )


class NameProjection(ConceptContrast):
    """``ConceptContrast``, and the vector of a mention comes near to that of its own name.

    The second part needs no link: each mention, with the vector that the frozen name encoder gives
    its text, teaches the model the space of names (as in the warm-up of ``ContextualContrast``).
    A linker with ``search_by = "projection"`` then does without the name encoder.
    """

    def __init__(self, weight: float):
        if weight < 0:
            raise ValueError(
                f"spacy_bioie.NameProjection.v1: weight is {weight}, expected 0 or more."
            )
        self.weight = weight

    def loss(
        self, linker: "FaissEntityLinker", examples: Sequence[Example], vectors: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        loss, d_vectors = super().loss(linker, examples, vectors)
        ops: Any = linker.model.ops
        flat = ops.xp.concatenate(vectors)
        if not len(flat) or not self.weight:
            return loss, d_vectors
        docs = [eg.predicted for eg in examples]
        mentions = [gold_mentions(eg, linker.key) for eg in examples]
        distance, learned, gradient = imitate_names(linker, docs, mentions, flat)
        d_flat = ops.xp.concatenate(d_vectors)
        d_flat[ops.asarray1i(learned)] += self.weight * gradient
        d_vectors = split_rows(ops, d_flat, [len(rows) for rows in vectors])
        return loss + self.weight * distance, d_vectors


def imitate_names(
    linker: "FaissEntityLinker",
    docs: Sequence[Doc],
    mentions: Sequence[Sequence[Mention]],
    flat: Any,
) -> Tuple[float, numpy.ndarray, Any]:
    """The squared distance of mentions from the vectors of their names, and its gradient.

    flat: vectors of the mentions of all documents.
    RETURNS: the mean, the rows that have a name, and the gradient for these.
    """
    names = [
        normalise_name(text)
        for doc, row in zip(docs, mentions, strict=True)
        for text in mention_texts(doc, row)
    ]
    learned = numpy.flatnonzero([bool(name) for name in names])
    if not len(learned):
        return 0.0, learned, flat[:0]
    ops: Any = linker.model.ops
    targets = vectors_of_names(linker.require_kb(), [names[i] for i in learned])
    loss, gradient = squared_distance(flat[ops.asarray1i(learned)], ops.asarray2f(targets))
    return loss, learned, gradient


def NameProjection_v1(weight: float = 1.0) -> LinkingObjective:
    """Create the objective ``spacy_bioie.NameProjection.v1``, see ``NameProjection``.

    weight: of the distance from the mention's own name, beside the contrast of concepts.
    Raises ValueError for a negative weight.
    """
    return NameProjection(weight)


def ConceptContrast_v1() -> LinkingObjective:
    """Create the objective ``spacy_bioie.ConceptContrast.v1``, the default."""
    return ConceptContrast()
