"""Articles with inline marks, a form for writing by hand: one text file an article.

::

    id: S001
    split: train
    year: 2023

    title: {Inulin}[dietary supplement|CHEBI:15443|a] feeds the {gut microbiota}[microbiome]

    abstract: Lines may wrap; they are joined by one blank ...

    relations:
    a | impact | b

A mark is ``{text}[label]``, ``{text}[label|CURIE]`` or ``{text}[label|CURIE|key]`` (the CURIE may
be empty or a whole URI); marks nest. ``\\{``, ``\\}`` and ``\\\\`` are the plain characters.
Relations name keys. Prefixes of CURIEs stand in ``prefixes.json`` beside the folder or in it.
"""

import errno
import re
from pathlib import Path
from typing import Collection, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from ..annotation.gutbrainie import LABELS, LOCATIONS, PREDICATES
from .articles import Article, Entity, EntityRelation
from .errors import FormatError
from .inline_writing import article_to_inline, find_prefixes, write_inline
from .strict_json import RecordReader, read_utf8

__all__ = ["SPLITS", "article_to_inline", "find_prefixes", "read_inline", "write_inline"]

SPLITS = ("train", "dev", "test")
_SECTION = re.compile(r"(title|abstract|relations):(.*)", re.DOTALL)
_HEADER = re.compile(r"([a-z][a-z_]*):(.*)")
_LABEL = re.compile(r"\[([^\[\]|{}]*)(?:\|([^\[\]|{}]*))?(?:\|([^\[\]|{}]*))?\]")
_SPECIAL = re.compile(r"[{}\\]")
_Line = Tuple[int, str]  # number from 1, text


def read_inline(
    folder: Union[str, Path],
    *,
    split: Optional[str] = None,
    prefixes: Optional[Mapping[str, str]] = None,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
    labels: Optional[Collection[str]] = LABELS,
    predicates: Optional[Collection[str]] = PREDICATES,
) -> Iterator[Article]:
    """Read the ``.txt`` files of a folder in the order of their names, or one such file.

    ``split`` keeps the articles of one split (train, dev or test). The metadata is the header
    (without the id) with title and abstract, and an empty author, journal, year and annotator
    where the header has none; entities come in the order of title, abstract, start, end.

    Raises FormatError, naming file, line and what was expected; with ``skip_invalid`` the article
    is left out and the error appended to ``report``. Raises FileNotFoundError.
    """
    folder = Path(folder)
    if split is not None and split not in SPLITS:
        raise ValueError(f"Unknown split '{split}': expected one of {', '.join(SPLITS)}.")
    paths = [folder] if folder.is_file() else sorted(folder.glob("*.txt"))
    if not paths:
        raise FileNotFoundError(errno.ENOENT, "no folder with .txt files", str(folder))
    if prefixes is None:
        prefixes = find_prefixes(paths[0].parent)
    known = prefixes

    def read() -> Iterator[Article]:
        for path in paths:
            try:
                article = _InlineReader(path, known, labels, predicates).article()
                if split is not None and article.metadata.get("split") not in SPLITS:
                    raise FormatError(
                        path, "", "split", f"missing: expected one of {', '.join(SPLITS)}"
                    )
            except FormatError as error:
                if not skip_invalid:
                    raise
                if report is not None:
                    report.append(error)
                continue
            if split in (None, article.metadata.get("split")):
                yield article

    return read()


