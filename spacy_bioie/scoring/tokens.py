"""Scores of tokens, as some papers report them: BIO tags, most of which are O.

They stand beside the scores of whole mentions because they are far higher: a corpus of which nine
tokens in ten are O gives .9 to a model that finds nothing.
"""

from collections.abc import Iterable, Sequence

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY, Mention, get_mentions, mention_characters, token_borders

TOKEN_FIGURES = ("accuracy", "macro_f", "weighted_f", "entity_micro_f")
OUTSIDE = "O"


def token_tags(doc: Doc, mentions: Sequence[tuple[int, int, str]]) -> list[str]:
    """The BIO tags of the tokens of a Doc.

    mentions: (start, end, label), characters of ``doc.text``, ends exclusive. A token that a
        mention covers in part belongs to it. Of mentions that share a token the longest counts,
        of equally long ones the first.
    """
    starts, ends = token_borders(doc)
    tags = [OUTSIDE] * len(doc)
    for start, end, label in sorted(mentions, key=lambda m: (m[0] - m[1], m[0])):
        first = int(numpy.searchsorted(ends, start, side="right"))
        last = int(numpy.searchsorted(starts, end, side="left"))
        if first < last and all(tag == OUTSIDE for tag in tags[first:last]):
            tags[first:last] = [f"B-{label}"] + [f"I-{label}"] * (last - first - 1)
    return tags


def score_tokens(
    examples: Iterable[Example], spans_key: str = SPANS_KEY
) -> dict[str, float | None]:
    """Score the BIO tags of the references' tokens (AdaBioBERT's and Graphwise's token level).

    Returns ``ner_token_accuracy`` (the micro-F1 over all tags, O included), ``ner_token_macro_f``
    and ``ner_token_weighted_f`` (the mean of the F1 of the tags, O included, of those that either
    side has; weighted by the tokens of the reference), and ``ner_token_entity_micro_f`` (micro-F1
    over all tags but O). Documents whose reference has no such group are left out; figures are
    None where nothing is left.
    """
    gold: list[str] = []
    predicted: list[str] = []
    for eg in examples:
        if spans_key in eg.reference.spans:
            for doc, tags in ((eg.reference, gold), (eg.predicted, predicted)):
                mentions = get_mentions(doc, spans_key)
                tags += token_tags(eg.reference, [_characters(doc, m) for m in mentions])
    if not gold:
        return {f"ner_token_{name}": None for name in TOKEN_FIGURES}
    names, rows = numpy.unique(gold + predicted, return_inverse=True)
    true, given = rows[: len(gold)], rows[len(gold) :]
    hits = numpy.bincount(true[true == given], minlength=len(names))
    support = numpy.bincount(true, minlength=len(names))
    total = support + numpy.bincount(given, minlength=len(names))
    f1 = 2 * hits / total
    entity = names != OUTSIDE
    values = (
        hits.sum() / len(gold),
        f1.mean(),
        (f1 * support).sum() / len(gold),
        2 * hits[entity].sum() / max(total[entity].sum(), 1),
    )
    return {f"ner_token_{name}": float(v) for name, v in zip(TOKEN_FIGURES, values, strict=True)}


def _characters(doc: Doc, mention: Mention) -> tuple[int, int, str]:
    return (*mention_characters(doc, mention), mention.label)
