"""Which concepts a mention of a label may name, by their types, branches or ids."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Mapping, Sequence

import numpy

from .linking import CandidatePairs

if TYPE_CHECKING:
    from .knowledge_base import FaissKnowledgeBase


def keep_types(
    kb: "FaissKnowledgeBase",
    pairs: CandidatePairs,
    labels: Sequence[str],
    label_types: Mapping[str, Sequence[str]],
) -> CandidatePairs:
    """Drop candidates whose concept is not of a kind that the mention's label allows.

    labels: of each mention. label_types: for an entity label the types, or ids, of concepts that
        it may name, as patterns: ``T047``, ``C14.*`` (a branch of MeSH's trees), ``CHEBI:*``.
        Labels that are not there allow all.
    """
    if not label_types:
        return pairs
    allowed = numpy.ones((len(pairs.mentions),), dtype="bool")
    for label, patterns in label_types.items():
        asked = numpy.asarray([other == label for other in labels], dtype="bool")
        rows = numpy.flatnonzero(asked[pairs.mentions]) if len(labels) else asked[:0]
        if len(rows):
            concepts, place = numpy.unique(pairs.concepts[rows], return_inverse=True)
            allowed[rows] = _matches(kb, concepts, patterns)[place]
    return pairs.select(numpy.flatnonzero(allowed))


def _matches(
    kb: "FaissKnowledgeBase", concepts: numpy.ndarray, patterns: Sequence[str]
) -> numpy.ndarray:
    """Whether concepts, by their rows, have a type or an id that fits a pattern: bool."""
    tables = kb.tables

    def fits(text: str) -> bool:
        return any(fnmatchcase(text, pattern) for pattern in patterns)

    out = numpy.asarray([fits(tables.concept_ids[int(row)]) for row in concepts], dtype="bool")
    which, positions = tables.concept_types.positions(concepts)
    types, place = numpy.unique(tables.concept_types.values[positions], return_inverse=True)
    right = numpy.asarray([fits(tables.types[int(row)]) for row in types], dtype="bool")
    if len(which):
        out[which[right[place]]] = True
    return out
