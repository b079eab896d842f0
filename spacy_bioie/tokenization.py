"""An English tokenizer for biomedical text: spaCy's rules, with markup split off.

Abstracts carry tags such as ``<i>`` and ``<sub>`` that touch words. spaCy's own rules leave many
of them inside a token, so that the borders of 2 to 4 % of the mentions of GutBrainIE fall inside
tokens; here every tag is a token of its own, and so are the slashes, dashes, brackets and
operators that join terms.
"""

from typing import Callable, Type

from spacy.lang.en import English
from spacy.language import BaseDefaults, Language
from spacy.tokenizer import Tokenizer
from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex
from spacy.vocab import Vocab

# A tag without blanks (blanks split before these rules are asked), or a character entity.
# Grouped: spaCy anchors each rule where it stands.
MARKUP = r"(?:</?[A-Za-z][A-Za-z0-9]*/?>|&(?:[a-z]+|#[0-9]+);)"
DASHES = r"[-‐‑‒–—−]"
JOINERS = rf"(?:{DASHES}|[/+=<>≤≥±×→~:;,|·•*^&]|\.\.+|…|[()\[\]{{}}]|['’ʹ′″\"“”])"


def EnglishTokenizer_v1() -> Callable[[Language], Tokenizer]:
    """Create the tokenizer ``spacy_bioie.EnglishTokenizer.v1``.

    It is a plain ``spacy.tokenizer.Tokenizer``, so that pipelines save and load it without this
    package, with spaCy's exceptions for English and these rules on top: a tag is a token, and a
    token is split at each character that joins terms (``IL-6/STAT3`` becomes five tokens).
    """

    def create_tokenizer(nlp: Language) -> Tokenizer:
        return make_tokenizer(nlp.vocab, nlp.Defaults)

    return create_tokenizer


def make_tokenizer(vocab: Vocab, defaults: Type[BaseDefaults] = English.Defaults) -> Tokenizer:
    """The tokenizer of ``EnglishTokenizer_v1`` without a pipeline; ``defaults`` gives the rules."""
    prefixes = [MARKUP, JOINERS, *(defaults.prefixes or ())]
    suffixes = [MARKUP, JOINERS, *(defaults.suffixes or ())]
    infixes = [MARKUP, JOINERS, *(defaults.infixes or ())]
    exceptions = {
        text: tokens
        for text, tokens in (defaults.tokenizer_exceptions or {}).items()
        if not any(char in text for char in "/<>")
    }
    return Tokenizer(
        vocab,
        rules=exceptions,
        prefix_search=compile_prefix_regex(prefixes).search,
        suffix_search=compile_suffix_regex(suffixes).search,
        infix_finditer=compile_infix_regex(infixes).finditer,
        token_match=None,
        url_match=None,
    )
