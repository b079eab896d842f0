"""Tables of names that say at once where the names of whole vocabularies stand in a text.

A table keeps a hash and a mask of each name, 16 bytes, and no text. Names that are meant to be
found exactly, with ids, are for ``span_ruler`` and the linker; a table only gives features to a
model, which learns what they are worth.
"""

import re
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Literal, Mapping, Optional, Tuple

import numpy
import srsly
from spacy.lang.en.stop_words import STOP_WORDS
from spacy.strings import get_string_id
from spacy.tokens import Doc
from thinc.model import Model, deserialize_attr, serialize_attr

from .folding import fold_name
from .normalisation import normalise_name
from .sources import read_concepts

KindsOf = Literal["types", "sources"]
MAX_WORDS = 6
MAX_KINDS = 64  # bits of a mask
# A word this short, or in capitals throughout, is a name only in its own case
SHORT = 4
# Columns of a kind, for names of one word, and again for those of several
PLACES = ("begin", "within", "end")
# One Greek letter or two that stand by themselves: a longer run is a word of a Greek text
_GREEK = "(?<![\u0370-\u03ff])[\u0370-\u03ff]{1,2}(?![\u0370-\u03ff])"
# without the "s" of a possessive
_WORD = re.compile(rf"(?!(?<=['’])[sS]\b)(?:{_GREEK}|(?:(?!{_GREEK})[^\W\d_])+)|\d+")
_FACTOR = numpy.uint64(0x9E3779B97F4A7C15)


class NameTable:
    """Which kinds of names there are, and where in a document they stand.

    A name is a sequence of words, runs of letters or of digits; case, number, Greek letters and a
    possessive make no difference (``fold_name``), but for single words that are short or in
    capitals: capitals matter there, save a first one.

    kinds: the types of the concepts, or the keys of ``sources``: for all concepts, or for those
        without types.
    """

    def __init__(self, sources: Optional[Mapping[str, str]] = None, kinds: KindsOf = "types"):
        """sources: name -> file of concepts, in any form that ``read_concepts`` knows. They are
        read by ``fill`` alone: a table that was saved does without them.
        kinds: what says of which kind a name is."""
        self.sources = dict(sources or {})
        self.kinds_of = kinds
        self.kinds: List[str] = []
        self.keys = numpy.zeros((0,), dtype="uint64")  # sorted
        self.masks = numpy.zeros((0,), dtype="uint64")

    def __len__(self) -> int:
        """The number of distinct names."""
        return len(self.keys)

    @property
    def width(self) -> int:
        """The columns of ``find``."""
        return 2 * len(PLACES) * len(self.kinds)

    def fill(self) -> None:
        """Read the names of the sources.

        Raises ValueError where they hold no name or more than 64 kinds, and FileNotFoundError and
        ValueError as ``read_concepts`` does.
        """
        kinds: Dict[str, int] = {}
        table: Dict[int, int] = {}
        for name, kind in self._read():
            if kind not in kinds and len(kinds) == MAX_KINDS:
                raise ValueError(
                    f"NameTable: the concepts of {list(self.sources.values())} have more than "
                    f"{MAX_KINDS} {self.kinds_of}. Expected fewer, coarser ones, or kinds = "
                    "'sources' where it is types."
                )
            key = name_key(name)
            if key is not None:
                table[key] = table.get(key, 0) | 1 << kinds.setdefault(kind, len(kinds))
        if not table:
            raise ValueError(
                f"NameTable: no name of up to {MAX_WORDS} words in {list(self.sources.values())}. "
                "Expected files of concepts with names."
            )
        keys = numpy.fromiter(table, dtype="uint64", count=len(table))
        masks = numpy.fromiter(table.values(), dtype="uint64", count=len(table))
        order = numpy.argsort(keys)
        word_keys.cache_clear()  # most words of a vocabulary are in no text
        self.kinds, self.keys, self.masks = list(kinds), keys[order], masks[order]

    def find(self, doc: Doc) -> numpy.ndarray:
        """Mark the tokens of names: float32, (tokens, width), 1 or 0.

        No name goes over a line break, or the begin of a sentence where these are known. Of the
        names of one kind those count whose words do not all lie within longer ones. Columns are
        ``PLACES`` of each kind for names of one word, then the same for those of several.
        """
        out = numpy.zeros((len(doc), self.width), dtype="float32")
        words = list(_WORD.finditer(doc.text))
        if not words or not len(self):
            return out
        starts = [token.idx for token in doc]
        begins, ends = zip(*(word.span() for word in words), strict=True)
        first = numpy.searchsorted(starts, begins, side="right") - 1
        last = numpy.searchsorted(starts, numpy.asarray(ends) - 1, side="right") - 1
        gaps = (doc.text[a:b] for a, b in zip((0, *ends), begins, strict=False))
        passage = numpy.cumsum(["\n" in gap for gap in gaps])
        if doc.has_annotation("SENT_START"):
            passage = passage + numpy.cumsum([bool(token.is_sent_start) for token in doc])[first]
        n_places, n_kinds = len(PLACES), len(self.kinds)
        covered = [0] * len(words)
        for start, size, mask in self._matches([word[0] for word in words]):
            if passage[start] != passage[start + size - 1]:
                continue
            known = mask
            for word in range(start, start + size):
                known &= covered[word]
                covered[word] |= mask
            if known == mask:
                continue
            a, b = first[start], last[start + size - 1]
            for kind in range(n_kinds):
                if (mask & ~known) >> kind & 1:
                    column = n_places * (kind + (n_kinds if size > 1 else 0))
                    out[a, column] = out[b, column + 2] = 1.0
                    out[a : b + 1, column + 1] = 1.0
        return out

    def _matches(self, words: List[str]) -> Iterator[Tuple[int, int, int]]:
        """Start, number of words and mask of each name, the longest first."""
        keys = [word_keys(word) for word in words]
        folded = numpy.asarray([key for key, _ in keys], dtype="uint64")
        found = []
        joined = numpy.zeros((len(words),), dtype="uint64")
        for size in range(1, min(MAX_WORDS, len(words)) + 1):
            joined = joined[: len(words) - size + 1] * _FACTOR + folded[size - 1 :]
            found.append(self._look_up(joined))
        found[0] |= self._look_up(numpy.asarray([key for _, key in keys], dtype="uint64"))
        for size in range(len(found), 0, -1):
            masks = found[size - 1]
            for start in numpy.flatnonzero(masks).tolist():
                yield start, size, int(masks[start])

    def _look_up(self, keys: numpy.ndarray) -> numpy.ndarray:
        at = numpy.minimum(numpy.searchsorted(self.keys, keys), len(self.keys) - 1)
        return numpy.where(self.keys[at] == keys, self.masks[at], numpy.uint64(0))

    def _read(self) -> Iterator[Tuple[str, str]]:
        for source, path in self.sources.items():
            for concept in read_concepts(path):
                for name in concept.names:
                    of_concept = concept.types if self.kinds_of == "types" else ()
                    for kind in of_concept or (source,):
                        yield name, kind

    def to_bytes(self) -> bytes:
        """The names and kinds, without the sources."""
        return srsly.msgpack_dumps({"kinds": self.kinds, "keys": self.keys, "masks": self.masks})

    def from_bytes(self, data: bytes) -> "NameTable":
        """Take over what ``to_bytes`` gave."""
        read: Dict[str, Any] = srsly.msgpack_loads(data)
        self.kinds, self.keys, self.masks = list(read["kinds"]), read["keys"], read["masks"]
        return self


