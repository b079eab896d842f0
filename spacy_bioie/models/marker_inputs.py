"""The inputs of encoders that read one pair of mentions at a time.

Documents are cut into word pieces once. Markers go between two of them: before the first piece
that touches a mention, and after the last one. Of a text that is too long only a part is read,
see ``pair_windows.choose_text``; where its middle is cut out stands a separator.
"""

from abc import ABC, abstractmethod
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy
from spacy.tokens import Doc

from .candidates import PairCandidates
from .input_rows import InputRows, Padding, PiecePool, Range
from .pair_windows import PairLayout, arrange, choose_text, share
from .window_cutter import WindowCutter
from .word_pieces import Section, read_word_pieces

MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")
MIN_ROOM = 16  # pieces of text in an input; with fewer it says nothing
# Which of MARKERS stand at the four borders of a head that begins first and of its tail: where
# the tail follows the head, where it lies inside, where it begins inside and ends behind.
ORDERS = numpy.asarray([[0, 1, 2, 3], [0, 2, 3, 1], [0, 2, 1, 3]])


class PairReader(ABC):
    """What the readers of both forms have in common."""

    n_texts = 1

    def __init__(self, tokenizer: Any, max_length: int, n_positions: int):
        """Prepare the reading.

        max_length: pieces of an input; lowered to what the tokenizer and the model can take.
        n_positions: pieces that the model can take, 0 where it sets no bound.

        Raises ValueError for a tokenizer that is not fast, and for a length without room for text.
        """
        self.tokenizer = tokenizer
        self.max_length = WindowCutter(tokenizer, max_length, n_positions).window
        self.special = read_special_pieces(tokenizer, self.n_texts)

    @abstractmethod
    def read(
        self, docs: Sequence[Doc], candidates: PairCandidates, scored: numpy.ndarray
    ) -> InputRows:
        """The inputs of candidate pairs. scored: bool, (pairs, predicates)."""

    def room(self, other: int) -> int:
        """Pieces that are left for text beside special and ``other`` ones."""
        fixed = sum(len(ids) for ids in self.special.ids) + other
        if self.max_length - fixed < MIN_ROOM:
            raise ValueError(
                f"MarkerClassifier: inputs of {self.max_length} word pieces have room for "
                f"{self.max_length - fixed} pieces of text beside {fixed} others, expected room "
                f"for {MIN_ROOM}. Set 'max_length' higher, or take an encoder of longer texts."
            )
        return self.max_length - fixed

    def make_pool(self) -> Tuple[PiecePool, List[Range], Range]:
        """A pool with what stands around texts and with the separator, which may be empty."""
        pool = PiecePool()
        around = [
            pool.add(ids, types)
            for ids, types in zip(self.special.ids, self.special.types, strict=True)
        ]
        separator = self.tokenizer.sep_token_id
        return pool, around, pool.add([] if separator is None else [separator])

    def padding(self) -> Padding:
        """What fills up the rows."""
        pad = self.tokenizer.pad_token_id
        kind = self.tokenizer.pad_token_type_id if self.special.has_types else None
        return Padding(0 if pad is None else pad, kind)

    def add_documents(
        self, pool: PiecePool, docs: Sequence[Doc], candidates: PairCandidates, sentences: bool
    ) -> numpy.ndarray:
        """Put the documents that have candidate pairs into a pool.

        sentences: the context of a mention is the sentences that it touches, not the document.
        RETURNS: int64, (mentions, 4): where each mention begins and ends in the pool, and where
            its context does; zeros for mentions of documents without pairs.
        """
        places = numpy.zeros((len(candidates.mentions), 4), dtype="int64")
        of_mentions = candidates.mention_docs
        numbers = numpy.unique(of_mentions[candidates.pairs[:, 0]]).tolist()
        sections = [Section(number, 0, len(docs[number])) for number in numbers]
        read = read_word_pieces(self.tokenizer, docs, sections)
        for number, pieces in zip(numbers, read, strict=True):
            rows = of_mentions == number
            tokens = candidates.mentions[rows, :2]
            context = _contexts(docs[number], tokens, sentences)
            found = [pieces.touching(tokens), pieces.touching(context)]
            places[rows] = pool.add(pieces.ids).start + numpy.concatenate(found, axis=1)
        return places


class MarkerReader(PairReader):
    """The text, with a marker before and after the head and the tail: one input for each pair.

    The vectors of the markers before the head and before the tail are read.
    """

    def __init__(self, tokenizer: Any, max_length: int, n_positions: int):
        super().__init__(tokenizer, max_length, n_positions)
        self.text_room = self.room(len(MARKERS))

    def read(
        self, docs: Sequence[Doc], candidates: PairCandidates, scored: numpy.ndarray
    ) -> InputRows:
        pool, (prefix, suffix), separator = self.make_pool()
        markers = pool.add(self.tokenizer.convert_tokens_to_ids(list(MARKERS)))
        places = self.add_documents(pool, docs, candidates, sentences=False)
        heads, tails = places[candidates.pairs[:, 0]], places[candidates.pairs[:, 1]]
        layout = arrange(heads[:, :2], tails[:, :2])
        kind = self.special.text_kinds[0]
        room = numpy.full(len(heads), self.text_room)
        before, first, *gap, third, after = _text(layout, heads, tails, room, separator, kind)
        order = ORDERS[numpy.where(layout.apart, 0, numpy.where(layout.nested, 1, 2))]
        order = numpy.where(layout.swapped[:, None], (order + 2) % 4, order)
        marks = [Range(markers.start + order[:, i], 1, kind) for i in range(4)]
        ranges = [prefix, before, marks[0], first, marks[1], *gap, marks[2], third, marks[3]]
        ranges += [after, suffix]
        # the ranges of [E1] and [E2]
        read = numpy.asarray([2, 4, 8, 10])[numpy.argsort(order, axis=1)[:, [0, 2]]]
        return InputRows(pool, ranges, read, self.padding())


