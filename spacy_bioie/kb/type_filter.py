"""Which concepts a mention of a label may name, by their types, branches or ids."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Mapping, Sequence

import numpy

from .linking import CandidatePairs

if TYPE_CHECKING:
    from .knowledge_base import FaissKnowledgeBase
    from .tables import KnowledgeTables


def keep_types(
    kb: "FaissKnowledgeBase",
    pairs: CandidatePairs,
    labels: Sequence[str],
    label_types: Mapping[str, Sequence[str]],
) -> CandidatePairs:
    """Drop candidates whose concept is not of a kind that the mention's label allows.

    labels: of each mention. label_types: for an entity label the types, or ids, of concepts that
        it may name, as patterns: ``T047``, ``CHEBI:*``, and branches with their roots:
        ``C14.*`` of MeSH's trees, or ``GO:0008150.*`` for a concept and all below it, as far as
        parents are known. Labels that are not there allow all.
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
    # what ends with .* is a branch, to which its root belongs
    roots = [pattern[:-2] for pattern in patterns if len(pattern) > 2 and pattern.endswith(".*")]
    patterns = [*patterns, *roots]

    def fits(text: str) -> bool:
        return any(fnmatchcase(text, pattern) for pattern in patterns)

    out = numpy.asarray([fits(tables.concept_ids[int(row)]) for row in concepts], dtype="bool")
    which, positions = tables.concept_types.positions(concepts)
    types, place = numpy.unique(tables.concept_types.values[positions], return_inverse=True)
    right = numpy.asarray([fits(tables.types[int(row)]) for row in types], dtype="bool")
    if len(which):
        out[which[right[place]]] = True
    rows = [tables.concept_row(root) for root in roots]
    return out | _are_below(tables, concepts, [row for row in rows if row >= 0])


def _are_below(
    tables: "KnowledgeTables", concepts: numpy.ndarray, roots: Sequence[int]
) -> numpy.ndarray:
    """Whether concepts are one of the roots or below one, all by their rows: bool."""
    out = numpy.isin(concepts, roots)
    n = len(tables.concept_ids)
    seen = keys = numpy.arange(len(concepts)) * n + concepts
    while len(roots) and len(keys):
        which, positions = tables.concept_parents.positions(keys % n)
        keys = keys[which] // n * n + tables.concept_parents.values[positions]
        keys = numpy.setdiff1d(keys, seen)  # also where parents go in a circle
        seen = numpy.concatenate([seen, keys])
        out[keys[numpy.isin(keys % n, roots)] // n] = True
    return out
