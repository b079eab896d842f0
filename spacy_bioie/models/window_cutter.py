"""Cutting documents into windows that are counted in word pieces.

Every section of a document is cut into word pieces once, as a whole, and the windows are ranges
of these pieces: what is counted is what is encoded. A section longer than a window becomes
several, each beginning about half a window after the one before, so that every piece lies in at
least one window and most lie well inside of one.
"""

import warnings
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy
from spacy.tokens import Doc, Span
from spacy_transformers.data_classes import WordpieceBatch
from thinc.api import Ragged

from ..annotation import section_token_ranges
from .word_pieces import NO_PIECES, Section, WordPieces, find_special_tokens, read_word_pieces

# Published tokenizers without a maximum length carry a number like 1e30.
NO_LIMIT = 10**6


class CutBatch(NamedTuple):
    """The windows of a batch of documents.

    spans: for each document the spans of its windows, none for a document without tokens. The
        first begins at the first token, the last ends with the last token.
    wordpieces: a row for each window, padded to the longest, special tokens included.
    align: for each token of the non-empty documents the indices of its pieces in the flattened
        array of windows, ascending. A token in two windows has its pieces in both.
    """

    spans: List[List[Span]]
    wordpieces: WordpieceBatch
    align: Ragged


class _Window(NamedTuple):
    pieces: WordPieces
    begin: int  # range of pieces
    end: int
    first: int  # range of tokens
    last: int


