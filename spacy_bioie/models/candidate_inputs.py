"""The inputs of a cross-encoder over candidates: a mention in its context beside a concept.

An input is ``[CLS] before [M] mention [/M] after [SEP] name ; types [SEP]``, in the pieces of the
encoder's own tokenizer. Documents and concepts are cut into word pieces once for a batch.
"""

from typing import Any, Dict, List, Sequence

import numpy

from .candidate_reranker import CandidateRows
from .input_rows import InputRows, Padding, PiecePool, Range
from .marker_inputs import MIN_ROOM, read_special_pieces
from .pair_windows import share
from .window_cutter import WindowCutter
from .word_pieces import Section, read_word_pieces

MARKERS = ("[M]", "[/M]")
FIELDS = ("name", "synonyms", "types", "definition")


class CandidateReader:
    """Reads rows of candidates. The second text of "no link" is empty."""

    def __init__(
        self,
        tokenizer: Any,
        n_positions: int,
        context_pieces: int,
        candidate_pieces: int,
        fields: Sequence[str],
    ):
        """Prepare the reading.

        tokenizer: a fast one that knows ``MARKERS``.
        n_positions: pieces that the model can take, 0 where it sets no bound.
        context_pieces: of the text around a mention, nearest first, in equal parts before and
            after it; what one side does not need goes to the other.
        candidate_pieces: of a concept's text, and of the mention: their first ones.
        fields: some of ``FIELDS``, in the order in which they are read.

        Raises ValueError for a tokenizer that is not fast, and where an input has no room for
        the text around a mention.
        """
        self.tokenizer = tokenizer
        self.special = read_special_pieces(tokenizer, 2)
        self.fields = fields
        self.candidate_pieces = candidate_pieces
        others = sum(len(ids) for ids in self.special.ids) + len(MARKERS) + 2 * candidate_pieces
        wanted = others + context_pieces
        self.room = WindowCutter(tokenizer, wanted, n_positions).window - others
        if self.room < min(context_pieces, MIN_ROOM):
            raise ValueError(
                f"CandidateCrossEncoder: inputs of {self.room + others} word pieces have room for "
                f"{max(self.room, 0)} pieces around a mention, expected room for {MIN_ROOM}. Set "
                "'candidate_pieces' lower, or take an encoder of longer texts."
            )

    def read(self, rows: CandidateRows, chosen: numpy.ndarray) -> InputRows:
        """One input for each of the chosen rows, int64, (n,). The first piece's vector is read."""
        pool = PiecePool()
        prefix, middle, suffix = (
            pool.add(ids, types)
            for ids, types in zip(self.special.ids, self.special.types, strict=True)
        )
        markers = pool.add(self.tokenizer.convert_tokens_to_ids(list(MARKERS)))
        begin, end, first, last = self._add_mentions(pool, rows, rows.groups[chosen]).T
        start, count = self._add_concepts(pool, rows, rows.concepts[chosen]).T
        sides = numpy.stack([begin - first, last - end], axis=1)
        before, after = share(numpy.full(len(begin), self.room), sides).T
        named = numpy.minimum(end - begin, self.candidate_pieces)
        text_kind, kind = self.special.text_kinds
        ranges = [
            prefix,
            Range(begin - before, before, text_kind),
            Range(markers.start, 1, text_kind),
            Range(begin, named, text_kind),
            Range(markers.start + 1, 1, text_kind),
            Range(end, after, text_kind),
            middle,
            Range(start, count, kind),
            suffix,
        ]
        pad = self.tokenizer.pad_token_id
        pad_type = self.tokenizer.pad_token_type_id if self.special.has_types else None
        read = numpy.zeros((len(chosen), 1), dtype="int64")
        return InputRows(pool, ranges, read, Padding(0 if pad is None else pad, pad_type))

    def _add_mentions(
        self, pool: PiecePool, rows: CandidateRows, mentions: numpy.ndarray
    ) -> numpy.ndarray:
        """Put the documents of mentions into a pool.

        RETURNS: int64, (n, 4): where each mention begins and ends in the pool, and its document.
        """
        sizes = [len(table) for table in rows.tables]
        owners = numpy.repeat(numpy.arange(len(sizes)), sizes)
        places = numpy.zeros((len(owners), 4), dtype="int64")
        numbers = numpy.unique(owners[mentions]).tolist()
        sections = [Section(number, 0, len(rows.docs[number])) for number in numbers]
        read = read_word_pieces(self.tokenizer, rows.docs, sections)
        for number, pieces in zip(numbers, read, strict=True):
            whole = pool.add(pieces.ids)
            own = owners == number
            places[own, :2] = whole.start + pieces.touching(rows.tables[number][:, :2])
            places[own, 2:] = whole.start, whole.start + whole.count
        return places[mentions]

    def _add_concepts(
        self, pool: PiecePool, rows: CandidateRows, concepts: numpy.ndarray
    ) -> numpy.ndarray:
        """Put the texts of concepts into a pool: int64, (n, 2), start and count in it.

        Concepts of one text share it.
        """
        distinct, place = numpy.unique(concepts, return_inverse=True)
        texts = [self._text(rows.describe(row)) if row >= 0 else "" for row in distinct.tolist()]
        added: Dict[str, Range] = {}
        different = list(dict.fromkeys(texts))
        for text, ids in zip(different, self._pieces(different), strict=True):
            added[text] = pool.add(ids)
        table = [added[text][:2] for text in texts]
        return numpy.asarray(table, dtype="int64").reshape((-1, 2))[place.reshape(-1)]

    def _text(self, concept: Dict[str, List[str]]) -> str:
        parts = (", ".join(concept[field]) for field in self.fields)
        return " ; ".join(part for part in parts if part)

    def _pieces(self, texts: Sequence[str]) -> List[List[int]]:
        if not texts:
            return []
        found = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            # "[SEP]" in a name is a part of it
            split_special_tokens=True,
            verbose=False,
        )["input_ids"]
        return [list(ids[: self.candidate_pieces]) for ids in found]
