"""A knowledge base as it would be without some of its training mentions."""

from dataclasses import replace

import numpy

from .knowledge_base import FaissKnowledgeBase
from .ragged import RaggedRows
from .tables import EvidenceCounts, KnowledgeTables


def without_mentions(kb: FaissKnowledgeBase, counts: EvidenceCounts) -> FaissKnowledgeBase:
    """The same concepts and vectors, less what training mentions say.

    A scorer that learns from the mentions of which the knowledge base was made would find each of
    them there with its answer; documents that are new to the knowledge base are not like that.

    counts: of the mentions to be left out. A name that no source gives and no other mention has
    loses its concept, but not its place in the index.
    """
    out = FaissKnowledgeBase(kb.vocab, _without_counts(kb.tables, counts), kb.vectorizer, kb.index)
    out.device = kb.device
    return out


def _without_counts(tables: KnowledgeTables, counts: EvidenceCounts) -> KnowledgeTables:
    kept = tables.evidence_counts.astype("int64")
    concept_counts = tables.concept_counts.astype("int64")
    for (name, label, concept_id), count in counts.items():
        row, concept = tables.names.find_sorted(name), tables.concept_row(concept_id)
        label_row = tables.labels.find_sorted(label)
        if row < 0 or concept < 0 or label_row < 0:
            continue
        begin, end = tables.evidence.offsets[row : row + 2]
        same = tables.evidence.values[begin:end] == concept
        found = numpy.flatnonzero(same & (tables.evidence_labels[begin:end] == label_row))
        if len(found):
            taken = min(count, int(kept[begin + found[0]]))
            kept[begin + found[0]] -= taken
            concept_counts[concept] -= taken
    left = kept > 0
    which, positions = tables.evidence.positions(numpy.arange(len(tables.names)))
    names, concepts = which[left], tables.evidence.values[positions][left].astype("int64")
    labels = tables.evidence_labels[left]
    return replace(
        tables,
        **_named_pairs(tables, names * len(tables.concept_ids) + concepts),
        evidence=RaggedRows.from_pairs(names, concepts, len(tables.names)),
        evidence_labels=labels,
        evidence_counts=kept[left].astype("int32"),
        concept_counts=concept_counts.astype("int32"),
        label_keys=_label_keys(tables, concepts * len(tables.labels) + labels),
    )


def _named_pairs(tables: KnowledgeTables, evidence_keys: numpy.ndarray) -> dict:
    """``name_concepts`` and ``official`` of the names that sources or mentions still give."""
    which, positions = tables.name_concepts.positions(numpy.arange(len(tables.names)))
    concepts = tables.name_concepts.values[positions]
    left = numpy.isin(which * len(tables.concept_ids) + concepts, evidence_keys) | tables.official
    pairs = RaggedRows.from_pairs(which[left], concepts[left], len(tables.names))
    return {"name_concepts": pairs, "official": tables.official[left]}


def _label_keys(tables: KnowledgeTables, evidence_keys: numpy.ndarray) -> numpy.ndarray:
    """Labels that mentions alone gave to a concept go with the last of them."""
    which, positions = tables.evidence.positions(numpy.arange(len(tables.names)))
    n = len(tables.labels)
    before = tables.evidence.values[positions].astype("int64") * n + tables.evidence_labels
    gone = [
        key
        for key in numpy.setdiff1d(before, evidence_keys).tolist()
        if tables.labels[key % n] not in tables.concept(key // n).types
    ]
    return tables.label_keys[~numpy.isin(tables.label_keys, gone)]
