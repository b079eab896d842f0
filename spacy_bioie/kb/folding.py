"""One key for names that differ in number, Greek letters, Roman numerals or a possessive only."""

import re

_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega".split(),
        strict=True,
    )
)
# One letter or two: a longer run is a word of a Greek text
_GREEK_LETTERS = re.compile("(?<![α-ω])[α-ω]{1,2}(?![α-ω])")
_GREEK_AFTER_DIGIT = re.compile(rf"(?<=[0-9])({'|'.join(_GREEK.values())})\b")
_ROMAN = {
    numeral: str(number)
    for number, numeral in enumerate(
        "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx".split(), 1
    )
}
# A single letter is a number only where one is counted: not in "chromosome x" or "vitamin c"
_LETTERS = frozenset("ivx")
_COUNTED = frozenset(
    "angiotensin class collagen complex diabetes factor grade group level phase photosystem stage "
    "subtype type".split()
)
# A lone prime stays where it does not follow a plural: "n,n' sulfonyldiurea"
_POSSESSIVE = re.compile(r"(?<=[a-z])'s(?![a-z0-9'])|(?<=[a-z]{3}s)'(?![a-z0-9'])")
_PLURAL = re.compile("[a-z]+s")
# "viruses" and "patches", but "causes" and "headaches"
_LONG_ENDING = re.compile("(?:ss|sh|x|[nrt]ch|[^abo]us)es$")
_IRREGULAR = {
    "bacteria": "bacterium",
    "children": "child",
    "criteria": "criterion",
    "feet": "foot",
    "fungi": "fungus",
    "men": "man",
    "mice": "mouse",
    "mitochondria": "mitochondrion",
    "teeth": "tooth",
    "women": "woman",
    # acronyms, and words that are no plural
    **{word: word for word in "aids ards herpes lens mers pcos sars series species".split()},
}


def fold_name(name: str) -> str:
    """The key under which a normalised name is found by the other spellings of it.

    Greek letters are spelled out, the Roman numerals II to XX become digits where they are whole
    words of a longer name (I, V and X only after a word that is counted, such as "type"), "'s" goes
    and English plurals lose their ending. A key is no name to show: "gases" may well become no
    word. Folding a key again leaves it as it is.
    """
    if not name.isascii():
        name = _GREEK_LETTERS.sub(_spell_out, name)
    name = _GREEK_AFTER_DIGIT.sub(r" \1", _POSSESSIVE.sub("", name))
    words = name.split()
    for i, word in enumerate(words):
        if word in _ROMAN:
            before = words[i - 1] if i else ""
            if len(words) > 1 and (word not in _LETTERS or before in _COUNTED):
                words[i] = _ROMAN[word]
        else:
            words[i] = _singular(word)
    return " ".join(words)


def _spell_out(letters: "re.Match[str]") -> str:
    return f" {' '.join(_GREEK[letter] for letter in letters[0])} "


def _singular(word: str) -> str:
    """An English word without the ending of its plural, as far as the ending tells one."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not _PLURAL.fullmatch(word) or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if _LONG_ENDING.search(word):
        return word[:-2]
    return word[:-1]
