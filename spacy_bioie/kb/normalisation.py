"""One form for all spellings of a name that differ in case, hyphens, blanks or encoding only."""

import html
import re
import unicodedata

_TAGS = re.compile(r"</?[A-Za-z][A-Za-z0-9]*/?>")
_ENTITIES = re.compile(r"&(?:[A-Za-z]+|#[0-9]+);")
_ACCENTS = re.compile(r"(?<=[a-z])[\u0300-\u036f]+")
_QUOTES = str.maketrans({c: "'" for c in "‘’ʹʼʻ′´`"} | {c: '"' for c in "“”″„"})
# hyphens, dashes, the minus sign, underscore
_DASHES = re.compile("[-_\u00ad\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_BLANKS = re.compile("[\\s\u200b\u200c\u200d\u2060\ufeff\x00-\x1f]+")


def normalise_name(text: str) -> str:
    """Bring a name to the form under which dictionaries and name vectors know it.

    Markup tags go and character entities are resolved; Unicode compatibility forms become plain
    ones (NFKC: a superscript two becomes a digit); case is folded; accents on Latin letters go,
    those of other scripts stay; quotes become straight; hyphens, dashes, underscores and white
    space become one blank. Only a text without any visible character becomes the empty string:
    one that holds nothing but dashes keeps them.
    """
    text = _ENTITIES.sub(lambda found: html.unescape(found[0]), _TAGS.sub("", text))
    text = unicodedata.normalize("NFKC", text).casefold()
    if not text.isascii():
        text = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = _BLANKS.sub(" ", text).strip()
    return _BLANKS.sub(" ", _DASHES.sub(" ", text)).strip() or text
