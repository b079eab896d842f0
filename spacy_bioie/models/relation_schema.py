"""Which relations are legal: a predicate between a head and a tail of certain labels, as data."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Sequence, Set, Tuple, Union

import numpy
from spacy.training import Example

from ..annotation import SPANS_KEY, get_mentions, get_relation_rows, relations_key

Triple = Tuple[str, str, str]  # head label, predicate, tail label


class RelationSchema:
    """The legal (head label, predicate, tail label) triples of a corpus.

    labels, predicates: in the order in which a model numbers them.
    triples: the legal ones, without repetition.
    """

    def __init__(
        self,
        triples: Iterable[Sequence[str]],
        *,
        labels: Optional[Iterable[str]] = None,
        predicates: Optional[Iterable[str]] = None,
        source: str = "relation schema",
    ) -> None:
        """Create a schema.

        labels, predicates: all that are known, also those of no triple; without them, those of
            the triples, sorted.
        source: named in errors.

        Raises ValueError for a triple that is none, that is given twice, or that holds a label or
        a predicate which is not among those given; and where there is no triple.
        """
        self.triples: Tuple[Triple, ...] = tuple(
            _check_triple(triple, f"{source}: triple {i}") for i, triple in enumerate(triples)
        )
        if not self.triples:
            raise ValueError(
                f"{source}: no triples. Expected at least one [head label, predicate, tail label]."
            )
        if len(set(self.triples)) < len(self.triples):
            twice = next(t for t in self.triples if self.triples.count(t) > 1)
            raise ValueError(f"{source}: the triple {list(twice)} is given twice.")
        used = {label for head, _, tail in self.triples for label in (head, tail)}
        self.labels = _names(labels, used, f"{source}: labels")
        used = {predicate for _, predicate, _ in self.triples}
        self.predicates = _names(predicates, used, f"{source}: predicates")

    @cached_property
    def legal(self) -> numpy.ndarray:
        """Which triples are legal: bool, (labels of the head, labels of the tail, predicates)."""
        table = numpy.zeros((len(self.labels), len(self.labels), len(self.predicates)), dtype=bool)
        label = {name: i for i, name in enumerate(self.labels)}
        predicate = {name: i for i, name in enumerate(self.predicates)}
        for h, p, t in self.triples:
            table[label[h], label[t], predicate[p]] = True
        return table

    @cached_property
    def _known(self) -> FrozenSet[Triple]:
        return frozenset(self.triples)

    def __contains__(self, triple: object) -> bool:
        return triple in self._known

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelationSchema) and self.to_data() == other.to_data()

    def __hash__(self) -> int:
        return hash((self.labels, self.predicates, self.triples))

    def __repr__(self) -> str:
        return (
            f"RelationSchema({len(self.triples)} triples, {len(self.labels)} labels, "
            f"{len(self.predicates)} predicates)"
        )

    def to_data(self) -> Dict[str, List]:
        """The schema as plain JSON values, which ``from_data`` takes back."""
        return {
            "labels": list(self.labels),
            "predicates": list(self.predicates),
            "triples": [list(triple) for triple in self.triples],
        }

    @classmethod
    def from_data(cls, data: Any, source: str = "relation schema") -> "RelationSchema":
        """Make a schema of what ``to_data`` gives, of a list of triples, or of a schema.

        Raises ValueError where the data have another form.
        """
        if isinstance(data, RelationSchema):
            return data
        lists: Dict[str, Any] = {"triples": data}
        if isinstance(data, dict):
            if "triples" not in data:
                raise ValueError(
                    f"{source}: the key 'triples' is missing, found {sorted(data) or 'none'}. "
                    "Expected a list of [head label, predicate, tail label] under it."
                )
            lists = {name: data.get(name) for name in ("triples", "labels", "predicates")}
        for name, values in lists.items():
            if values is None and name != "triples":
                continue
            if not isinstance(values, (list, tuple)):
                content = "[head label, predicate, tail label]" if name == "triples" else "strings"
                raise ValueError(
                    f"{source}: '{name}' is {values!r:.60}, expected a list of {content}."
                )
        return cls(**lists, source=source)

    @classmethod
    def from_examples(
        cls, examples: Iterable[Example], key: str = SPANS_KEY
    ) -> Optional["RelationSchema"]:
        """Read the schema off the relations of references, over their mentions ``spans[key]``.

        RETURNS: the triples that occur, sorted, with all labels of the mentions; None where there
            is no relation.
        """
        triples: Set[Triple] = set()
        labels: Set[str] = set()
        for eg in examples:
            mentions = get_mentions(eg.reference, key)
            labels.update(mention.label for mention in mentions)
            label_of = {mention.id: mention.label for mention in mentions}
            if relations_key(eg.reference) == key:
                for head, predicate, tail, _ in get_relation_rows(eg.reference):
                    if head in label_of and tail in label_of:
                        triples.add((label_of[head], predicate, label_of[tail]))
        return cls(sorted(triples), labels=sorted(labels)) if triples else None


def load_relation_schema(path: Union[str, Path]) -> RelationSchema:
    """Read a schema from JSON: ``spacy_bioie.RelationSchema.v1`` of the registry ``misc``.

    path: an object with "triples", a list of [head label, predicate, tail label], and optionally
        "labels" and "predicates", lists of all that are known; or the list of triples alone.

    Raises ValueError, which names the file, where it is absent or has another form.
    """
    try:
        with Path(path).open(encoding="utf8") as file:
            data = json.load(file)
    except OSError as error:
        raise ValueError(f"Relation schema '{path}' cannot be read: {error.strerror}.") from error
    except ValueError as error:  # JSON and UTF-8 errors
        raise ValueError(f"Relation schema '{path}' is no JSON: {error}") from error
    return RelationSchema.from_data(data, f"Relation schema '{path}'")


def _check_triple(triple: Any, where: str) -> Triple:
    if (
        not isinstance(triple, (list, tuple))
        or len(triple) != 3
        or not all(isinstance(name, str) and name for name in triple)
    ):
        raise ValueError(
            f"{where} is {triple!r}, expected [head label, predicate, tail label] as three strings "
            "that are not empty."
        )
    head, predicate, tail = triple
    return head, predicate, tail


def _names(given: Optional[Iterable[str]], used: Iterable[str], where: str) -> Tuple[str, ...]:
    if given is None:
        return tuple(sorted(used))
    names = tuple(given)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{where} are {list(names)}, expected distinct strings, none empty.")
    unknown = sorted(set(used) - set(names))
    if unknown:
        raise ValueError(f"{where}: the triples use {unknown}, which are not among {list(names)}.")
    return names
