"""The component ``abbreviations``: finds short forms that a document defines, and where they stand.

The algorithm is that of Schwartz and Hearst, "A simple algorithm for identifying abbreviation
definitions in biomedical text", PSB 2003. Where this module departs from the paper it says so.
"""

import re
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc

from ..annotation import Abbreviation, section_token_ranges, set_abbreviations
from ..tokenization import MARKUP

_TAG = re.compile(MARKUP)
# In the place of each character of markup: neither a blank nor part of a word
_FILLER = "\u2060"
_BRACKET = re.compile(r"[()\[\]]")
_OPENING = {")": "(", "]": "["}
# What else stands in the brackets begins here: "(ASD; n = 12)", "(ASD, mild)", "(ASD [OMIM 1])"
_END_OF_SHORT = re.compile(r"[,;:(\[]")
_END_OF_LONG = re.compile(r"[,;]\s")
_NOT_IN_SHORT = re.compile(r"[=<>≤≥±%]")
_TRIMMED = " \t\n\u00a0" + _FILLER + "\"'“”‘’"
# What a chemical name may have before its first word: 1-methyl, 2,3-dihydroxy, D-lactic, N-acetyl
_LOCANT = re.compile(r"(?<![^\s\u2060])(?:\d[\d,']*|[^\W\d_])-$")
_FUNCTION_WORDS = frozenset(
    "and as at but by for from in not of on or that the to was were with".split()
)
# A Greek letter of a short form stands for its name too: TNF-α, tumour necrosis factor alpha
_GREEK = str.maketrans("αβγδεζηθικλμνοπρστυφχψω", "abgdezetiklmnoprstupcpo")
# A long form of at most 15 words is not looked for farther away than this
_REACH = 1000


def is_short_form(text: str) -> bool:
    """Whether a text can be a short form.

    By the paper it has 2 to 10 characters in at most two words, a letter among them, and begins
    with a letter or a digit. It must also hold two letters or digits, one of which is a capital
    or a digit, and no operator: "(p = 0.01)", "(i.e.)" and "(oral)" are none.
    """
    signs = [char for char in text if char.isalnum()]
    return (
        2 <= len(text) <= 10
        and len(text.split()) <= 2
        and text[0].isalnum()
        and len(signs) >= 2
        and any(char.isalpha() for char in signs)
        and any(char.isupper() or char.isdigit() for char in signs)
        and not _NOT_IN_SHORT.search(text)
    )


def match_long_form(short: str, text: str) -> int:
    """Where the long form of a short form begins that ends where the text ends; -1 for none.

    The paper's rule finds the shortest: from right to left, each letter and digit of the short
    form is looked for in the text, and the first one must begin a word, which may be joined to the
    one before by a hyphen. Before that rule, the last words are taken whose initials are
    the short form ("depressive disorder" for DD, where the rule says "disorder"). A locant before
    the first word belongs to it.
    """
    text = text.lower().translate(_GREEK)
    signs = [char for char in short.lower().translate(_GREEK) if char.isalnum()]
    words = list(re.finditer(r"[^\W_]+", text))[-len(signs) :]
    if [word[0][0] for word in words] == signs:
        place = words[0].start()
    else:
        place = len(text)
        for i, char in reversed(list(enumerate(signs))):
            place = text.rfind(char, 0, place)
            while i == 0 and place > 0 and text[place - 1].isalnum():
                place = text.rfind(char, 0, place)
            if place < 0:
                return -1
    locant = _LOCANT.search(text, 0, place)
    return locant.start() if locant else place


def find_definitions(text: str, start: int = 0, end: Optional[int] = None) -> List[Abbreviation]:
    """Find the definitions in the sentence ``text[start:end]``, in the order of their brackets.

    A definition is ``long form (short form)``, or ``short form (long form)`` where the brackets
    hold no short form of what is before them. Square brackets do as well.
    """
    sentence = _TAG.sub(lambda tag: _FILLER * len(tag[0]), text[start:end])
    found = []
    for opening, closing in _bracket_pairs(sentence):
        ranges = _short_inside(sentence, opening, closing)
        ranges = ranges or _short_before(sentence, opening, closing)
        if ranges is not None:
            found.append(Abbreviation(*(start + offset for offset in ranges)))
    return found


def find_occurrences(
    text: str, definitions: Sequence[Abbreviation], *, plurals: bool = True
) -> List[Abbreviation]:
    """Find all places of a text where a defined short form stands as a word of its own.

    Case has to agree. A short form that is defined again has from there on its new long form;
    what stands before the first definition has the first one. Of overlapping short forms the
    longest counts.

    definitions: of the text. plurals: a capital or digit at the end of a short form may be
        followed by an "s" that the definition lacks, and the other way round.
    """
    known: Dict[str, List[Abbreviation]] = {}
    for definition in sorted(definitions):
        known.setdefault(text[definition.start : definition.end], []).append(definition)
    if plurals:
        for short in list(known):
            stem = short.removesuffix("s")
            if len(stem) > 1 and (stem[-1].isupper() or stem[-1].isdigit()):
                for form in (stem, stem + "s"):
                    known.setdefault(form, known[short])
    if not known:
        return []
    forms = "|".join(re.escape(form) for form in sorted(known, key=len, reverse=True))
    found = []
    for match in re.finditer(rf"(?<!\w)(?:{forms})(?!\w)", text):
        rows = known[match[0]]
        row = next((row for row in reversed(rows) if row.start <= match.start()), rows[0])
        found.append(row._replace(start=match.start(), end=match.end()))
    return found