class _InlineReader(RecordReader):
    def __init__(
        self,
        path: Path,
        prefixes: Mapping[str, str],
        labels: Optional[Collection[str]],
        predicates: Optional[Collection[str]],
    ) -> None:
        super().__init__(path, "")
        self.path = path
        self.prefixes = prefixes
        self.labels = labels
        self.predicates = predicates

    def at(self, line: int, problem: str) -> FormatError:
        return FormatError(self.path, f"line {line}", "", problem)

    def article(self) -> Article:
        header, blocks = self.blocks(read_utf8(self.path))
        if header.get("id") != self.path.stem:
            raise self.error(
                "id",
                f"found {header.get('id')!r}: expected {self.path.stem!r}, the name of the file",
            )
        if header.get("split", SPLITS[0]) not in SPLITS:
            raise self.error(
                "split", f"found {header['split']!r}: expected one of {', '.join(SPLITS)}"
            )
        keys: Dict[str, Tuple[int, int]] = {}
        texts: Dict[str, str] = {}
        marked: List[Tuple[Tuple[int, int, int], Entity, str, int]] = []
        for order, section in enumerate(LOCATIONS):
            texts[section], marks = self.marks(blocks[section])
            for start, end, label, uri, key, line in marks:
                entity = Entity(
                    start, end - 1, section, texts[section][start:end], label, uri or None
                )
                marked.append(((order, start, end), entity, key, line))
        marked.sort(key=lambda mark: mark[0])
        for i, (_, _, key, line) in enumerate(marked):
            if key and key in keys:
                raise self.at(
                    line,
                    f"the key '{key}' stands in line {keys[key][1]} too: expected each key once",
                )
            if key:
                keys[key] = (i, line)
        relations = [self.relation(line, text, keys) for line, text in blocks["relations"]]
        metadata = {
            "title": texts["title"],
            "author": header.pop("author", ""),
            "journal": header.pop("journal", ""),
            "year": header.pop("year", ""),
            "abstract": texts["abstract"],
            "annotator": header.pop("annotator", ""),
        }
        pmid = header.pop("id")
        return Article(pmid, {**metadata, **header}, [mark[1] for mark in marked], relations)

    def blocks(self, text: str) -> Tuple[Dict[str, str], Dict[str, List[_Line]]]:
        """Cut a file into its header and the lines of title, abstract and relations."""
        header: Dict[str, str] = {}
        blocks: Dict[str, List[_Line]] = {}
        names = [*LOCATIONS, "relations"]
        current: Optional[List[_Line]] = None
        for number, line in enumerate(text.split("\n"), 1):
            line = line.strip()
            found = _SECTION.fullmatch(line)
            # "relations:" can begin a line of an abstract only where a section is still to come
            if found and found[1] not in blocks:
                if found[1] != names[len(blocks)]:
                    raise self.at(
                        number, f"found '{found[1]}:': expected '{names[len(blocks)]}:' before it"
                    )
                current = blocks[found[1]] = []
                line = found[2].strip()
            elif current is None and line:
                field = _HEADER.fullmatch(line)
                if not field or field[1] in header:
                    raise self.at(
                        number,
                        f"found {line[:60]!r}: expected a header such as "
                        "'id: S001', each once, or 'title:'",
                    )
                header[field[1]] = field[2].strip()
                continue
            if line and current is not None:
                current.append((number, line))
        for name in names:
            if name not in blocks:
                raise self.error(name, f"missing: expected a line that begins with '{name}:'")
        return header, blocks

    def marks(self, lines: List[_Line]) -> Tuple[str, List[Tuple[int, int, str, str, str, int]]]:
        """Take the marks out: plain text and (start, end, label, URI, key, line) of each."""
        joined = " ".join(line for _, line in lines)
        begins = []
        border = 0
        for number, line in lines:
            begins.append((border, number))
            border += len(line) + 1

        def line_at(position: int) -> int:
            return next(number for begin, number in reversed(begins) if begin <= position)

        out: List[str] = []
        size = position = 0
        opened: List[Tuple[int, int]] = []  # start in the plain text, line
        marks = []
        while position < len(joined):
            found = _SPECIAL.search(joined, position)
            stop = found.start() if found else len(joined)
            out.append(joined[position:stop])
            size += stop - position
            position = stop
            if found is None:
                break
            char, follow = joined[position], joined[position + 1 : position + 2]
            if char == "\\":
                plain = follow if follow and follow in "{}\\" else char
                out.append(plain)
                size += 1
                position += 2 if plain == follow else 1
            elif char == "{":
                opened.append((size, line_at(position)))
                position += 1
            else:
                number = line_at(position)
                label = _LABEL.match(joined, position + 1)
                if not opened:
                    raise self.at(number, "found '}' without '{': expected '\\}' for the character")
                if not label:
                    raise self.at(
                        number,
                        f"found {joined[position : position + 30]!r}: expected "
                        "'}[label|CURIE|key]' at the end of a mark",
                    )
                start, _ = opened.pop()
                name, curie, key = ((part or "").strip() for part in label.groups())
                if not name or (self.labels is not None and name not in self.labels):
                    known = ", ".join(self.labels or ["any name"])
                    raise self.at(number, f"found label {name!r}: expected one of {known}")
                if not "".join(out)[start:size].strip():
                    raise self.at(number, "found an empty mark: expected text between the braces")
                marks.append((start, size, name, self.expand(curie, number), key, number))
                position = label.end()
        if opened:
            raise self.at(
                opened[-1][1],
                "found '{' that is not closed: expected '}[label|CURIE]' in the "
                "same section, or '\\{' for the character",
            )
        return "".join(out), marks

    def expand(self, curie: str, line: int) -> str:
        if not curie or curie.startswith(("http://", "https://")):
            return curie
        prefix, colon, local = curie.partition(":")
        if not colon or not local or prefix not in self.prefixes:
            raise self.at(
                line,
                f"found {curie!r}: expected PREFIX:ID with one of the prefixes "
                f"{', '.join(self.prefixes) or '(prefixes.json is missing)'}",
            )
        return self.prefixes[prefix] + local

    def relation(self, line: int, text: str, keys: Mapping[str, Tuple[int, int]]) -> EntityRelation:
        parts = [part.strip() for part in text.split("|")]
        if len(parts) != 3:
            raise self.at(line, f"found {text[:60]!r}: expected 'key | predicate | key'")
        for key in (parts[0], parts[2]):
            if key not in keys:
                raise self.at(
                    line,
                    f"found key {key!r}: expected one of the article's keys, {', '.join(keys)}",
                )
        predicate = parts[1]
        if not predicate or (self.predicates is not None and predicate not in self.predicates):
            raise self.at(
                line,
                f"found predicate {predicate!r}: expected one of "
                f"{', '.join(self.predicates or ['any name'])}",
            )
        return EntityRelation(keys[parts[0]][0], predicate, keys[parts[2]][0])