class CrossEncoderReader(PairReader):
    """Head, predicate and tail as one text, their context as another: one input for each pair and
    predicate, in the order of ``numpy.nonzero(scored)``.

    The context goes from the sentence of the first mention to that of the second; where sentences
    are unknown it is the document. Head and tail take up no more than half of an input before it.
    The vector of the first piece is read.
    """

    n_texts = 2

    def __init__(
        self, tokenizer: Any, max_length: int, n_positions: int, predicates: Sequence[str]
    ):
        super().__init__(tokenizer, max_length, n_positions)
        self.predicates = [_read_words(tokenizer, name) for name in predicates]
        self.text_room = [self.room(len(ids)) for ids in self.predicates]

    def read(
        self, docs: Sequence[Doc], candidates: PairCandidates, scored: numpy.ndarray
    ) -> InputRows:
        pool, (prefix, middle, suffix), separator = self.make_pool()
        words = [pool.add(ids) for ids in self.predicates]
        starts, counts = numpy.asarray([(w.start, w.count) for w in words]).T
        places = self.add_documents(pool, docs, candidates, sentences=True)
        rows, predicates = numpy.nonzero(scored)
        heads, tails = places[candidates.pairs[rows, 0]], places[candidates.pairs[rows, 1]]
        layout = arrange(heads[:, :2], tails[:, :2])
        room = numpy.asarray(self.text_room)[predicates]
        lengths = numpy.stack([heads[:, 1] - heads[:, 0], tails[:, 1] - tails[:, 0]], axis=1)
        named = share(room // 2, lengths)
        named_kind, kind = self.special.text_kinds
        ranges = [
            prefix,
            Range(heads[:, 0], named[:, 0], named_kind),
            Range(starts[predicates], counts[predicates], named_kind),
            Range(tails[:, 0], named[:, 1], named_kind),
            middle,
            *_text(layout, heads, tails, room - named.sum(axis=1), separator, kind),
            suffix,
        ]
        read = numpy.zeros((len(rows), 1), dtype="int64")
        return InputRows(pool, ranges, read, self.padding())


class SpecialPieces(NamedTuple):
    """What a tokenizer puts before, between and after texts: ids and token types of each, the
    token type of each text, and whether there are token types at all (else all are 0)."""

    ids: List[List[int]]
    types: List[List[int]]
    text_kinds: List[int]
    has_types: bool


def read_special_pieces(tokenizer: Any, n_texts: int) -> SpecialPieces:
    """Read off an example what a tokenizer puts around one or two texts."""
    probe = tokenizer(*["a"] * n_texts)
    ids = list(probe["input_ids"])
    types = list(probe.get("token_type_ids", [0] * len(ids)))
    numbers = probe.sequence_ids(0)  # of the text of each piece, None for special ones
    edges = [0]
    for text in range(n_texts):
        pieces = [i for i, number in enumerate(numbers) if number == text]
        edges += [pieces[0], pieces[-1] + 1]
    edges.append(len(ids))
    around = list(zip(edges[::2], edges[1::2], strict=True))
    return SpecialPieces(
        ids=[ids[begin:end] for begin, end in around],
        types=[types[begin:end] for begin, end in around],
        text_kinds=[types[begin] for begin in edges[1:-1:2]],
        has_types="token_type_ids" in probe,
    )


def _text(
    layout: PairLayout,
    heads: numpy.ndarray,
    tails: numpy.ndarray,
    room: numpy.ndarray,
    separator: Range,
    kind: int,
) -> List[Range]:
    """The text around two mentions in seven ranges, of which the third to fifth, with the
    separator, lie between the second and third border of the mentions.

    heads, tails: int64, (rows, 4), see ``add_documents``. room: int64, (rows,).
    """
    begin = numpy.minimum(heads[:, 2], tails[:, 2])
    end = numpy.maximum(heads[:, 3], tails[:, 3])
    kept = choose_text(layout, begin, end, room)
    borders = layout.borders
    return [
        Range(borders[:, 0] - kept.before, kept.before, kind),
        Range(borders[:, 0], kept.first, kind),
        Range(borders[:, 1], kept.gap_begin, kind),
        Range(separator.start, kept.cut * separator.count, kind),
        Range(borders[:, 2] - kept.gap_end, kept.gap_end, kind),
        Range(borders[:, 2], kept.third, kind),
        Range(borders[:, 3], kept.after, kind),
    ]


def _read_words(tokenizer: Any, words: str) -> List[int]:
    """The pieces of words inside of a text."""
    return list(tokenizer(f" {words}", add_special_tokens=False)["input_ids"])


def _contexts(doc: Doc, tokens: numpy.ndarray, sentences: bool) -> numpy.ndarray:
    """The sentences that ranges of tokens touch, or the document: int64, (n, 2), in tokens."""
    borders = numpy.asarray([0, len(doc)])
    if sentences and doc.has_annotation("SENT_START"):
        inner = numpy.flatnonzero(doc.to_array("SENT_START") == 1)
        borders = numpy.unique(numpy.concatenate([borders, inner]))
    first = numpy.searchsorted(borders, tokens[:, 0], side="right") - 1
    last = numpy.searchsorted(borders, tokens[:, 1], side="left")
    return numpy.stack([borders[first], borders[last]], axis=1)
