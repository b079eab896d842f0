"""The inputs of an encoder that reads one mention at a time, with the text around it.

An input is ``[CLS] before [SEP] mention [SEP] after [SEP]``, in the pieces of the encoder's own
tokenizer. Documents are cut into word pieces once.
"""

from typing import Any, Sequence

import numpy
from spacy.tokens import Doc

from ..annotation import MentionTable
from ..annotation.mentions import token_borders
from .input_rows import InputRows, Padding, PiecePool, Range
from .marker_inputs import MIN_ROOM, read_special_pieces
from .pair_windows import share
from .window_cutter import WindowCutter
from .word_pieces import Section, read_word_pieces

# For each pooling two of the ranges of an input, see ``MentionReader.read``: from the first piece
# of one to that of the other
POOLINGS = {"cls": (0, 1), "mention": (3, 4), "mean": (0, 7)}


class MentionReader:
    """Reads mentions with whole tokens of the text around them.

    Of an input that is too long, the mention takes half at most, where the rest is needed for the
    text before and after it: in equal parts, nearest first.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        n_positions: int,
        context_characters: int,
        pooling: str,
    ):
        """Prepare the reading.

        max_length: pieces of an input; lowered to what the tokenizer and the model can take.
        n_positions: pieces that the model can take, 0 where it sets no bound.
        context_characters: characters on each side of a mention, less those of a token that
            begins before them or ends behind them.
        pooling: one of ``POOLINGS``.

        Raises ValueError for a tokenizer that is not fast or has no separator, and for a length
        without room for text.
        """
        if tokenizer.sep_token_id is None:
            raise ValueError(
                "ContextualMentionEncoder: the tokenizer has no separator, which divides a mention "
                "from the text around it. Expected one with a sep_token."
            )
        self.tokenizer = tokenizer
        self.max_length = WindowCutter(tokenizer, max_length, n_positions).window
        self.special = read_special_pieces(tokenizer, 1)
        self.context_characters = context_characters
        self.pooling = pooling
        self.room = self.max_length - sum(len(ids) for ids in self.special.ids) - 2
        if self.room < MIN_ROOM:
            raise ValueError(
                f"ContextualMentionEncoder: inputs of {self.max_length} word pieces have room for "
                f"{self.room} pieces of text, expected room for {MIN_ROOM}. Set 'max_length' "
                "higher, or take an encoder of longer texts."
            )

    def read(self, docs: Sequence[Doc], tables: Sequence[MentionTable]) -> InputRows:
        """One input for each mention, those of the first document first.

        ``InputRows.read`` says which pieces are pooled: int64, (mentions, 2), begin and end.
        """
        pool = PiecePool()
        prefix, suffix = (
            pool.add(ids, types)
            for ids, types in zip(self.special.ids, self.special.types, strict=True)
        )
        separator = pool.add([self.tokenizer.sep_token_id])
        numbers = [number for number, table in enumerate(tables) if len(table)]
        sections = [Section(number, 0, len(docs[number])) for number in numbers]
        found = [numpy.zeros((0, 4), dtype="int64")]
        for number, pieces in zip(
            numbers, read_word_pieces(self.tokenizer, docs, sections), strict=True
        ):
            mentions = tables[number][:, :2]
            around = self._around(docs[number], mentions)
            places = [pieces.touching(mentions), pieces.touching(around)]
            found.append(pool.add(pieces.ids).start + numpy.concatenate(places, axis=1))
        begin, end, first, last = numpy.concatenate(found).T
        room = numpy.full(len(begin), self.room)
        sides = numpy.stack([begin - first, last - end], axis=1).clip(0)
        named = numpy.minimum(end - begin, numpy.maximum(room // 2, room - sides.sum(axis=1)))
        before, after = share(room - named, sides).T
        kind = self.special.text_kinds[0]
        mark = Range(separator.start, separator.count, kind)
        ranges = [
            prefix,
            Range(begin - before, before, kind),
            mark,
            Range(begin, named, kind),
            mark,
            Range(end, after, kind),
            suffix,
            Range(0, 0),
        ]
        read = numpy.tile(numpy.asarray(POOLINGS[self.pooling]), (len(begin), 1))
        pad = self.tokenizer.pad_token_id
        types = self.tokenizer.pad_token_type_id if self.special.has_types else None
        return InputRows(pool, ranges, read, Padding(0 if pad is None else pad, types))

    def _around(self, doc: Doc, mentions: numpy.ndarray) -> numpy.ndarray:
        """Mentions with the whole tokens around them: int64, (n, 2), from int64, (n, 2)."""
        starts, ends = token_borders(doc)
        first = starts[mentions[:, 0]] - self.context_characters
        last = ends[mentions[:, 1] - 1] + self.context_characters
        around = (
            numpy.searchsorted(starts, first, side="left"),
            numpy.searchsorted(ends, last, side="right"),
        )
        return numpy.stack(around, axis=1)
