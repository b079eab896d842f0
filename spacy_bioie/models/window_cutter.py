"""Cutting documents into windows that are counted in word pieces.

Every section of a document is cut into word pieces once, as a whole, and the windows are ranges
of these pieces: what is counted is what is encoded. A section longer than a window becomes
several, each beginning about half a window after the one before, so that every piece lies in at
least one window and most lie well inside of one.
"""

import warnings
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc, Span
from spacy_transformers.data_classes import WordpieceBatch
from thinc.api import Ragged

from ..annotation import section_token_ranges

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


class _Pieces(NamedTuple):
    """The word pieces of one section: ids, strings, and the tokens that each piece touches.

    first, last: int64, (pieces,): token indices in the document, inclusive; first > last where a
    piece touches no token.
    """

    ids: numpy.ndarray
    strings: List[str]
    first: numpy.ndarray
    last: numpy.ndarray


class _Types(NamedTuple):
    """Token type ids of what a window is made of."""

    prefix: List[int]
    text: int
    suffix: List[int]
    padding: int


class _Window(NamedTuple):
    pieces: _Pieces
    begin: int  # range of pieces
    end: int
    first: int  # range of tokens
    last: int


_NO_PIECES = _Pieces(*(numpy.zeros((0,), "int64"), [], *numpy.zeros((2, 0), "int64")))


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
        self._find_special_tokens()
        self.room = self.window - len(self.prefix) - len(self.suffix)
        if self.room < 1:
            raise ValueError(
                f"A window of {self.window} word pieces has no room for text between the "
                f"{len(self.prefix) + len(self.suffix)} special tokens: set 'window' higher."
            )

    def cut(self, docs: Sequence[Doc]) -> CutBatch:
        """Cut documents into windows.

        A token of more pieces than a window has room for keeps the pieces that fit; there is one
        warning for each document with such tokens.
        """
        sections, texts = [], []
        for number, doc in enumerate(docs):
            text = doc.text
            for start, end in section_token_ranges(doc):
                last = doc[end - 1]
                sections.append((number, start, end))
                texts.append(text[doc[start].idx : last.idx + len(last)])
        by_doc: List[List[_Window]] = [[] for _ in docs]
        pieces = self._pieces(docs, sections, texts)
        for (number, start, end), section in zip(sections, pieces, strict=True):
            for begin, stop in self._borders(section):
                tokens = _token_range(section, begin, stop, start, end)
                by_doc[number].append(_Window(section, begin, stop, *tokens))
        spans = []
        for doc, windows in zip(docs, by_doc, strict=True):
            if len(doc) and not windows:
                # Only blanks or characters that the tokenizer drops: the special tokens alone.
                windows.append(_Window(_NO_PIECES, 0, 0, 0, len(doc)))
            spans.append([Span(doc, window.first, window.last) for window in windows])
            if windows:
                spans[-1][0] = doc[: spans[-1][0].end]
                spans[-1][-1] = doc[spans[-1][-1].start :]
        wordpieces = self._batch([window for windows in by_doc for window in windows])
        return CutBatch(spans, wordpieces, self._align(docs, by_doc, wordpieces))

    def lengths(self, docs: Sequence[Doc]) -> List[int]:
        """Pieces of each window of these documents, special tokens included."""
        return self.cut(docs).wordpieces.lengths

    def _find_special_tokens(self) -> None:
        # What stands around a text is read off an example: not every fast tokenizer says it.
        probe = self.tokenizer("a", return_special_tokens_mask=True)
        special = numpy.asarray(probe["special_tokens_mask"], dtype=bool)
        inside = numpy.flatnonzero(~special)
        begin, end = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        ids = list(probe["input_ids"])
        types = probe.get("token_type_ids")
        self.prefix, self.suffix = ids[:begin], ids[end:]
        self.prefix_strings = self.tokenizer.convert_ids_to_tokens(self.prefix)
        self.suffix_strings = self.tokenizer.convert_ids_to_tokens(self.suffix)
        pad = self.tokenizer.pad_token_id
        self.pad_id = 0 if pad is None else int(pad)
        self.pad_string = self.tokenizer.pad_token or ""
        self.types: Optional[_Types] = None
        if types is not None:
            text_type = types[begin] if end > begin else 0
            self.types = _Types(
                types[:begin], text_type, types[end:], self.tokenizer.pad_token_type_id
            )

    def _pieces(self, docs, sections, texts: List[str]) -> List[_Pieces]:
        if not texts:
            return []
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
            # "<s>" or "[SEP]" in a text is markup, not a command to the encoder.
            split_special_tokens=True,
            padding=False,
            truncation=False,
            verbose=False,
        )
        output = []
        oversize: Dict[int, List[Tuple[int, int]]] = {}
        for i, (number, start, end) in enumerate(sections):
            ids = numpy.asarray(encoded["input_ids"][i], dtype="int64")
            offsets = numpy.asarray(encoded["offset_mapping"][i], dtype="int64").reshape((-1, 2))
            first, last = _touched_tokens(docs[number], start, end, offsets)
            pieces = _Pieces(ids, encoded.encodings[i].tokens, first, last)
            pieces, cut = _bound_tokens(pieces, self.room)
            output.append(pieces)
            oversize.setdefault(number, []).extend(cut)
        for number, cut in oversize.items():
            if cut:
                self._warn(docs[number], cut)
        return output

    def _warn(self, doc: Doc, cut: List[Tuple[int, int]]) -> None:
        token, count = cut[0]
        more = f" So are {len(cut) - 1} more tokens of this document." if len(cut) > 1 else ""
        warnings.warn(
            f"Document '{_beginning(doc.text)}': the token '{_beginning(doc[token].text)}' at "
            f"character {doc[token].idx} has {count} word pieces and is longer than a window; "
            f"its first {self.room} pieces are encoded, the others are not.{more}",
            stacklevel=2,
        )

    def _borders(self, pieces: _Pieces) -> List[Tuple[int, int]]:
        n_pieces = len(pieces.ids)
        if n_pieces == 0:
            return []
        if n_pieces <= self.room:
            return [(0, n_pieces)]
        # A piece may touch several tokens: between two pieces that share one is no border.
        before, after = _filled(pieces)
        inner = numpy.flatnonzero(before[:-1] < after[1:]) + 1
        borders = numpy.concatenate(([0], inner, [n_pieces]))
        return window_borders(borders, self.room)

    def _batch(self, windows: List[_Window]) -> WordpieceBatch:
        special = len(self.prefix) + len(self.suffix)
        lengths = [special + w.end - w.begin for w in windows]
        # At least one column, so that a tokenizer without special tokens gives no empty array.
        width = max([1, *lengths])
        ids: Any = numpy.full((len(windows), width), self.pad_id, dtype="int64")
        mask: Any = (numpy.arange(width) < numpy.asarray(lengths)[:, None]).astype("float32")
        types: Any = None
        if self.types is not None:
            types = numpy.full(ids.shape, self.types.padding, dtype="int64")
        strings = []
        body = len(self.prefix)
        for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
            tail = length - len(self.suffix)
            ids[row, :body] = self.prefix
            ids[row, body:tail] = window.pieces.ids[window.begin : window.end]
            ids[row, tail:length] = self.suffix
            if self.types is not None:
                types[row, :body], types[row, tail:length] = self.types.prefix, self.types.suffix
                types[row, body:tail] = self.types.text
            strings.append(
                self.prefix_strings
                + window.pieces.strings[window.begin : window.end]
                + self.suffix_strings
                + [self.pad_string] * (width - length)
            )
        if not windows:
            return WordpieceBatch.empty()
        return WordpieceBatch(
            strings=strings,
            input_ids=ids,
            attention_mask=mask,
            lengths=lengths,
            token_type_ids=types,
        )

    def _align(self, docs, by_doc: List[List[_Window]], wordpieces: WordpieceBatch) -> Ragged:
        width = wordpieces.input_ids.shape[1]
        start = len(self.prefix)
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


