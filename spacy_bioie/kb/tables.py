"""The tables of a knowledge base: concepts, names, which concepts a name has, training evidence.

All of them are arrays, so that they can be memory-mapped. Concepts are sorted by id and names by
text: rows, and with them every tie, do not depend on the order in which sources were read.
"""

import json
from dataclasses import dataclass
from typing import Any, Collection, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy

from .concepts import Concept, concept_from_record
from .folding import fold_name
from .normalisation import normalise_name
from .ragged import RaggedRows
from .string_table import StringTable

# (normalised name, label, concept id) -> how often the training mentions say so
EvidenceCounts = Mapping[Tuple[str, str, str], int]


@dataclass(frozen=True)
class KnowledgeTables:
    """The arrays of a knowledge base with n names and c concepts.

    concept_ids: sorted. records: the concepts as JSON, in the order of ``concept_ids``.
    alt_ids, alt_rows: other ids, sorted, and the int32 rows of their concepts.
    names: normalised names, sorted.
    name_concepts: for each name the rows of its concepts, ascending; ``official``, bool, says for
        each of these pairs whether a source gives the name, and not training mentions alone.
    concept_names: for each concept the rows of its names.
    folded: the keys of ``fold_name``, sorted, of the names that differ from their key;
        ``folded_names``: for each of these keys the rows of its names.
    evidence: for each name the rows of concepts that training mentions of this name have, with
        the label (``evidence_labels``, row in ``labels``) and the count (``evidence_counts``).
    concept_counts: how many training mentions each concept has, int32, (c,).
    types: sorted; ``concept_types``: for each concept the rows of its types.
    concept_parents: for each concept the rows of those of its parents that are there.
    labels: entity labels that are known, from training mentions, or from types without these.
    label_keys: sorted int64, row of concept * number of labels + row of label, for the labels of
        the training mentions of a concept and for those of its types that are labels.
    """

    concept_ids: StringTable
    records: StringTable
    alt_ids: StringTable
    alt_rows: numpy.ndarray
    names: StringTable
    name_concepts: RaggedRows
    official: numpy.ndarray
    concept_names: RaggedRows
    folded: StringTable
    folded_names: RaggedRows
    evidence: RaggedRows
    evidence_labels: numpy.ndarray
    evidence_counts: numpy.ndarray
    concept_counts: numpy.ndarray
    types: StringTable
    concept_types: RaggedRows
    concept_parents: RaggedRows
    labels: StringTable
    label_keys: numpy.ndarray

    def concept_row(self, concept_id: str) -> int:
        """The row of a concept by its id or another id of it; -1 if there is none."""
        row = self.concept_ids.find_sorted(concept_id)
        if row < 0:
            other = self.alt_ids.find_sorted(concept_id)
            row = int(self.alt_rows[other]) if other >= 0 else -1
        return row

    def concept(self, row: int) -> Concept:
        """The concept of a row, with the names as its source gives them."""
        return concept_from_record(json.loads(self.records[row]))

    def name_rows(self, names: Iterable[str]) -> numpy.ndarray:
        """The rows of normalised names, -1 where a name is not known: int64."""
        return numpy.asarray([self.names.find_sorted(name) for name in names], dtype="int64")

    def folded_rows(self, names: Sequence[str]) -> RaggedRows:
        """For each normalised name the rows of the names with the same key, see ``fold_name``."""
        which: List[int] = []
        rows: List[int] = []
        for i, name in enumerate(names):
            key = fold_name(name)
            found = self.folded.find_sorted(key)
            same = self.folded_names[found].tolist() if found >= 0 else []
            if fold_name(key) == key:
                same.append(self.names.find_sorted(key))
            same = sorted(row for row in same if row >= 0)
            which.extend([i] * len(same))
            rows.extend(same)
        return RaggedRows.from_pairs(
            numpy.asarray(which, dtype="int64"), numpy.asarray(rows), len(names)
        )

    def label_rows(self, labels: Sequence[str]) -> numpy.ndarray:
        """The rows of labels, -1 where a label is not known: int64."""
        rows = {label: self.labels.find_sorted(label) for label in set(labels)}
        return numpy.asarray([rows[label] for label in labels], dtype="int64")

    def label_mismatch(self, concepts: numpy.ndarray, labels: numpy.ndarray) -> numpy.ndarray:
        """Whether labels of a concept are known, and this label, known too, is none of them.

        concepts, labels: rows, int64, of the same shape. RETURNS: bool of that shape.
        """
        n = max(len(self.labels), 1)
        first = numpy.searchsorted(self.label_keys, concepts * n)
        behind = numpy.searchsorted(self.label_keys, (concepts + 1) * n)
        at = numpy.searchsorted(self.label_keys, concepts * n + numpy.maximum(labels, 0))
        padded = numpy.append(self.label_keys, -1)
        found = padded[at] == concepts * n + labels
        return (behind > first) & (labels >= 0) & ~found

    @property
    def max_log_count(self) -> float:
        """log(1 + count) of the concept with the most training mentions."""
        return float(numpy.log1p(self.concept_counts.max())) if len(self.concept_counts) else 0.0

    def to_arrays(self) -> Dict[str, numpy.ndarray]:
        """All arrays by name."""
        arrays: Dict[str, numpy.ndarray] = {}
        for field, value in self.__dict__.items():
            if isinstance(value, (StringTable, RaggedRows)):
                arrays.update(value.to_arrays(field))
            else:
                arrays[field] = value
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Dict[str, numpy.ndarray]) -> "KnowledgeTables":
        """Read what ``to_arrays`` gave. Raises KeyError with the name of an array that lacks."""
        if "folded.buffer" not in arrays:
            # saved before there were keys: names that are not their own key have none
            keys, rows = _fold([])
            arrays = {**arrays, **keys.to_arrays("folded"), **rows.to_arrays("folded_names")}
        if "types.buffer" not in arrays:
            records = StringTable.from_arrays("records", arrays)
            concepts = [concept_from_record(json.loads(record)) for record in records]
            types, rows = _types(concepts)
            arrays = {**arrays, **types.to_arrays("types"), **rows.to_arrays("concept_types")}
        if "concept_parents.values" not in arrays:
            n = len(arrays["concept_ids.offsets"]) - 1
            none = RaggedRows.from_pairs(numpy.zeros((0,), "int64"), numpy.zeros((0,)), n)
            arrays = {**arrays, **none.to_arrays("concept_parents")}
        values: Dict[str, Any] = {}
        for field, declared in cls.__annotations__.items():
            if declared in (StringTable, RaggedRows):
                values[field] = declared.from_arrays(field, arrays)
            else:
                values[field] = arrays[field]
        return cls(**values)

    @classmethod
    def build(
        cls,
        concepts: Sequence[Concept],
        evidence: EvidenceCounts,
        unofficial: Collection[str] = (),
    ) -> "KnowledgeTables":
        """Make the tables.

        concepts: distinct and sorted by id.
        evidence: counts of training mentions; their concepts have to be among ``concepts``.
        unofficial: ids of the concepts that training mentions alone know.
        """
        rows = {concept.concept_id: row for row, concept in enumerate(concepts)}
        named: Dict[str, Dict[int, bool]] = {}
        for row, concept in enumerate(concepts):
            for name in concept.names:
                official = concept.concept_id not in unofficial
                named.setdefault(normalise_name(name), {})[row] = official
        for name, _, concept_id in evidence:
            named.setdefault(name, {}).setdefault(rows[concept_id], False)
        named.pop("", None)
        names = sorted(named)
        name_rows = {name: row for row, name in enumerate(names)}
        pairs = numpy.asarray(
            [
                (row, concept, official)
                for row, name in enumerate(names)
                for concept, official in sorted(named[name].items())
            ],
            dtype="int64",
        ).reshape((-1, 3))
        by_concept = numpy.lexsort((pairs[:, 0], pairs[:, 1]))
        labels, label_keys = _known_labels(concepts, rows, evidence)
        label_rows = {label: row for row, label in enumerate(labels)}
        counts = sorted(
            (name_rows[name], rows[concept_id], label_rows[label], count)
            for (name, label, concept_id), count in evidence.items()
            if name
        )
        table = numpy.asarray(counts, dtype="int64").reshape((-1, 4))
        concept_counts = numpy.bincount(table[:, 1], weights=table[:, 3], minlength=len(concepts))
        alt = _alt_ids(concepts, rows)
        folded, folded_names = _fold(names)
        types, concept_types = _types(concepts)
        return cls(
            concept_ids=StringTable.from_strings(concept.concept_id for concept in concepts),
            records=StringTable.from_strings(
                json.dumps(concept.to_record(), ensure_ascii=False) + "\n" for concept in concepts
            ),
            alt_ids=StringTable.from_strings(alt),
            alt_rows=numpy.asarray(list(alt.values()), dtype="int32"),
            names=StringTable.from_strings(names),
            name_concepts=RaggedRows.from_pairs(pairs[:, 0], pairs[:, 1], len(names)),
            official=pairs[:, 2].astype("bool"),
            concept_names=RaggedRows.from_pairs(
                pairs[by_concept, 1], pairs[by_concept, 0], len(concepts)
            ),
            folded=folded,
            folded_names=folded_names,
            evidence=RaggedRows.from_pairs(table[:, 0], table[:, 1], len(names)),
            evidence_labels=table[:, 2].astype("int32"),
            evidence_counts=table[:, 3].astype("int32"),
            concept_counts=concept_counts.astype("int32"),
            types=types,
            concept_types=concept_types,
            concept_parents=_parents(concepts, {**alt, **rows}),
            labels=StringTable.from_strings(labels),
            label_keys=label_keys,
        )


