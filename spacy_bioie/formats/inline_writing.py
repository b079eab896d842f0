"""Write articles with inline marks; ``inline`` says how the form looks."""

import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Tuple, Union

from ..annotation.gutbrainie import LOCATIONS
from .articles import Article
from .atomic import write_texts
from .errors import FormatError
from .strict_json import Repeated, parse_json, read_utf8

_WIDTH = 100  # characters of a line, as far as words allow
_NAME = re.compile(r"[a-z][a-z_]*")
_SECTION = re.compile(r"(?:title|abstract|relations):")
_RESERVED = ("id", "relations", *LOCATIONS)


def article_to_inline(article: Article, prefixes: Mapping[str, str]) -> str:
    """The text of an article's file.

    URIs without a prefix are written whole; entities get keys where relations need them. Raises
    FormatError for what the form cannot hold: overlapping marks that do not nest, line breaks in
    a section or blanks at its ends, ``[ ] | { }`` in labels and URIs, metadata that is no text.
    """
    used = sorted({i for r in article.relations for i in (r.subject, r.object)})
    keys = {i: _key(n) for n, i in enumerate(used)}
    lines = [f"id: {article.pmid}"]
    # "split" is what a reader looks for first
    for name, value in sorted(article.metadata.items(), key=lambda item: item[0] != "split"):
        if name in LOCATIONS or value == "":
            continue
        if name in _RESERVED or not _NAME.fullmatch(name) or not _is_line(value):
            raise _error(
                article,
                f"metadata.{name}",
                f"found {value!r}: expected a line of text under a name of small letters",
            )
        lines.append(f"{name}: {value}")
    for name in LOCATIONS:
        section = _marked_section(article, name, prefixes, keys)
        lines += ["", *_wrap(f"{name}: {section}".rstrip())]
    lines += ["", "relations:"]
    for i, relation in enumerate(article.relations):
        if not _is_line(relation.predicate) or "|" in relation.predicate:
            raise _error(
                article,
                f"relations[{i}].predicate",
                f"found {relation.predicate!r}: expected a line of text without '|'",
            )
        lines.append(f"{keys[relation.subject]} | {relation.predicate} | {keys[relation.object]}")
    return "\n".join(lines) + "\n"


def write_inline(
    articles: Iterable[Article],
    folder: Union[str, Path],
    *,
    prefixes: Optional[Mapping[str, str]] = None,
) -> int:
    """Write one file an article, named after its id, and return their number.

    Prefixes are those given, or those of ``find_prefixes(folder)``. No file is written where one
    article raises FormatError (see ``article_to_inline``). Raises OSError.
    """
    folder = Path(folder)
    known = find_prefixes(folder) if prefixes is None else prefixes
    texts: Dict[Path, str] = {}
    for article in articles:
        path = folder / f"{article.pmid}.txt"
        if path.parent != folder or path in texts or not _is_line(article.pmid):
            raise _error(
                article, "id", "expected an id that no other article has and that can name a file"
            )
        texts[path] = article_to_inline(article, known)
    write_texts(texts)
    return len(texts)


def find_prefixes(folder: Union[str, Path]) -> Dict[str, str]:
    """Read the ``prefixes.json`` in a folder or beside it: prefix -> beginning of the URI.

    Returns no prefixes where there is no such file; raises FormatError for a malformed one.
    """
    folder = Path(folder)
    for path in (folder / "prefixes.json", folder.parent / "prefixes.json"):
        if path.is_file():
            break
    else:
        return {}
    values = parse_json(read_utf8(path), path)
    if not isinstance(values, dict) or isinstance(values, Repeated):
        raise FormatError(path, "", "", "expected an object with each prefix once")
    for prefix, base in values.items():
        if not isinstance(base, str) or not base:
            raise FormatError(path, "", prefix, "expected the beginning of a URI as a string")
    return values


def _marked_section(
    article: Article, section: str, prefixes: Mapping[str, str], keys: Mapping[int, str]
) -> str:
    text = article.metadata[section]
    if text != text.strip() or "\n" in text or "\r" in text:
        raise _error(
            article, section, "expected no line breaks, and no white space at the beginning or end"
        )
    marks: List[Tuple[int, int, int]] = [
        (entity.start_idx, -entity.end_idx - 1, -i)  # an outer mark comes before an inner one
        for i, entity in enumerate(article.entities)
        if entity.location == section
    ]
    out: List[str] = []
    opened: List[Tuple[int, str]] = []  # end, what closes the mark
    position = 0

    def copy(end: int) -> None:
        nonlocal position
        out.append(re.sub(r"[{}\\]", r"\\\g<0>", text[position:end]))
        position = end

    for start, end, i in sorted(marks):
        end, i = -end, -i
        while opened and opened[-1][0] <= start:
            copy(opened[-1][0])
            out.append(opened.pop()[1])
        if opened and opened[-1][0] < end:
            raise _error(
                article,
                f"entities[{i}]",
                f"{article.entities[i].text_span!r} overlaps another entity: expected entities "
                "that nest or lie apart",
            )
        copy(start)
        out.append("{")
        opened.append((end, _closing(article, i, prefixes, keys)))
    while opened:
        copy(opened[-1][0])
        out.append(opened.pop()[1])
    copy(len(text))
    return "".join(out)


def _closing(article: Article, i: int, prefixes: Mapping[str, str], keys: Mapping[int, str]) -> str:
    entity = article.entities[i]
    curie = _shorten(entity.uri or "", prefixes)
    if not _is_line(entity.label) or re.search(r"[\[\]|{}]", entity.label):
        raise _error(
            article,
            f"entities[{i}].label",
            f"found {entity.label!r}: expected a line of text without [ ] | {{ }}",
        )
    if curie and (not _is_line(curie) or re.search(r"[\[\]|{}]", curie)):
        raise _error(
            article,
            f"entities[{i}].uri",
            f"found {curie!r}: expected a line of text without [ ] | {{ }}",
        )
    if curie == entity.uri and not curie.startswith(("http://", "https://")):
        raise _error(
            article,
            f"entities[{i}].uri",
            f"found {curie!r}: expected a URI with a known prefix or "
            "one that begins with http:// or https://",
        )
    parts = [entity.label, curie, keys.get(i, "")]
    while not parts[-1]:
        parts.pop()
    return "}[" + "|".join(parts) + "]"


def _shorten(uri: str, prefixes: Mapping[str, str]) -> str:
    fitting = [
        (base, name) for name, base in prefixes.items() if uri.startswith(base) and uri != base
    ]
    if not fitting:
        return uri
    base, name = max(fitting, key=lambda pair: len(pair[0]))
    return f"{name}:{uri[len(base) :]}"


def _key(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    key = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        key = chr(ord("a") + letter) + key
    return key


def _wrap(text: str) -> List[str]:
    """Break a text at single blanks; joined by one blank the lines are the text again."""
    line, *words = text.split(" ")
    lines: List[str] = []
    for word in words:
        breakable = line and not line[-1].isspace() and word and not word[0].isspace()
        # a line that begins like a section would be read as one
        if not breakable or len(line) + 1 + len(word) <= _WIDTH or _SECTION.match(word):
            line = f"{line} {word}"
        else:
            lines.append(line)
            line = word
    return [*lines, line]


def _is_line(value: object) -> bool:
    return (
        isinstance(value, str)
        and bool(value)
        and value == value.strip()
        and not re.search(r"[\n\r]", value)
    )


def _error(article: Article, field: str, problem: str) -> FormatError:
    return FormatError("", f"article {article.pmid}", field, problem)
