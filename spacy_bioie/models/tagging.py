"""Spans as tags of words, and back: vectorised, in numpy.

Tags live in an array of shape (words, chains); ``tag_schemes`` says how they are numbered. Each
chain tags the words over its own ``n`` labels: label ``l`` of the component is label ``l % n`` of
chain ``l // n``. With one chain over all labels spans never overlap; with a chain for each label
spans of different labels may.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import List, NamedTuple, Sequence, Tuple

import numpy
from spacy.attrs import IS_SPACE, ORTH
from spacy.strings import get_string_id
from spacy.tokens import Doc

from ..annotation import MentionTable, section_token_ranges
from .tag_schemes import BEGIN, END, INSIDE, N_ROLES, SINGLE, Scheme, goes_on, label_of

SENTENCE_ENDS = [get_string_id(text) for text in (".", "?", "!", ";")]


class TaggedSpans(NamedTuple):
    """Spans over words, int64 arrays of shape (spans,): ``first`` and ``last`` (exclusive) word of
    the batch, chain, and label within the chain."""

    first: numpy.ndarray
    last: numpy.ndarray
    chain: numpy.ndarray
    label: numpy.ndarray


class TagCounts(NamedTuple):
    """How often tags occur, int64: ``tags`` at all and ``starts`` at the start of a sequence,
    (chains, tags); ``transitions`` from one tag to the next, (chains, tags, tags)."""

    tags: numpy.ndarray
    starts: numpy.ndarray
    transitions: numpy.ndarray


@dataclass(frozen=True)
class WordSequences:
    """The words of a batch of documents, cut into the sequences that are tagged.

    Words are the tokens that are not white space, so that no span begins or ends on white space,
    and one that runs across it stays whole. Sequences lie one after the other.

    token_rows: int64, shape (words,): each word's row among all tokens of the batch.
    lengths: int64, shape (sequences,): words of each sequence, at least one.
    doc_lengths: int64, shape (docs,): tokens of each document.
    """

    token_rows: numpy.ndarray
    lengths: numpy.ndarray
    doc_lengths: numpy.ndarray

    @cached_property
    def doc_starts(self) -> numpy.ndarray:
        """Row of each document's first token, shape (docs,)."""
        return numpy.cumsum(self.doc_lengths) - self.doc_lengths

    @cached_property
    def sequence_of_word(self) -> numpy.ndarray:
        """Sequence of each word, shape (words,)."""
        return numpy.repeat(numpy.arange(len(self.lengths)), self.lengths)

    @cached_property
    def doc_of_word(self) -> numpy.ndarray:
        """Document of each word, shape (words,)."""
        return numpy.repeat(numpy.arange(len(self.doc_lengths)), self.doc_lengths)[self.token_rows]

    @cached_property
    def begins_sequence(self) -> numpy.ndarray:
        """Whether a word is the first of its sequence, bool of shape (words,)."""
        begins = numpy.zeros(len(self.token_rows), dtype=bool)
        begins[numpy.cumsum(self.lengths) - self.lengths] = True
        return begins

    @cached_property
    def words_before(self) -> numpy.ndarray:
        """Number of words before each token of the batch, shape (tokens + 1,)."""
        is_word = numpy.zeros(int(self.doc_lengths.sum()), dtype="int64")
        is_word[self.token_rows] = 1
        return numpy.concatenate([[0], numpy.cumsum(is_word)])


def word_sequences(docs: Sequence[Doc], max_length: int) -> WordSequences:
    """Cut documents into sequences: each section is one, so that no span leaves its section.

    A section of more than ``max_length`` words is cut after the last mark that ends a sentence in
    the second half of the words that still fit, or after ``max_length`` words where there is none.
    """
    rows: List[numpy.ndarray] = []
    lengths: List[int] = []
    offset = 0
    for doc in docs:
        words = numpy.flatnonzero(doc.to_array([IS_SPACE]) == 0) if len(doc) else _no_rows()
        for start, end in section_token_ranges(doc):
            lo, hi = numpy.searchsorted(words, [start, end])
            if hi - lo > max_length:
                ends = numpy.isin(doc.to_array([ORTH])[words[lo:hi]], SENTENCE_ENDS)
                lengths.extend(_cut(ends, max_length))
            elif hi > lo:
                lengths.append(int(hi - lo))
        rows.append(words + offset)
        offset += len(doc)
    return WordSequences(
        token_rows=numpy.concatenate(rows) if rows else _no_rows(),
        lengths=numpy.asarray(lengths, dtype="int64"),
        doc_lengths=numpy.asarray([len(doc) for doc in docs], dtype="int64"),
    )


