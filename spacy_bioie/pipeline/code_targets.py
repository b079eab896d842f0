"""What a ``code_linker`` learns from: the codes of the mentions of references."""

from typing import Iterable, Iterator, Sequence

import numpy
from spacy.training import Example

from ..annotation import Mention, concept_ids, get_mentions


def code_targets(mentions: Sequence[Sequence[Mention]], labels: Sequence[str]) -> numpy.ndarray:
    """The weight of each code for the mentions of all documents: float32, (mentions, codes).

    The rows of mentions without a code of the set are zeros.
    """
    index = {code: i for i, code in enumerate(labels)}
    flat = [mention for row in mentions for mention in row]
    target = numpy.zeros((len(flat), len(index)), dtype="float32")
    for weights, mention in zip(target, flat, strict=True):
        known = [index[code] for code in concept_ids(mention.kb_id) if code in index]
        weights[known] = 1.0 / max(len(known), 1)
    return target


def reference_codes(key: str, examples: Iterable[Example]) -> Iterator[str]:
    """The codes of the mentions of ``doc.spans[key]``, one for each mention and code."""
    for eg in examples:
        for mention in get_mentions(eg.reference, key):
            yield from concept_ids(mention.kb_id)