def NameTable_v1(sources: Dict[str, str], kinds: KindsOf = "types") -> NameTable:
    """Create ``spacy_bioie.NameTable.v1``: names for ``spacy_bioie.WithNameTable.v1``.

    sources: name -> file of concepts. Read when the pipeline is initialized.
    kinds: "types", those of a concept say what kind its names are, for one without types the name
        of the source does; or "sources", the name of the source does for all. 64 at most.

    Raises ValueError where there is no source, and for other kinds.
    """
    if kinds not in ("types", "sources"):
        raise ValueError(f"NameTable: kinds is {kinds!r}, expected 'types' or 'sources'.")
    if not sources:
        raise ValueError("NameTable: no sources. Expected a file of concepts for at least one key.")
    return NameTable(sources, kinds)


def name_key(name: str) -> Optional[int]:
    """The hash of a name; None for a name that is too long, too short or an English function word.

    A single word that is short or in capitals has that of its own form.
    """
    words = _WORD.findall(name)
    letters = sum(map(str.isalpha, name))
    if not 0 < len(words) <= MAX_WORDS or letters < 2:
        return None
    if name.lower() in STOP_WORDS and not name.isupper():
        return None
    folded, cased = word_keys(words[0])
    if len(words) == 1 and (len(words[0]) <= SHORT or words[0].isupper()):
        return cased
    key = numpy.zeros((1,), dtype="uint64")  # an array, since these overflow without a warning
    for word in words:
        key = key * _FACTOR + numpy.uint64(word_keys(word)[0])
    return int(key[0])


@lru_cache(maxsize=100_000)
def word_keys(word: str) -> Tuple[int, int]:
    """The hash of a word whatever its form, and that of its own form, save a first capital."""
    own = word.lower() if word.istitle() else word
    return get_string_id(fold_name(normalise_name(word))), get_string_id(f"={own}")


@serialize_attr.register(NameTable)
def _save(_: Any, value: NameTable, name: str, model: Model) -> bytes:
    return value.to_bytes()


@deserialize_attr.register(NameTable)
def _load(before: NameTable, value: bytes, name: str, model: Model) -> NameTable:
    return before.from_bytes(value)  # which keeps its sources
