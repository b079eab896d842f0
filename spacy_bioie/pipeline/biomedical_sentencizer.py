"""Rule-based sentence boundaries for biomedical text.

A full stop ends a sentence only where the text around it says so: "E. coli", "vs.", "Fig. 2" and
"0.05" go on. Sections begin a sentence of their own.
"""

import re
from typing import Any, FrozenSet, Iterable, List, Optional

import numpy
from spacy.attrs import SENT_START
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc

from ..annotation import get_sections, section_token_ranges

# Written without their last full stop, lower case.
ABBREVIATIONS = frozenset(
    "al approx avg ca cf ch chap conc corr dept diff dr ed eds e.g eq eqs est etc ex exp fig figs"
    " i.e incl inc jr lab ltd max min mr mrs ms mt nat no nos nr obs pos prof pt ref refs resp sci"
    " sec sp spp sr ssp st str subsp suppl syn tab temp var vol vs wt viz".split()
)

_STOP = re.compile(
    r"[.!?…]"
    r"(?:[\"'”’)\]]|</[A-Za-z]+>)*"  # what closes belongs to the sentence before
    r"(?P<gap>\s*)"
    r"(?P<next>(?:[(\"'“‘\[]|<[A-Za-z]+>)*(?P<word>\w+))"
)
_WORD_BEFORE = re.compile(r"[^\s(\[<>,;:]+$")


class BiomedicalSentencizer(Pipe):
    """Sets ``token.is_sent_start`` for every token.

    A sentence ends at ``.``, ``!``, ``?`` or an ellipsis where the next word begins with a
    capital or a digit and the word before is no abbreviation. After a single capital letter (a
    genus or an initial) only a function word begins a new sentence: "vitamin D. The" ends,
    "C. Difficile" goes on.
    """

    def __init__(self, name: str = "biomedical_sentencizer", *, abbreviations: Iterable[str] = ()):
        """Create the component; ``abbreviations`` (without the last full stop) join the list."""
        self.name = name
        extra = {text.lower().rstrip(".") for text in abbreviations}
        self.abbreviations: FrozenSet[str] = ABBREVIATIONS | extra

    def __call__(self, doc: Doc) -> Doc:
        if not len(doc):
            return doc
        starts = numpy.full((len(doc),), -1, dtype="int64")
        starts[[start for start, _ in section_token_ranges(doc)]] = 1
        borders = doc.to_array("IDX").astype("int64")
        begins = numpy.asarray(self.find_starts(doc), dtype="int64")
        tokens = numpy.searchsorted(borders, begins)
        inside = tokens < len(doc)
        tokens, begins = tokens[inside], begins[inside]
        starts[tokens[borders[tokens] == begins]] = 1
        values: Any = starts.astype("uint64").reshape((-1, 1))
        doc.from_array([SENT_START], values)
        return doc

    def find_starts(self, doc: Doc) -> List[int]:
        """Characters of the text at which a sentence begins, but for the first of each section."""
        found = []
        text = doc.text
        for section in get_sections(doc):
            for match in _STOP.finditer(text, section.start, section.end):
                if self._ends_sentence(doc, text[section.start : match.start()], match):
                    found.append(match.start("next"))
        return found

    def _ends_sentence(self, doc: Doc, before: str, match: "re.Match[str]") -> bool:
        following = match["word"]
        if not (following[0].isupper() or following[0].isdigit()):
            return False
        if match[0][0] != ".":
            return bool(match["gap"])
        found = _WORD_BEFORE.search(before)
        word = found[0] if found else ""
        if not match["gap"]:
            # Sections of structured abstracts are often glued: "the brain.Several modes"
            return word[-1:].islower() and following[:1].isupper() and len(following) > 1
        if word.lower() in self.abbreviations:
            # "spp. The" ends, "et al. The" ends, "Fig. 2" and "Dr. Who" do not
            return word.lower() in {"al", "sp", "spp", "etc"} and self._is_function_word(
                doc, following
            )
        if len(word) == 1 and word.isupper():
            return self._is_function_word(doc, following)
        return True

    @staticmethod
    def _is_function_word(doc: Doc, word: str) -> bool:
        return word[0].isupper() and doc.vocab[word.lower()].is_stop


@Language.factory(
    "biomedical_sentencizer",
    assigns=["token.is_sent_start", "doc.sents"],
    default_config={"abbreviations": None},
)
def make_biomedical_sentencizer(
    nlp: Language, name: str, abbreviations: Optional[List[str]]
) -> BiomedicalSentencizer:
    """Create the component ``biomedical_sentencizer``."""
    return BiomedicalSentencizer(name, abbreviations=abbreviations or ())