def encode_spans(
    words: WordSequences,
    gold: Sequence[MentionTable],
    n_labels: int,
    n_chains: int,
    scheme: Scheme = "BIO",
) -> Tuple[numpy.ndarray, List[numpy.ndarray]]:
    """Turn mentions into tags.

    gold: one mention table for each document, with label indices of 0 and above.
    RETURNS: tags, int64 of shape (words, chains), and for each document a bool array of shape
        (mentions,): False for a mention that no tag stands for. That is one without a word, one
        across two sequences, and one that overlaps a longer mention of its chain, or an earlier
        one of the same length. Exact repetitions of a mention that is kept count as kept.
    Raises ValueError where the documents of ``words`` and ``gold`` differ in number, and where a
    mention ends behind its document.
    """
    if len(gold) != len(words.doc_lengths):
        raise ValueError(
            f"Mentions of {len(gold)} documents for {len(words.doc_lengths)} documents of words."
        )
    n_words = len(words.token_rows)
    counts = [len(table) for table in gold]
    table = numpy.concatenate([numpy.zeros((0, 3), dtype="int64"), *gold])
    doc = numpy.repeat(numpy.arange(len(gold)), counts)
    outside = (table[:, 1] > words.doc_lengths[doc]) | (table[:, 0] < 0)
    if outside.any():
        row = int(numpy.flatnonzero(outside)[0])
        raise ValueError(
            f"Document {int(doc[row])} of the batch: a mention covers tokens {table[row, 0]} to "
            f"{table[row, 1]}, but it has {int(words.doc_lengths[doc[row]])} tokens."
        )
    unique, original = numpy.unique(numpy.column_stack([doc, table]), axis=0, return_inverse=True)
    doc, starts, ends, labels = unique.T
    first = words.words_before[words.doc_starts[doc] + starts]
    last = words.words_before[words.doc_starts[doc] + ends]
    fits = last > first
    if n_words:
        sequence = words.sequence_of_word
        fits[fits] = sequence[first[fits]] == sequence[last[fits] - 1]
    first, last, labels = first[fits], last[fits], labels[fits]
    per_chain = n_labels // n_chains
    chain, label = labels // per_chain, labels % per_chain
    shift = chain * n_words
    flat = select_flat(first + shift, last + shift, numpy.argsort(first - last, kind="stable"))
    first, last, chain = first[flat], last[flat], chain[flat]
    own = 1 + N_ROLES[scheme] * label[flat]
    tags = numpy.zeros((n_words, n_chains), dtype="int64")
    rows, owner = _expand(first, last)
    tags[rows, chain[owner]] = own[owner] + INSIDE
    if scheme == "BIOES":
        tags[last - 1, chain] = own + END
    tags[first, chain] = own + BEGIN
    if scheme == "BIOES":
        single = last - first == 1
        tags[first[single], chain[single]] = own[single] + SINGLE
    fits[fits] = flat
    kept = fits[original.reshape(-1)]
    return tags, numpy.split(kept, numpy.cumsum(counts)[:-1]) if counts else []


def label_weights_of_tags(
    tags: numpy.ndarray, label_weights: numpy.ndarray, scheme: Scheme = "BIO"
) -> numpy.ndarray:
    """The weight of each tag's label, 1 for O; of the shape of the tags, (words, chains).

    label_weights: float, (labels,).
    """
    per_chain = len(label_weights) // max(tags.shape[1], 1)
    label = label_of(tags, scheme) + per_chain * numpy.arange(tags.shape[1])
    return numpy.where(tags > 0, label_weights[label], 1.0)


