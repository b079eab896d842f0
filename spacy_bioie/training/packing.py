"""Documents as rows of word pieces of equal length, and the masking of some of them."""

from typing import Any, Iterable, Iterator, List, NamedTuple, Sequence

import numpy

from ..models.word_pieces import find_special_tokens

_DOCUMENTS = 256  # tokenized at a time


class Rows(NamedTuple):
    """ids: int32, (rows, window). attention: bool, 0 for padding. text: bool, whether a piece is of
    a document, and not a special token."""

    ids: numpy.ndarray
    attention: numpy.ndarray
    text: numpy.ndarray

    def take(self, rows: Any) -> "Rows":
        """Some of the rows, without columns that are padding in all of them."""
        attention = self.attention[rows]
        width = int(attention.sum(axis=1).max())
        return Rows(self.ids[rows, :width], attention[:, :width], self.text[rows, :width])


class Masked(NamedTuple):
    """inputs: int64, ids in which pieces are masked. chosen: bool, which pieces are to be told.
    Both have the shape of ``Rows.ids``."""

    inputs: numpy.ndarray
    chosen: numpy.ndarray


def read_pieces(tokenizer: Any, texts: Iterable[str]) -> Iterator[numpy.ndarray]:
    """The word pieces of each document, without special tokens: int32. Empty ones are left out."""
    batch: List[str] = []

    def pieces() -> Iterator[numpy.ndarray]:
        encoded = tokenizer(
            batch,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=True,
            truncation=False,
            verbose=False,
        )
        yield from (numpy.asarray(ids, dtype="int32") for ids in encoded["input_ids"] if ids)

    for text in texts:
        batch.append(text)
        if len(batch) == _DOCUMENTS:
            yield from pieces()
            batch.clear()
    if batch:
        yield from pieces()


def pack(documents: Sequence[numpy.ndarray], tokenizer: Any, window: int) -> Rows:
    """Join documents and cut them into rows, in which each piece of each document stands once.

    Between two documents stands the separator of the tokenizer, where it has one, around each row
    what it puts around a text; the last row is padded.

    Raises ValueError for a window without room for text.
    """
    around = find_special_tokens(tokenizer)
    n_prefix, n_suffix = len(around.prefix), len(around.suffix)
    room = window - n_prefix - n_suffix
    if room < 1:
        raise ValueError(
            f"A window of {window} word pieces has no room for text between the "
            f"{n_prefix + n_suffix} special tokens: expected a larger one."
        )
    separator = tokenizer.sep_token_id
    separator = tokenizer.eos_token_id if separator is None else separator
    between = numpy.asarray([] if separator is None else [separator], dtype="int32")
    parts = [part for pieces in documents for part in (pieces, between)]
    stream = numpy.concatenate(parts[:-1])
    is_text = numpy.ones(len(stream), dtype=bool)
    if len(between):
        ends = numpy.cumsum([len(pieces) + 1 for pieces in documents])[:-1] - 1
        is_text[ends] = False
    n_rows = -(-len(stream) // room)
    ids = numpy.full((n_rows, window), around.pad_id, dtype="int32")
    attention, text = numpy.zeros((2, n_rows, window), dtype=bool)
    for row in range(n_rows):
        body = stream[row * room : (row + 1) * room]
        end = n_prefix + len(body) + n_suffix
        ids[row, :n_prefix] = around.prefix
        ids[row, n_prefix : end - n_suffix] = body
        ids[row, end - n_suffix : end] = around.suffix
        attention[row, :end] = True
        text[row, n_prefix : end - n_suffix] = is_text[row * room : (row + 1) * room]
    return Rows(ids, attention, text)


def passes(rows: Rows, max_batch_pieces: int) -> Iterator[slice]:
    """Rows that go through an encoder at a time: at most so many word pieces, at least one row."""
    size = max(1, max_batch_pieces // rows.ids.shape[1])
    return (slice(begin, begin + size) for begin in range(0, len(rows.ids), size))


def mask(
    rows: Rows, random: numpy.random.Generator, part: float, mask_id: int, words: numpy.ndarray
) -> Masked:
    """Choose pieces of text, at least one, and hide them as BERT does (Devlin et al. 2019).

    part: of the pieces that is chosen. mask_id: what stands in the place of 80 % of them; 10 % are
    another of ``words``, the ids of ordinary pieces, and 10 % stay.
    """
    chosen = rows.text & (random.random(rows.ids.shape) < part)
    if not chosen.any():
        places = numpy.argwhere(rows.text)
        chosen[tuple(places[random.integers(len(places))])] = True
    fate = random.random(rows.ids.shape)
    inputs = numpy.where(chosen & (fate < 0.8), mask_id, rows.ids)
    other = words[random.integers(len(words), size=rows.ids.shape)]
    inputs = numpy.where(chosen & (fate >= 0.9), other, inputs)
    return Masked(inputs.astype("int64"), chosen)