def _fold(names: Sequence[str]) -> Tuple[StringTable, RaggedRows]:
    """The keys of the names that differ from them, sorted, and for each the rows of its names."""
    keyed: Dict[str, List[int]] = {}
    for row, name in enumerate(names):
        key = fold_name(name)
        if key != name:
            keyed.setdefault(key, []).append(row)
    keys = sorted(keyed)
    which = numpy.repeat(numpy.arange(len(keys)), [len(keyed[key]) for key in keys])
    rows = numpy.asarray([row for key in keys for row in keyed[key]], dtype="int64")
    return StringTable.from_strings(keys), RaggedRows.from_pairs(which, rows, len(keys))


def _types(concepts: Sequence[Concept]) -> Tuple[StringTable, RaggedRows]:
    """The distinct types, sorted, and for each concept the rows of its types."""
    types = sorted({kind for concept in concepts for kind in concept.types})
    rows = {kind: row for row, kind in enumerate(types)}
    pairs = [(i, rows[kind]) for i, concept in enumerate(concepts) for kind in concept.types]
    table = numpy.asarray(pairs, dtype="int64").reshape((-1, 2))
    return (
        StringTable.from_strings(types),
        RaggedRows.from_pairs(table[:, 0], table[:, 1], len(concepts)),
    )


