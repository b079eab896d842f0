"""Small knowledge bases for tests."""

from pathlib import Path
from typing import Any, Dict, Sequence

import numpy
from spacy.vocab import Vocab

from spacy_bioie.kb import Concept, FaissKnowledgeBase, TrainingNames, build_knowledge_base

CONCEPTS = [
    Concept("C1", "Depression", ("depressive disorder", "melancholia"), types=("DDF",)),
    Concept("C2", "Gut microbiota", ("intestinal flora",), types=("microbiome",)),
    Concept("C3", "Depression (terrain)", ("depression", "hollow"), types=("place",)),
    Concept("C4", "Escherichia coli", ("E. coli",), types=("bacteria",), alt_ids=("X4",)),
    Concept("C5"),
]


def training_names(*mentions) -> TrainingNames:
    """Training names from (text, label, concept id) triples."""
    names = TrainingNames()
    for mention in mentions:
        names.add(*mention)
    return names


def make_kb(concepts=CONCEPTS, *, vocab=None, mentions=(), **settings) -> FaissKnowledgeBase:
    """A knowledge base without name encoder, if none is given."""
    kb, _ = build_knowledge_base(
        concepts, vocab=vocab or Vocab(), mentions=training_names(*mentions), **settings
    )
    return kb


def ids(candidates) -> list:
    return [concept_id for concept_id, _ in candidates]


class AngleEncoder:
    """A name encoder of two dimensions: names lie at angles, and their cosines are known.

    angles: degrees of each name; others lie where a sum of their characters puts them.
    """

    dims = 2

    def __init__(self, angles: Dict[str, float]):
        self.angles = angles

    def encode(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        degrees = [self.angles.get(name, sum(map(ord, name)) % 360) for name in names]
        radians = numpy.radians(numpy.asarray(degrees, dtype="float64"))
        return numpy.stack([numpy.cos(radians), numpy.sin(radians)], axis=1).astype("float32")

    def settings(self) -> Dict[str, Any]:
        raise NotImplementedError("It is not saved.")

    def save(self, folder: Path) -> None:
        raise NotImplementedError("It is not saved.")