class WindowCutter:
    """Cuts documents into windows for one tokenizer."""

    def __init__(self, tokenizer: Any, window: int, max_positions: int = 0):
        """Prepare the cutting.

        tokenizer: a fast tokenizer of ``transformers``.
        window: pieces of a window, special tokens included; lowered to what the tokenizer and
            the model can take.
        max_positions: pieces that the model can take, 0 where it sets no bound.

        Raises ValueError for a tokenizer that is not fast, and for a window without room for a
        piece between the special tokens.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"The tokenizer {type(tokenizer).__name__} gives no character offsets: expected "
                'a fast tokenizer (tokenizer_config = {"use_fast": true}, and a model that has '
                "a tokenizer.json or can be converted to one)."
            )
        bounds = [window, max_positions, getattr(tokenizer, "model_max_length", 0) or 0]
        self.tokenizer = tokenizer
        self.window = int(min(bound for bound in bounds if 0 < bound))
        self.special = find_special_tokens(tokenizer)
        self.n_special = len(self.special.prefix) + len(self.special.suffix)
        self.room = self.window - self.n_special
        if self.room < 1:
            raise ValueError(
                f"A window of {self.window} word pieces has no room for text between the "
                f"{self.n_special} special tokens: set 'window' higher."
            )

    def cut(self, docs: Sequence[Doc]) -> CutBatch:
        """Cut documents into windows.

        A token of more pieces than a window has room for keeps the pieces that fit; there is one
        warning for each document with such tokens.
        """
        sections = [
            Section(number, start, end)
            for number, doc in enumerate(docs)
            for start, end in section_token_ranges(doc)
        ]
        by_doc: List[List[_Window]] = [[] for _ in docs]
        oversize: List[List[Tuple[int, int]]] = [[] for _ in docs]
        read = read_word_pieces(self.tokenizer, docs, sections)
        for section, whole in zip(sections, read, strict=True):
            pieces, cut = whole.bounded(self.room)
            oversize[section.doc].extend(cut)
            for begin, end in self._borders(pieces):
                tokens = pieces.token_range(begin, end, section)
                by_doc[section.doc].append(_Window(pieces, begin, end, *tokens))
        for doc, cut in zip(docs, oversize, strict=True):
            if cut:
                self._warn(doc, cut)
        spans = []
        for doc, windows in zip(docs, by_doc, strict=True):
            if len(doc) and not windows:
                # Only blanks or characters that the tokenizer drops: the special tokens alone.
                windows.append(_Window(NO_PIECES, 0, 0, 0, len(doc)))
            spans.append([Span(doc, window.first, window.last) for window in windows])
            if windows:
                spans[-1][0] = doc[: spans[-1][0].end]
                spans[-1][-1] = doc[spans[-1][-1].start :]
        wordpieces = self._batch([window for windows in by_doc for window in windows])
        return CutBatch(spans, wordpieces, self._align(docs, by_doc, wordpieces))

    def lengths(self, docs: Sequence[Doc]) -> List[int]:
        """Pieces of each window of these documents, special tokens included."""
        return self.cut(docs).wordpieces.lengths

    def _warn(self, doc: Doc, cut: List[Tuple[int, int]]) -> None:
        token, count = cut[0]
        more = f" So are {len(cut) - 1} more tokens of this document." if len(cut) > 1 else ""
        warnings.warn(
            f"Document '{_beginning(doc.text)}': the token '{_beginning(doc[token].text)}' at "
            f"character {doc[token].idx} has {count} word pieces and is longer than a window; "
            f"its first {self.room} pieces are encoded, the others are not.{more}",
            stacklevel=2,
        )

    def _borders(self, pieces: WordPieces) -> List[Tuple[int, int]]:
        if not len(pieces.ids):
            return []
        if len(pieces.ids) <= self.room:
            return [(0, len(pieces.ids))]
        return window_borders(pieces.borders(), self.room)

    def _batch(self, windows: List[_Window]) -> WordpieceBatch:
        if not windows:
            return WordpieceBatch.empty()
        special, types_of = self.special, self.special.types
        lengths = [self.n_special + window.end - window.begin for window in windows]
        # At least one column, so that a tokenizer without special tokens gives no empty array.
        width = max([1, *lengths])
        ids: Any = numpy.full((len(windows), width), special.pad_id, dtype="int64")
        mask: Any = (numpy.arange(width) < numpy.asarray(lengths)[:, None]).astype("float32")
        types: Any = None
        if types_of is not None:
            types = numpy.full(ids.shape, types_of.padding, dtype="int64")
        strings = []
        body = len(special.prefix)
        for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
            tail = length - len(special.suffix)
            ids[row, :body] = special.prefix
            ids[row, body:tail] = window.pieces.ids[window.begin : window.end]
            ids[row, tail:length] = special.suffix
            if types_of is not None:
                types[row, :body], types[row, tail:length] = types_of.prefix, types_of.suffix
                types[row, body:tail] = types_of.text
            strings.append(
                special.prefix_strings
                + window.pieces.strings[window.begin : window.end]
                + special.suffix_strings
                + [special.pad_string] * (width - length)
            )
        return WordpieceBatch(
            strings=strings,
            input_ids=ids,
            attention_mask=mask,
            lengths=lengths,
            token_type_ids=types,
        )

    def _align(self, docs, by_doc: List[List[_Window]], wordpieces: WordpieceBatch) -> Ragged:
        width = wordpieces.input_ids.shape[1]
        start = len(self.special.prefix)
        offset = 0  # tokens of the documents before
        firsts, counts, places = [], [], []
        for doc, windows in zip(docs, by_doc, strict=True):
            for pieces, begin, end, _, _ in windows:
                first, last = pieces.first[begin:end], pieces.last[begin:end]
                firsts.append(first + offset)
                counts.append(numpy.maximum(last - first + 1, 0))
                places.append(numpy.arange(start, start + end - begin))
                start += width
            offset += len(doc)
        count = _concatenate(counts)
        token = _ranges(_concatenate(firsts), count)
        place = numpy.repeat(_concatenate(places), count)
        order = numpy.argsort(token, kind="stable")
        lengths: Any = numpy.bincount(token, minlength=offset).astype("int32")
        pieces_of_tokens: Any = place[order].astype("int32")
        return Ragged(pieces_of_tokens, lengths)


def window_borders(borders: numpy.ndarray, room: int) -> List[Tuple[int, int]]:
    """Choose windows over a row of pieces.

    borders: places where a window may begin or end, ascending, the first 0 and the last the
        number of pieces. Where two lie more than ``room`` apart, every ``room`` pieces count as
        a border.
    room: pieces of a window.
    RETURNS: begin and end (exclusive) of each window. They cover all pieces; each ends at the
        last border it can reach, and the next begins at the border nearest to its middle.
    """
    gaps = numpy.flatnonzero(numpy.diff(borders) > room)
    if len(gaps):
        extra = [numpy.arange(borders[i] + room, borders[i + 1], room) for i in gaps]
        borders = numpy.unique(numpy.concatenate([borders, *extra]))
    windows: List[Tuple[int, int]] = []
    begin = 0
    while True:
        reach = int(numpy.searchsorted(borders, begin + room, side="right")) - 1
        end = int(borders[reach])
        windows.append((begin, end))
        if reach == len(borders) - 1:
            return windows
        # The next window has to get past this one's end.
        lowest = max(begin + 1, int(borders[reach + 1]) - room)
        low = int(numpy.searchsorted(borders, lowest, side="left"))
        choices = borders[low : reach + 1]
        begin = int(choices[numpy.argmin(numpy.abs(choices - (begin + end) / 2))])


def _ranges(starts: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """starts[0], starts[0] + 1, ... (counts[0] numbers), starts[1], ..."""
    total = int(counts.sum())
    skipped = numpy.repeat(numpy.cumsum(counts) - counts, counts)
    return numpy.repeat(starts, counts) + numpy.arange(total) - skipped


def _concatenate(arrays: List[numpy.ndarray]) -> numpy.ndarray:
    return numpy.concatenate([numpy.zeros((0,), dtype="int64"), *arrays]).astype("int64")


def _beginning(text: str, length: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length] + "…"