def _touched_tokens(doc: Doc, start: int, end: int, offsets: numpy.ndarray):
    """First and last token of each piece; offsets are characters from the section's begin."""
    table = doc.to_array(["IDX", "LENGTH"]).astype("int64").reshape((-1, 2))[start:end]
    begins = table[:, 0] - table[0, 0]
    ends = begins + table[:, 1]
    first = numpy.searchsorted(ends, offsets[:, 0], side="right")
    last = numpy.searchsorted(begins, offsets[:, 1], side="left") - 1
    last[offsets[:, 0] >= offsets[:, 1]] = -1
    nothing = first > last
    first, last = first + start, last + start
    first[nothing], last[nothing] = 0, -1
    return first, last


def _bound_tokens(pieces: _Pieces, room: int) -> Tuple[_Pieces, List[Tuple[int, int]]]:
    """Take the pieces beyond ``room`` away from each token that has more of its own.

    RETURNS: the pieces, and (token, its pieces before) for each token that lost some.
    """
    if len(pieces.ids) <= room:
        return pieces, []
    own = numpy.flatnonzero(pieces.first == pieces.last)
    tokens, begins, counts = numpy.unique(pieces.first[own], return_index=True, return_counts=True)
    if not len(counts) or counts.max() <= room:
        return pieces, []
    rank = numpy.arange(len(own)) - numpy.repeat(begins, counts)
    keep = numpy.ones((len(pieces.ids),), dtype=bool)
    keep[own[rank >= room]] = False
    kept = numpy.flatnonzero(keep)
    strings = [pieces.strings[i] for i in kept]
    cut = [(int(t), int(n)) for t, n in zip(tokens, counts, strict=True) if n > room]
    return _Pieces(pieces.ids[kept], strings, pieces.first[kept], pieces.last[kept]), cut


def _filled(pieces: _Pieces) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Last token up to each piece, and first token from each piece on."""
    touches = pieces.first <= pieces.last
    before = numpy.maximum.accumulate(numpy.where(touches, pieces.last, -1))
    beyond = numpy.iinfo("int64").max
    after = numpy.where(touches, pieces.first, beyond)[::-1]
    return before, numpy.minimum.accumulate(after)[::-1]


def _token_range(pieces: _Pieces, begin: int, stop: int, start: int, end: int) -> Tuple[int, int]:
    """Tokens of a window: from its first piece to the next window's, blanks between included."""
    before, after = _filled(pieces)
    first = start if begin == 0 else min(int(after[begin]), end - 1)
    if stop == len(pieces.ids):
        return first, end
    return first, min(max(int(before[stop - 1]) + 1, int(after[stop]), first + 1), end)


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