def _parents(concepts: Sequence[Concept], rows: Mapping[str, int]) -> RaggedRows:
    """rows: of concepts by their ids and other ids."""
    found = [(i, rows.get(parent, -1)) for i, c in enumerate(concepts) for parent in c.parents]
    table = numpy.asarray(found, dtype="int64").reshape((-1, 2))
    table = table[table[:, 1] >= 0]
    return RaggedRows.from_pairs(table[:, 0], table[:, 1], len(concepts))


def _known_labels(
    concepts: Sequence[Concept], rows: Mapping[str, int], evidence: EvidenceCounts
) -> Tuple[List[str], numpy.ndarray]:
    """Types count as entity labels if training mentions use them, or if there are no mentions."""
    types = {kind for concept in concepts for kind in concept.types}
    used = {label for _, label, _ in evidence}
    labels = sorted(used or types)
    label_rows = {label: row for row, label in enumerate(labels)}
    keys = {rows[concept] * len(labels) + label_rows[label] for _, label, concept in evidence}
    keys.update(
        row * len(labels) + label_rows[kind]
        for row, concept in enumerate(concepts)
        for kind in concept.types
        if kind in label_rows
    )
    return labels, numpy.asarray(sorted(keys), dtype="int64")


def _alt_ids(concepts: Sequence[Concept], rows: Mapping[str, int]) -> Dict[str, int]:
    """Other ids with the row of their concept, sorted; an id of several goes to the first."""
    alt: Dict[str, int] = {}
    for row, concept in enumerate(concepts):
        for other in concept.alt_ids:
            if other not in rows:
                alt.setdefault(other, row)
    return dict(sorted(alt.items()))