def count_tags(words: WordSequences, tags: numpy.ndarray, n_tags: int) -> TagCounts:
    """Count the tags of shape (words, chains) and their steps within sequences."""
    n_chains = tags.shape[1]
    cells = tags + n_tags * numpy.arange(n_chains)
    begins = words.begins_sequence
    steps = (n_tags * cells[:-1] + tags[1:])[~begins[1:]]

    def count(values: numpy.ndarray, *shape: int) -> numpy.ndarray:
        size = int(numpy.prod(shape))
        return numpy.bincount(values.reshape(-1), minlength=size).reshape(shape)

    return TagCounts(
        tags=count(cells, n_chains, n_tags),
        starts=count(cells[begins], n_chains, n_tags),
        transitions=count(steps, n_chains, n_tags, n_tags),
    )


def decode_tags(words: WordSequences, tags: numpy.ndarray, scheme: Scheme = "BIO") -> TaggedSpans:
    """Read the spans off tags of shape (words, chains), in the order of chain and word.

    Tags that are illegal in a row still make spans, as in the CoNLL evaluation: I or E that
    continues nothing (after O, after another label, after the end of a span, at the start of a
    sequence) begins one, and what is not gone on with ends one.
    """
    tags = tags.T
    n_words = tags.shape[1]
    continues = goes_on(numpy.roll(tags, 1, axis=1), tags, scheme)
    continues[:, words.begins_sequence] = False
    chain, first = numpy.nonzero((tags > 0) & ~continues)
    # a span runs to the next cell, chains laid end to end, that does not continue it
    stops = numpy.append(numpy.flatnonzero(~continues), tags.size)
    following = numpy.searchsorted(stops, chain * n_words + first, side="right")
    last = stops[following] - chain * n_words
    return TaggedSpans(first, last, chain, label_of(tags[chain, first], scheme))


def select_flat(
    starts: numpy.ndarray, ends: numpy.ndarray, ranking: numpy.ndarray
) -> numpy.ndarray:
    """Choose spans that do not overlap: going down the ranking, each that is still free.

    starts, ends: int64, shape (spans,): ranges of at least one position, ``ends`` exclusive.
    ranking: int64, shape (spans,): indices of the spans, best first.
    RETURNS: bool, shape (spans,).
    """
    chosen = numpy.zeros(len(starts), dtype=bool)
    if not len(starts):
        return chosen
    taken = numpy.zeros(int(ends.max()), dtype=bool)
    best = numpy.empty(len(taken), dtype="int64")
    remaining = ranking[::-1]  # worst first, so that a larger index is a better span
    while len(remaining):
        # Every span that is the best on all its positions is chosen, and bars what touches it.
        # The rounds end: the best of all remaining spans is always chosen.
        cells, owner = _expand(starts[remaining], ends[remaining])
        best[cells] = -1
        numpy.maximum.at(best, cells, owner)
        wins = _all_of(best[cells] == owner, owner, len(remaining))
        chosen[remaining[wins]] = True
        taken[cells[wins[owner]]] = True
        remaining = remaining[_all_of(~taken[cells], owner, len(remaining))]
    return chosen


def _all_of(values: numpy.ndarray, owner: numpy.ndarray, n: int) -> numpy.ndarray:
    return numpy.bincount(owner, weights=~values, minlength=n) == 0


def _expand(starts: numpy.ndarray, ends: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """All positions of all ranges, and the range that each belongs to."""
    lengths = ends - starts
    owner = numpy.repeat(numpy.arange(len(starts)), lengths)
    within = numpy.arange(len(owner)) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)
    return starts[owner] + within, owner


def _cut(ends_sentence: numpy.ndarray, max_length: int) -> List[int]:
    candidates = numpy.flatnonzero(ends_sentence) + 1
    lengths: List[int] = []
    start, n = 0, len(ends_sentence)
    while n - start > max_length:
        i = int(numpy.searchsorted(candidates, start + max_length, side="right")) - 1
        border = int(candidates[i]) if i >= 0 else 0
        if border <= start + max_length // 2:
            border = start + max_length
        lengths.append(border - start)
        start = border
    return [*lengths, n - start]


def _no_rows() -> numpy.ndarray:
    return numpy.zeros((0,), dtype="int64")
