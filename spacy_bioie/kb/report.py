"""What went into a knowledge base."""

from dataclasses import dataclass, fields
from typing import Any, Collection, Dict, List, Mapping, Sequence

import numpy

from .concepts import Concept
from .findings import EXAMPLES, Findings
from .normalisation import normalise_name
from .tables import KnowledgeTables
from .training_names import TrainingNames


@dataclass(frozen=True)
class BuildReport:
    """What went into a knowledge base, what stood out, and what was left out.

    concepts, names: in it (names are distinct normalised names). records: read from the sources.
    duplicate_ids: records joined with an earlier one of the same id. merged_concepts: joined with
    another by a cross-reference; unused_xrefs: cross-references that were not followed, since
    they would have joined two concepts of one source. left_out: rows and terms that filters leave
    out, or that their source marks as suppressed, obsolete or too broad.
    nameless_concepts: kept, but no search finds them. empty_names: dropped, they have no visible
    character. duplicate_names: names that differ from another of their concept in case, hyphens or
    blanks only. ambiguous_names: names of more than one concept.
    training_mentions: counted; unlinked_mentions: left out, they have no concept id or no text.
    training_names: names that only training mentions give; training_concepts: concepts that only
    they know. examples: for some of these a few examples.
    """

    concepts: int
    names: int
    records: int
    duplicate_ids: int
    merged_concepts: int
    unused_xrefs: int
    left_out: int
    nameless_concepts: int
    empty_names: int
    duplicate_names: int
    ambiguous_names: int
    training_mentions: int
    unlinked_mentions: int
    training_names: int
    training_concepts: int
    examples: Mapping[str, Sequence[str]]

    def counts(self) -> Dict[str, int]:
        """All fields but the examples."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "examples"
        }

    def to_dict(self) -> Dict[str, Any]:
        """All fields, as JSON."""
        examples = {kind: list(found) for kind, found in self.examples.items()}
        return {**self.counts(), "examples": examples}


def make_report(
    concepts: Sequence[Concept],
    tables: KnowledgeTables,
    mentions: TrainingNames,
    added: Collection[str],
    records: int,
    findings: Findings,
) -> BuildReport:
    """Count what is in the tables.

    concepts: in the order of the tables. added: ids of those that only training mentions know.
    findings: of reading and merging.
    """
    offsets = tables.name_concepts.offsets
    owner = numpy.repeat(numpy.arange(len(tables.names)), numpy.diff(offsets))
    official = numpy.zeros((len(tables.names),), dtype="bool")
    official[owner[tables.official]] = True
    ambiguous = numpy.nonzero(numpy.diff(offsets) > 1)[0]
    nameless = numpy.nonzero(numpy.diff(tables.concept_names.offsets) == 0)[0]
    _note_names(concepts, tables, added, findings)
    examples: Dict[str, List[str]] = dict(findings.examples)
    examples["nameless_concepts"] = tables.concept_ids.take(nameless[:EXAMPLES])
    examples["ambiguous_names"] = [_ambiguous(tables, row) for row in ambiguous[:EXAMPLES]]
    return BuildReport(
        concepts=len(concepts),
        names=len(tables.names),
        records=records,
        duplicate_ids=findings.counts["duplicate_ids"],
        merged_concepts=findings.counts["merged_concepts"],
        unused_xrefs=findings.counts["unused_xrefs"],
        left_out=findings.counts["left_out"],
        nameless_concepts=len(nameless),
        empty_names=findings.counts["empty_names"],
        duplicate_names=findings.counts["duplicate_names"],
        ambiguous_names=len(ambiguous),
        training_mentions=sum(mentions.counts.values()),
        unlinked_mentions=mentions.unlinked,
        training_names=int((~official).sum()),
        training_concepts=len(added),
        examples={kind: tuple(found) for kind, found in sorted(examples.items()) if found},
    )


def _note_names(
    concepts: Sequence[Concept],
    tables: KnowledgeTables,
    added: Collection[str],
    findings: Findings,
) -> None:
    """Note the names of sources that normalise to nothing or to another of their concept."""
    pairs = tables.name_concepts.values[tables.official]
    distinct = numpy.bincount(pairs, minlength=len(concepts))
    for concept, count in zip(concepts, distinct.tolist(), strict=True):
        if len(concept.names) == count or concept.concept_id in added:
            continue
        known: Dict[str, str] = {}
        for name in concept.names:
            normalised = normalise_name(name)
            if not normalised:
                findings.note("empty_names", concept.concept_id, repr(name))
            elif known.setdefault(normalised, name) != name:
                findings.note(
                    "duplicate_names", concept.concept_id, f"{known[normalised]} = {name}"
                )


def _ambiguous(tables: KnowledgeTables, row: int) -> str:
    concept_ids = tables.concept_ids.take(tables.name_concepts[int(row)][: EXAMPLES + 1])
    shown = ", ".join(concept_ids[:EXAMPLES]) + (", ..." if len(concept_ids) > EXAMPLES else "")
    return f"{tables.names[int(row)]}: {shown}"
