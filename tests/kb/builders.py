"""Small knowledge bases for tests."""

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
