"""Candidate pairs: the ordered pairs of mentions of a document for which a relation is legal."""

from dataclasses import dataclass
from typing import Sequence

import numpy

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
    """

    mentions: numpy.ndarray
    doc_mentions: numpy.ndarray
    pairs: numpy.ndarray
    legal: numpy.ndarray

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
        labels = self.mentions[:, 2]
        return self.legal[labels[self.pairs[:, 0]], labels[self.pairs[:, 1]]]

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


def pair_candidates(tables: Sequence[MentionTable], schema: RelationSchema) -> PairCandidates:
    """Find the candidate pairs of a batch: the legal ordered pairs of mentions of one document.

    They may lie at any distance, nest, or have equal borders; no mention is paired with itself.
    Mentions with an unknown label (a negative index) are in no pair.

    tables: the mentions of each document.
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
    return PairCandidates(mentions, counts, numpy.concatenate(found), schema.legal)