class AbbreviationDetector(Pipe):
    """Writes ``doc._.abbreviations``: the short forms of a document, with ``span._.long_form``.

    Both forms of a definition stand in one sentence, or where no component has set sentences, in
    one section.
    """

    def __init__(self, name: str = "abbreviations", *, plurals: bool = True) -> None:
        """Create the component; for ``plurals`` see ``find_occurrences``."""
        self.name = name
        self.plurals = plurals

    def __call__(self, doc: Doc) -> Doc:
        text = doc.text
        definitions = [
            definition
            for start, end in _sentences(doc)
            for definition in find_definitions(text, start, end)
        ]
        set_abbreviations(doc, find_occurrences(text, definitions, plurals=self.plurals))
        return doc


@Language.factory(
    "abbreviations",
    assigns=["doc._.abbreviations", "span._.long_form"],
    default_config={"plurals": True},
)
def make_abbreviations(nlp: Language, name: str, plurals: bool) -> AbbreviationDetector:
    """Create the component ``abbreviations``."""
    return AbbreviationDetector(name, plurals=plurals)


def _sentences(doc: Doc) -> Iterator[Tuple[int, int]]:
    """Characters of the sentences, none of which reaches beyond its section."""
    if not len(doc):
        return
    starts = {start for start, _ in section_token_ranges(doc)}
    if doc.has_annotation("SENT_START"):
        starts.update(sent.start for sent in doc.sents)
    borders = [doc[start].idx for start in sorted(starts)]
    yield from zip(borders, [*borders[1:], len(doc.text)], strict=True)


def _bracket_pairs(text: str) -> List[Tuple[int, int]]:
    """The offsets of brackets that belong together, by the first."""
    pairs = []
    opened: List[int] = []
    for bracket in _BRACKET.finditer(text):
        if bracket[0] not in _OPENING:
            opened.append(bracket.start())
        elif opened and text[opened[-1]] == _OPENING[bracket[0]]:
            pairs.append((opened.pop(), bracket.start()))
    return sorted(pairs)


def _short_inside(text: str, opening: int, closing: int) -> Optional[Tuple[int, int, int, int]]:
    """``long form (short form)``: both ranges, or None."""
    stop = _END_OF_SHORT.search(text, opening + 1, closing)
    start, end = _trim(text, opening + 1, stop.start() if stop else closing)
    short = text[start:end]
    if not is_short_form(short):
        return None
    reach = max(0, opening - _REACH)
    n = _most_words(short)
    words = text[reach:opening].rsplit(None, n)
    first = reach + len(words[0]) if len(words) > n else reach
    long_start, long_end = _trim(text, first, opening)
    place = match_long_form(short, text[long_start:long_end])
    if place < 0 or not _is_long_form(text[long_start + place : long_end], short):
        return None
    return start, end, long_start + place, long_end


def _short_before(text: str, opening: int, closing: int) -> Optional[Tuple[int, int, int, int]]:
    """``short form (long form)``: both ranges, or None. The long form begins at the bracket."""
    before = text[max(0, opening - _REACH) : opening].rstrip()
    words = before.rsplit(None, 1)
    if not words:
        return None
    end = opening - (min(opening, _REACH) - len(before))
    start, end = _trim(text, end - len(words[-1]), end)
    short = text[start:end]
    stop = _END_OF_LONG.search(text, opening + 1, closing)
    long_start, long_end = _trim(text, opening + 1, stop.start() if stop else closing)
    long = text[long_start:long_end]
    if (
        not is_short_form(short)
        or len(long.split()) > _most_words(short)
        or match_long_form(short, long) != 0
        or not _is_long_form(long, short)
    ):
        return None
    return start, end, long_start, long_end


def _is_long_form(long: str, short: str) -> bool:
    """The paper's filters; and brackets are whole, and no function word begins it."""
    return (
        len(long) > len(short)
        and not re.search(rf"(?<!\w){re.escape(short)}(?!\w)", long)
        and all(long.count(end) == long.count(start) for end, start in _OPENING.items())
        and long.split()[0] not in _FUNCTION_WORDS
    )


def _most_words(short: str) -> int:
    return min(len(short) + 5, 2 * len(short))


def _trim(text: str, start: int, end: int) -> Tuple[int, int]:
    while start < end and text[start] in _TRIMMED:
        start += 1
    while start < end and text[end - 1] in _TRIMMED:
        end -= 1
    return start, end
