"""Candidate pairs: the ordered pairs of mentions of a document for which a relation is legal."""

from dataclasses import dataclass, replace
from typing import List, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc

from ..annotation import MentionTable
from .relation_schema import RelationSchema


@dataclass(frozen=True)
class PairCandidates:
    """The candidate pairs of a batch, with the mentions that they are made of.

    mentions: int64, (mentions, 3): token start, token end (exclusive) and label index of all
        mentions of the batch, document by document, with token indices of their own document.
    doc_mentions: int64, (documents,): how many of them belong to each document.
    pairs: int64, (pairs, 2): rows of ``mentions``, head and tail, sorted; so the pairs of one
        document stand together.
    legal: bool, (labels, labels, predicates): the legal triples.
    entities: int64, (mentions,): the entity of each mention, for models that read the mentions of
        one concept together; counted over the batch, ascending from document to document.
    predicates: the names of the predicates, for models that read them.
    """

    mentions: numpy.ndarray
    doc_mentions: numpy.ndarray
    pairs: numpy.ndarray
    legal: numpy.ndarray
    entities: numpy.ndarray
    predicates: Tuple[str, ...] = ()

    @property
    def n_labels(self) -> int:
        return self.legal.shape[0]

    @property
    def n_predicates(self) -> int:
        return self.legal.shape[2]

    @property
    def mention_docs(self) -> numpy.ndarray:
        """The document of each mention: int64, (mentions,)."""
        return numpy.repeat(numpy.arange(len(self.doc_mentions)), self.doc_mentions)

    @property
    def mention_starts(self) -> numpy.ndarray:
        """The row of each document's first mention: int64, (documents,)."""
        return numpy.cumsum(self.doc_mentions) - self.doc_mentions

    def pair_legal(self) -> numpy.ndarray:
        """Which predicates are legal for each pair: bool, (pairs, predicates)."""
        return self.pair_values(self.legal)

    def pair_values(self, table: numpy.ndarray) -> numpy.ndarray:
        """The entry of each pair's labels in a table, (labels, labels, n): (pairs, n)."""
        labels = self.mentions[:, 2]
        return table[labels[self.pairs[:, 0]], labels[self.pairs[:, 1]]]

    def within(self, borders: numpy.ndarray, distance: int) -> "PairCandidates":
        """Only pairs with no more than so many characters between their mentions.

        borders: int64, (mentions, 2): first character and last + 1 of each mention.
        """
        heads, tails = borders[self.pairs[:, 0]], borders[self.pairs[:, 1]]
        starts, ends = (
            numpy.maximum(heads[:, 0], tails[:, 0]),
            numpy.minimum(heads[:, 1], tails[:, 1]),
        )
        return replace(self, pairs=self.pairs[starts - ends <= distance])

    def entity_pairs(self) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """The pairs of entities that the pairs of mentions stand for.

        RETURNS: head and tail entity, int64, (entity pairs, 2), sorted and without repetition;
            and the row in there of each pair of mentions, int64, (pairs,).
        """
        n = max(len(self.mentions), 1)
        heads, tails = self.entities[self.pairs].T
        keys, rows = numpy.unique(heads * n + tails, return_inverse=True)
        return numpy.stack([keys // n, keys % n], axis=1), rows.reshape(-1)

    def find(self, heads: numpy.ndarray, tails: numpy.ndarray) -> numpy.ndarray:
        """The rows of ``pairs`` that hold these heads and tails; -1 where none does.

        heads, tails: int64, (n,): rows of ``mentions``. RETURNS: int64, (n,).
        """
        if not len(self.pairs):
            return numpy.full(len(heads), -1, dtype="int64")
        n = len(self.mentions)
        keys = self.pairs[:, 0] * n + self.pairs[:, 1]
        wanted = numpy.asarray(heads, dtype="int64") * n + numpy.asarray(tails, dtype="int64")
        rows = numpy.minimum(numpy.searchsorted(keys, wanted), len(keys) - 1)
        return numpy.where(keys[rows] == wanted, rows, -1)


PairInput = Tuple[List[Doc], PairCandidates]


def pair_candidates(
    tables: Sequence[MentionTable],
    schema: RelationSchema,
    entities: Optional[Sequence[numpy.ndarray]] = None,
) -> PairCandidates:
    """Find the candidate pairs of a batch: the legal ordered pairs of mentions of one document.

    They may lie at any distance, nest, or have equal borders; no mention is paired with itself.
    Mentions with an unknown label (a negative index) are in no pair.

    tables: the mentions of each document.
    entities: for each document int64, (mentions,), with equal numbers for mentions of one entity,
        see ``annotation.mention_entities``; without it each mention is an entity of its own.

    Raises ValueError where ``entities`` does not fit the mentions.
    """
    counts = numpy.asarray([len(table) for table in tables], dtype="int64")
    columns = [numpy.zeros((0, 3), dtype="int64"), *tables]
    mentions = numpy.concatenate(columns).astype("int64", copy=False)
    # an unknown label has the index -1: the last row and column of this table, which are False
    related = numpy.pad(schema.legal.any(axis=2), (0, 1))
    found = [numpy.zeros((0, 2), dtype="int64")]
    for table, first in zip(tables, numpy.cumsum(counts) - counts, strict=True):
        labels = table[:, 2]
        legal = related[labels[:, None], labels[None, :]]
        numpy.fill_diagonal(legal, False)
        found.append(numpy.argwhere(legal) + first)
    pairs = numpy.concatenate(found)
    numbers = _number_entities(counts, entities)
    return PairCandidates(mentions, counts, pairs, schema.legal, numbers, schema.predicates)


def _number_entities(
    counts: numpy.ndarray, entities: Optional[Sequence[numpy.ndarray]]
) -> numpy.ndarray:
    """Count the entities of documents, in the order of their own numbers, over the batch."""
    if entities is None:
        return numpy.arange(counts.sum(), dtype="int64")
    if [len(own) for own in entities] != counts.tolist():
        raise ValueError(
            f"Candidate pairs: the documents have {counts.tolist()} mentions, but entities of "
            f"{[len(own) for own in entities]}. Expected one number for each mention."
        )
    numbers = [numpy.zeros(0, dtype="int64")]
    before = 0
    for own in entities:
        distinct, rows = numpy.unique(own, return_inverse=True)
        numbers.append(rows.reshape(-1).astype("int64") + before)
        before += len(distinct)
    return numpy.concatenate(numbers)
