"""What went into a knowledge base, and what an update changed."""

from dataclasses import dataclass, fields
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence

import numpy

from .concepts import Concept
from .findings import EXAMPLES, Findings
from .normalisation import normalise_name
from .tables import KnowledgeTables
from .training_names import TrainingNames


@dataclass(frozen=True)
class Report:
    """What is counted, and examples of some of it."""

    examples: Mapping[str, Sequence[str]]

    def counts(self) -> Dict[str, int]:
        """All fields that are counts."""
        return {name: value for name, value in self._values().items() if isinstance(value, int)}

    def to_dict(self) -> Dict[str, Any]:
        """All fields, as JSON."""
        examples = {kind: list(found) for kind, found in self.examples.items()}
        return {**self._values(), "examples": examples}

    def _values(self) -> Dict[str, Any]:
        names = [field.name for field in fields(self) if field.name != "examples"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class BuildReport(Report):
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
    they know. recall_at_10: of the index, see ``index_names``; None where it is exact or was not
    measured. examples: for some of these a few examples.
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
    recall_at_10: Optional[float] = None


@dataclass(frozen=True)
class UpdateReport(Report):
    """What an update changed in a knowledge base.

    concepts, names: in the result. records: read from the sources that were added.
    added_concepts: their ids were not known. duplicate_ids: records joined with a known concept
    or an earlier record of the same id. merged_concepts: joined with another by a pair of ids or
    by a cross-reference; unused_xrefs, left_out, empty_names: as in ``BuildReport``.
    removed_concepts: taken out, with as many training mentions as removed_mentions says.
    added_mentions: training mentions with a concept id that came in.
    added_names: turned into vectors and indexed; removed_names: no concept has them any more.
    unused_vectors: in the index, of names that this update or an earlier one removed, where the
    index is of a kind that cannot drop them; only building anew does. examples: for some of these.
    """

    concepts: int
    names: int
    records: int
    added_concepts: int
    duplicate_ids: int
    merged_concepts: int
    unused_xrefs: int
    left_out: int
    empty_names: int
    removed_concepts: int
    removed_mentions: int
    added_mentions: int
    added_names: int
    removed_names: int
    unused_vectors: int


def make_report(
    concepts: Sequence[Concept],
    tables: KnowledgeTables,
    mentions: TrainingNames,
    added: Collection[str],
    records: int,
    findings: Findings,
    recall: Optional[float] = None,
) -> BuildReport:
    """Count what is in the tables.

    concepts: in the order of the tables. added: ids of those that only training mentions know.
    findings: of reading and merging. recall: of the index.
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
        recall_at_10=recall,
        examples=sorted_examples(examples),
    )


def sorted_examples(examples: Mapping[str, Sequence[str]]) -> Dict[str, Sequence[str]]:
    """The kinds that have examples, by name."""
    return {kind: tuple(found) for kind, found in sorted(examples.items()) if found}


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
