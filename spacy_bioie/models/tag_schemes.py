"""Tag schemes: how the tags of a chain are numbered, and which may follow which.

Tag 0 is O, a word outside of all spans. Each label has tags of its own, one for each role that a
word can have in a span: it begins one, lies inside and, in BIOES, ends one or is a single word.
Label ``l`` of the chain in role ``r`` is tag ``1 + l * roles + r``. In BIO the last word of a span
is an inside word, and a span of a single word begins one.
"""

from typing import Literal, NamedTuple

import numpy

Scheme = Literal["BIO", "BIOES"]

BEGIN, INSIDE, END, SINGLE = range(4)
N_ROLES = {"BIO": 2, "BIOES": 4}


class LegalSteps(NamedTuple):
    """What a scheme allows, bool: ``start`` and ``end``, the first and the last tag of a sequence,
    (tags,); ``transitions`` from one tag to the next, (tags, tags)."""

    start: numpy.ndarray
    transitions: numpy.ndarray
    end: numpy.ndarray


def label_of(tags: numpy.ndarray, scheme: Scheme) -> numpy.ndarray:
    """The label of each tag within its chain, of the same shape; -1 for O."""
    return (tags - 1) // N_ROLES[scheme]


def role_of(tags: numpy.ndarray, scheme: Scheme) -> numpy.ndarray:
    """The role of each tag, of the same shape; that of O means nothing."""
    return (tags - 1) % N_ROLES[scheme]


def goes_on(before: numpy.ndarray, tags: numpy.ndarray, scheme: Scheme) -> numpy.ndarray:
    """Whether the word with the second tag goes on with the span of the word with the first."""
    label = label_of(tags, scheme)
    same = (label == label_of(before, scheme)) & (label >= 0)
    return same & may_go_on(before, scheme) & numpy.isin(role_of(tags, scheme), (INSIDE, END))


def may_go_on(tags: numpy.ndarray, scheme: Scheme) -> numpy.ndarray:
    """Whether another word of the span may come after the tag: after B and I."""
    return (tags > 0) & numpy.isin(role_of(tags, scheme), (BEGIN, INSIDE))


def legal_steps(n_tags: int, scheme: Scheme) -> LegalSteps:
    """What the scheme allows in a chain of so many tags.

    I and E have to go on with a span. In BIOES, B and I have to be gone on with.
    """
    tags = numpy.arange(n_tags)
    needs_before = (tags > 0) & numpy.isin(role_of(tags, scheme), (INSIDE, END))
    needs_after = may_go_on(tags, scheme) & (scheme == "BIOES")
    continued = goes_on(tags[:, None], tags[None, :], scheme)
    free = ~needs_after[:, None] & ~needs_before[None, :]
    return LegalSteps(start=~needs_before, transitions=continued | free, end=~needs_after)
