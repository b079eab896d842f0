"""Word pieces of a section of text, and the tokens that they touch."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc


class Section(NamedTuple):
    """A range of tokens of a document; ``doc`` is its number in the batch, ``end`` exclusive."""

    doc: int
    start: int
    end: int


class WordPieces(NamedTuple):
    """The word pieces of one section.

    ids: int64, (pieces,). strings: as the tokenizer writes them. first, last: int64, (pieces,),
    the tokens of the document that a piece touches, inclusive; first > last where it touches
    none.
    """

    ids: numpy.ndarray
    strings: List[str]
    first: numpy.ndarray
    last: numpy.ndarray

    def bounded(self, room: int) -> Tuple["WordPieces", List[Tuple[int, int]]]:
        """Take the pieces beyond ``room`` away from each token that has more of its own.

        RETURNS: the pieces, and (token, its pieces before) for each token that lost some.
        """
        if len(self.ids) <= room:
            return self, []
        own = numpy.flatnonzero(self.first == self.last)
        tokens, begins, counts = numpy.unique(
            self.first[own], return_index=True, return_counts=True
        )
        if not len(counts) or counts.max() <= room:
            return self, []
        rank = numpy.arange(len(own)) - numpy.repeat(begins, counts)
        keep = numpy.ones((len(self.ids),), dtype=bool)
        keep[own[rank >= room]] = False
        kept = numpy.flatnonzero(keep)
        strings = [self.strings[i] for i in kept]
        cut = [(int(t), int(n)) for t, n in zip(tokens, counts, strict=True) if n > room]
        return WordPieces(self.ids[kept], strings, self.first[kept], self.last[kept]), cut

    def borders(self) -> numpy.ndarray:
        """Where the pieces can be cut: 0, their number, and every place between two pieces that
        touch no token in common. int64, ascending."""
        before, after = self._filled()
        inner = numpy.flatnonzero(before[:-1] < after[1:]) + 1
        return numpy.concatenate(([0], inner, [len(self.ids)]))

    def token_range(self, begin: int, end: int, section: Section) -> Tuple[int, int]:
        """The tokens of a window over the pieces [begin, end), the second exclusive.

        From its first piece to the first of the next window: tokens without pieces stand with
        those before them.
        """
        before, after = self._filled()
        first = section.start if begin == 0 else min(int(after[begin]), section.end - 1)
        if end == len(self.ids):
            return first, section.end
        last = max(int(before[end - 1]) + 1, int(after[end]), first + 1)
        return first, min(last, section.end)

    def touching(self, tokens: numpy.ndarray) -> numpy.ndarray:
        """The pieces that touch ranges of tokens: int64, (n, 2), from int64, (n, 2)."""
        before, after = self._filled()
        begins = numpy.searchsorted(before, tokens[:, 0], side="left")
        ends = numpy.searchsorted(after, tokens[:, 1], side="left")
        return numpy.stack([begins, numpy.maximum(begins, ends)], axis=1)

    def _filled(self) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """Last token up to each piece, and first token from each piece on."""
        touches = self.first <= self.last
        before = numpy.maximum.accumulate(numpy.where(touches, self.last, -1))
        beyond = numpy.iinfo("int64").max
        after = numpy.where(touches, self.first, beyond)[::-1]
        return before, numpy.minimum.accumulate(after)[::-1]


NO_PIECES = WordPieces(*(numpy.zeros((0,), "int64"), [], *numpy.zeros((2, 0), "int64")))


class SpecialTokens(NamedTuple):
    """What a tokenizer puts around a text: ids, strings and, where it has them, token types."""

    prefix: List[int]
    suffix: List[int]
    prefix_strings: List[str]
    suffix_strings: List[str]
    pad_id: int
    pad_string: str
    types: Optional["TokenTypes"]


class TokenTypes(NamedTuple):
    """Token type ids of what a window is made of."""

    prefix: List[int]
    text: int
    suffix: List[int]
    padding: int


def find_special_tokens(tokenizer: Any) -> SpecialTokens:
    """Read off an example what a tokenizer puts around a text; not every one says it."""
    probe = tokenizer("a", return_special_tokens_mask=True)
    inside = numpy.flatnonzero(~numpy.asarray(probe["special_tokens_mask"], dtype=bool))
    begin, end = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    ids = list(probe["input_ids"])
    types = probe.get("token_type_ids")
    pad = tokenizer.pad_token_id
    return SpecialTokens(
        prefix=ids[:begin],
        suffix=ids[end:],
        prefix_strings=tokenizer.convert_ids_to_tokens(ids[:begin]),
        suffix_strings=tokenizer.convert_ids_to_tokens(ids[end:]),
        pad_id=0 if pad is None else int(pad),
        pad_string=tokenizer.pad_token or "",
        types=None
        if types is None
        else TokenTypes(
            types[:begin],
            types[begin] if end > begin else 0,
            types[end:],
            tokenizer.pad_token_type_id,
        ),
    )


def read_word_pieces(
    tokenizer: Any, docs: Sequence[Doc], sections: Sequence[Section]
) -> List[WordPieces]:
    """Cut sections into word pieces, each as a whole and without special tokens."""
    if not sections:
        return []
    texts = {section.doc: docs[section.doc].text for section in sections}
    tables = {number: _token_characters(docs[number]) for number in texts}
    encoded = tokenizer(
        [
            texts[number][tables[number][start, 0] : tables[number][end - 1, 1]]
            for number, start, end in sections
        ],
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
    unknown = tokenizer.unk_token_id
    # A Unigram vocabulary holds "<s>" as a piece like any other, so that it is found all the same.
    special = [] if unknown is None else [i for i in tokenizer.all_special_ids if i != unknown]
    pieces = []
    for i, (number, start, end) in enumerate(sections):
        ids = numpy.asarray(encoded["input_ids"][i], dtype="int64")
        if special:
            ids[numpy.isin(ids, special)] = unknown
        offsets = numpy.asarray(encoded["offset_mapping"][i], dtype="int64").reshape((-1, 2))
        first, last = _touched_tokens(tables[number][start:end], offsets)
        pieces.append(WordPieces(ids, encoded.encodings[i].tokens, first + start, last + start))
    return pieces


def _token_characters(doc: Doc) -> numpy.ndarray:
    """Begin and end (exclusive) of each token in the text, int64, (tokens, 2)."""
    table = doc.to_array(["IDX", "LENGTH"]).astype("int64").reshape((-1, 2))
    table[:, 1] += table[:, 0]
    return table


def _touched_tokens(
    characters: numpy.ndarray, offsets: numpy.ndarray
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """First and last token that each piece touches, first > last for a piece that touches none.

    characters: begin and end of each token. offsets: of each piece, from the begin of the first
        token on.
    """
    begins, ends = (characters - characters[0, 0]).T
    first = numpy.searchsorted(ends, offsets[:, 0], side="right")
    last = numpy.searchsorted(begins, offsets[:, 1], side="left") - 1
    last[offsets[:, 0] >= offsets[:, 1]] = -1
    nothing = first > last
    first[nothing], last[nothing] = 0, -1
    return first, last
