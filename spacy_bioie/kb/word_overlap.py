"""Words that names share: they say more of near names than their similarity does."""

import re
from functools import lru_cache
from typing import Dict, Sequence, Tuple

import numpy

from .folding import fold_name
from .ragged import RaggedRows

# Which part of the mention's letters, and of the name's, lies in words that the other has; whether
# their last, and their first, words are the same; whether the mention ends, and begins, with the
# name
OVERLAPS = ("of_mention", "of_name", "last_word", "first_word", "at_end", "at_beginning")
_WORD = re.compile(r"[^\W_]+")
# Most words of a batch, and most names found, have been in an earlier one
_fold_word = lru_cache(maxsize=100_000)(fold_name)


@lru_cache(maxsize=100_000)
def _folded_words(text: str) -> Tuple[str, ...]:
    return tuple(_fold_word(word) for word in _WORD.findall(text))


def word_overlaps(
    mentions: Sequence[str], names: Sequence[str], asked: numpy.ndarray, found: numpy.ndarray
) -> numpy.ndarray:
    """The columns ``OVERLAPS`` of pairs of normalised names: float32, (pairs, 6).

    Words are runs of letters and digits; those with one key are the same (``fold_name``).

    asked, found: for each pair the row in ``mentions`` and that in ``names``, int64, (pairs,).
    """
    ids: Dict[str, int] = {}
    mention_words, name_words = _word_rows(mentions, ids), _word_rows(names, ids)
    letters = numpy.asarray([*map(len, ids), 0], dtype="float64")
    n, n_words = len(asked), len(letters)
    # Each word of the name of each pair, and whether the mention has it
    pair, position = name_words.positions(found)
    word = name_words.values[position].astype("int64")
    owner, _ = mention_words.positions(numpy.arange(len(mentions)))
    same = numpy.isin(asked[pair] * n_words + word, owner * n_words + mention_words.values)
    shared = numpy.bincount(pair, weights=letters[word] * same, minlength=n)
    out = numpy.zeros((n, len(OVERLAPS)), dtype="float32")
    # A name that has a word more often than the mention could share more than all of it
    out[:, 0] = numpy.minimum(shared / _totals(mention_words, letters)[asked], 1.0)
    out[:, 1] = shared / _totals(name_words, letters)[found]
    begin, end = mention_words.offsets[asked], mention_words.offsets[asked + 1]
    first, size = name_words.offsets[found], numpy.diff(name_words.offsets)[found]
    padded = [numpy.append(rows.values, -1) for rows in (mention_words, name_words)]
    filled = (end > begin) & (size > 0)
    out[:, 2] = filled & (padded[0][end - 1] == padded[1][first + size - 1])
    out[:, 3] = filled & (padded[0][begin] == padded[1][first])
    fits = filled & (end - begin >= size)
    for column, start in ((4, end - size), (5, begin)):
        place = numpy.where(fits[pair], start[pair] + position - first[pair], -1)
        different = numpy.bincount(pair, weights=padded[0][place] != word, minlength=n)
        out[:, column] = fits & (different == 0)
    return out


def _word_rows(texts: Sequence[str], ids: Dict[str, int]) -> RaggedRows:
    """For each text the numbers of its words; ``ids`` takes up new ones."""
    words = [_folded_words(text) for text in texts]
    which = numpy.repeat(numpy.arange(len(words)), [len(row) for row in words])
    values = [ids.setdefault(word, len(ids)) for row in words for word in row]
    return RaggedRows.from_pairs(which, numpy.asarray(values), len(texts))


def _totals(words: RaggedRows, letters: numpy.ndarray) -> numpy.ndarray:
    """The letters of each text, 1 of one without words: float64, (texts,)."""
    which, position = words.positions(numpy.arange(len(words)))
    totals = numpy.bincount(which, weights=letters[words.values[position]], minlength=len(words))
    return numpy.maximum(totals, 1.0)
