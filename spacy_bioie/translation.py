"""Translation of names, as a function from texts to texts that a config names.

Any function ``(List[str]) -> List[str]`` in the registry ``misc`` will do: one that asks a
service, or a model. ``TermTranslator`` looks up a table of terms.
"""

import csv
import json
import re
import unicodedata
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

Translate = Callable[[List[str]], List[str]]

_WORDS = re.compile(r"\w+|[^\w\s]")
_DELIMITERS = {".tsv": "\t", ".csv": ","}


def translate_texts(translate: Optional[Translate], texts: Sequence[str]) -> List[str]:
    """Translate texts, each distinct one once; without a function they stay as they are.

    Raises ValueError where the function gives something else than a string for each text.
    """
    if translate is None:
        return list(texts)
    distinct = list(dict.fromkeys(texts))
    found = list(translate(distinct)) if distinct else []
    others = {type(text).__name__ for text in found if not isinstance(text, str)}
    if len(found) != len(distinct) or others:
        got = f"{min(others)} among them" if others else f"{len(found)} values"
        raise ValueError(
            f"The translator was asked for {len(distinct)} texts and gave {got}: expected a list "
            "of strings, one for each text, in the same order."
        )
    translated = dict(zip(distinct, found, strict=True))
    return [translated[text] for text in texts]


class TermTranslator:
    """Replaces terms by their translations, the longest first; other words stay.

    Case, accents and white space make no difference: Greek capitals are written without accents.
    The table travels with a saved pipeline, which does not need the file any more: it is read
    when the first text comes.
    """

    def __init__(
        self,
        path: Optional[Union[str, Path]] = None,
        terms: Optional[Iterable[Tuple[str, str]]] = None,
    ):
        """Create a translator of a file, see ``TermTranslator_v1``, or of (term, translation)."""
        self.path = path
        self._table: Optional[Dict[Tuple[str, ...], str]] = None
        self._longest = 0
        if terms is not None:
            self._take(terms)

    def __call__(self, texts: Sequence[str]) -> List[str]:
        """Translate texts. Raises what reading the file raises, see ``TermTranslator_v1``."""
        if self._table is None:
            self._take(_read_terms(Path(self.path or "")))
        return [self._translate(text) for text in texts]

    def to_bytes(self) -> bytes:
        """The table, which is read for it where that has not been done."""
        self([])
        assert self._table is not None
        return json.dumps([[list(key), text] for key, text in self._table.items()]).encode("utf8")

    def from_bytes(self, data: bytes) -> "TermTranslator":
        """Take over what ``to_bytes`` gave."""
        self._set({tuple(key): text for key, text in json.loads(data)})
        return self

    def _take(self, terms: Iterable[Tuple[str, str]]) -> None:
        table: Dict[Tuple[str, ...], str] = {}
        for term, translation in terms:
            table.setdefault(tuple(map(_fold, _WORDS.findall(term))), translation)
        table.pop((), None)
        self._set(table)

    def _set(self, table: Dict[Tuple[str, ...], str]) -> None:
        self._table, self._longest = table, max(map(len, table), default=0)

    def _translate(self, text: str) -> str:
        table = self._table or {}
        words = list(_WORDS.finditer(text))
        keys = [_fold(word[0]) for word in words]
        parts, place, i = [], 0, 0
        while i < len(words):
            sizes = range(min(self._longest, len(words) - i), 0, -1)
            size = next((n for n in sizes if tuple(keys[i : i + n]) in table), 0)
            if size:
                parts += [text[place : words[i].start()], table[tuple(keys[i : i + size])]]
                place = words[i + size - 1].end()
            i += max(size, 1)
        return "".join([*parts, text[place:]])


def TermTranslator_v1(path: Union[str, Path]) -> TermTranslator:
    """Create ``spacy_bioie.TermTranslator.v1`` of the registry ``misc``.

    path: pairs of terms and their translations: a .tsv or .csv file without a header, two cells
        to a line; or a .json file with one object. Of several translations of a term the first
        counts.

    At its first use the translator raises ValueError that names file and line where the file is
    absent or of another form.
    """
    return TermTranslator(path)


def _read_terms(path: Path) -> Iterator[Tuple[str, str]]:
    form = path.suffix.lower()
    if form not in (*_DELIMITERS, ".json"):
        raise ValueError(f"Table of terms '{path}': expected a .tsv, .csv or .json file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"Table of terms '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"Table of terms '{path}': expected UTF-8, but {error}.") from None
    if form == ".json":
        yield from _json_terms(text, path)
        return
    lines = text.splitlines()
    rows: Iterable[List[str]] = (
        # to the csv module a lone quote would open a cell that swallows the lines behind it
        (line.split("\t") for line in lines) if form == ".tsv" else csv.reader(lines)
    )
    for number, cells in enumerate(rows, start=1):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            raise ValueError(
                f"Table of terms '{path}', line {number}: expected a term and its translation, "
                f"got {cells}."
            )
        yield cells[0], cells[1]


def _json_terms(text: str, path: Path) -> Iterator[Tuple[str, str]]:
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"Table of terms '{path}' is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(
            f"Table of terms '{path}': expected an object of terms and their translations, got a "
            f"{type(data).__name__}."
        )
    for term, translation in data.items():
        if not isinstance(translation, str) or not translation.strip():
            raise ValueError(
                f"Table of terms '{path}', term '{term}': expected its translation, got "
                f"{translation!r}."
            )
        yield term, translation.strip()


def _fold(word: str) -> str:
    parts = unicodedata.normalize("NFD", word.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
