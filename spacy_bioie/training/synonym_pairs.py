"""Names of concepts, and pairs of synonyms to train on."""

import random
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy

MOST_HELD_OUT = 1000


class Names(NamedTuple):
    """The names of a knowledge base.

    texts: distinct names. concepts: for each concept with a name the indices of its names, int64;
    two that differ in case alone are one.
    """

    texts: List[str]
    concepts: List[numpy.ndarray]


class Split(NamedTuple):
    """pairs: int64, (pairs, 3): concept and two of its names. held_out: other concepts."""

    pairs: numpy.ndarray
    held_out: List[int]


def make_names(concepts: Iterable[Sequence[str]]) -> Names:
    """Collect the names of each concept. Raises ValueError where no concept has two."""
    known: Dict[str, int] = {}
    rows = []
    for names in concepts:
        distinct: Dict[str, str] = {}
        for name in names:
            distinct.setdefault(name.casefold(), name)
        own = [known.setdefault(name, len(known)) for name in distinct.values()]
        if own:
            rows.append(numpy.asarray(own, dtype="int64"))
    if not any(len(row) > 1 for row in rows):
        raise ValueError("No concept has two different names: there is nothing to align.")
    return Names(list(known), rows)


def split_pairs(names: Names, max_pairs: int, held_out: float, seed: int) -> Split:
    """Hold out some of the concepts with synonyms, and draw pairs of names of the others."""
    draw = random.Random(seed)
    several = [i for i, own in enumerate(names.concepts) if len(own) > 1]
    n_held = min(round(held_out * len(several)), MOST_HELD_OUT)
    apart = set(draw.sample(several, n_held))
    pairs = []
    for concept in several:
        if concept in apart:
            continue
        own = names.concepts[concept]
        first, second = numpy.triu_indices(len(own), k=1)
        if len(first) > max_pairs:
            drawn = numpy.asarray(draw.sample(range(len(first)), max_pairs))
            first, second = first[drawn], second[drawn]
        pairs.append(
            numpy.stack([numpy.full(len(first), concept), own[first], own[second]], axis=1)
        )
    return Split(numpy.concatenate(pairs), sorted(apart))


class Kinship:
    """Which names of a batch belong together, and which lie apart."""

    def __init__(self, names: Names):
        owners: Dict[int, List[int]] = {}
        for concept, own in enumerate(names.concepts):
            for name in own:
                owners.setdefault(int(name), []).append(concept)
        self.owners = owners

    def masks(
        self, rows: numpy.ndarray, concepts: numpy.ndarray
    ) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """Positives and negatives, bool, (names, names).

        Names that share a concept, but not the one that they were drawn for, are neither.
        """
        same = concepts[:, None] == concepts[None, :]
        members: Dict[int, List[int]] = {}
        for i, row in enumerate(rows):
            for concept in self.owners[int(row)]:
                members.setdefault(concept, []).append(i)
        apart = numpy.ones(same.shape, dtype=bool)
        for together in members.values():
            apart[numpy.ix_(together, together)] = False
        numpy.fill_diagonal(same, False)
        return same, apart
