"""Predicted mentions in place of gold ones, for a ``relation_extractor`` to learn from."""

from typing import List, Sequence

import numpy
from spacy.training import Example

from ..annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    mention_table,
    set_mentions,
    set_relations,
)

MATCHES = ("exact", "overlap")


def with_predicted_mentions(
    example: Example, key: str, predicted_key: str, match: str = "exact"
) -> Example:
    """An example whose reference has its predicted mentions as ``doc.spans[key]``.

    A relation is carried over to each pair of predicted mentions that match its head and tail;
    one whose head or tail no predicted mention matches is lost.

    predicted_key: the group of the reference with the predicted mentions.
    match: see ``matching``.
    RETURNS: a new example with the same predicted document; the given one stays as it is.
    """
    reference = example.reference.copy()
    gold = get_mentions(reference, key)
    predicted = set_mentions(reference, key, get_mentions(reference, predicted_key), keep_ids=False)
    ids = {
        mention.id: [predicted[i].id for i in found]
        for mention, found in zip(gold, matching(gold, predicted, match), strict=True)
    }
    rows = [
        (head, label, tail, score)
        for gold_head, label, gold_tail, score in get_relation_rows(reference)
        for head in ids[gold_head]
        for tail in ids[gold_tail]
        if head != tail
    ]
    set_relations(reference, key, dict.fromkeys(rows))
    return Example(example.predicted, reference)


def matching(
    gold: Sequence[Mention], predicted: Sequence[Mention], match: str = "exact"
) -> List[List[int]]:
    """The predicted mentions, by index, that stand for each gold mention.

    match: "exact", those with the same label and token borders; "overlap", those with the same
        label for which no other gold mention shares more of the tokens that either covers.
    """
    labels = {mention.label: i for i, mention in enumerate(gold)}
    starts, ends, label = mention_table(gold, labels).T[:, :, None]
    others = mention_table(predicted, labels).T[:, None, :]
    common = numpy.minimum(ends, others[1]) - numpy.maximum(starts, others[0])
    either = numpy.maximum(ends, others[1]) - numpy.minimum(starts, others[0])
    share = numpy.where(label == others[2], common.clip(0) / either, 0.0)
    best = share.max(axis=0, initial=0.0)
    kept = (share == best) & (best == 1.0 if match == "exact" else best > 0.0)
    return [numpy.flatnonzero(row).tolist() for row in kept]
