"""Scores of links: ranked candidates of gold mentions, and recognition plus linking (NERD)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY
from .rules import TASKS, count_items
from .spans import span_items


def score_candidates(
    gold_ids: Sequence[str],
    candidates: Sequence[Sequence[tuple[str, float]]],
    prefix: str = "nel_gold",
) -> dict[str, float | None]:
    """Score ranked candidates against gold concept ids, one list for each mention.

    ``candidates`` are (concept id, score) pairs, best first; an id that is repeated holds only its
    first rank. Mentions whose gold id is the empty string are left out. Returns the share of
    mentions whose id ranks first (``{prefix}_acc1``) or among the first five (``_acc5``) and the
    mean reciprocal rank, 0 where the id is not a candidate (``_mrr``); all None where no mention
    has a gold id. Raises ValueError where the two arguments differ in length.
    """
    if len(gold_ids) != len(candidates):
        raise ValueError(
            f"score_candidates got {len(gold_ids)} gold ids and {len(candidates)} lists of "
            "candidates: expected one list for each gold id."
        )
    ranks = []
    for gold_id, ranked in zip(gold_ids, candidates, strict=True):
        if gold_id:
            order = list(dict.fromkeys(concept for concept, _ in ranked))
            ranks.append(order.index(gold_id) + 1 if gold_id in order else numpy.inf)
    names = (f"{prefix}_acc1", f"{prefix}_acc5", f"{prefix}_mrr")
    if not ranks:
        return dict.fromkeys(names)
    rank = numpy.asarray(ranks, dtype="float64")
    values = ((rank <= 1).mean(), (rank <= 5).mean(), (1.0 / rank).mean())
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def has_links(doc: Doc, key: str = SPANS_KEY) -> bool:
    """Whether a reference says which concepts its mentions name.

    A group whose mentions all lack a concept id is annotated with spans only; an empty group says
    that there is nothing to link.
    """
    if key not in doc.spans:
        return False
    return not len(doc.spans[key]) or any(span.kb_id_ for span in doc.spans[key])


def score_links(examples: Iterable[Example], spans_key: str = SPANS_KEY) -> dict[str, float | None]:
    """Score recognition plus linking (NERD): exact span, label and concept id have to be right.

    Documents whose reference has mentions but no link are left out. Two mentions without a link
    agree. Returns ``nerd_strict_micro_p/r/f``, ``nerd_strict_macro_f``, ``nerd_2026_micro_f`` and
    ``nerd_2026_macro_f``; all None where no gold mention has a link.
    """
    pairs = [
        (span_items(eg.reference, spans_key, links=True), eg.predicted)
        for eg in examples
        if has_links(eg.reference, spans_key)
    ]
    figures: dict[str, float | None] = {}
    linked = any(gold for gold, _ in pairs)
    gold = [items for items, _ in pairs]
    predicted = [span_items(doc, spans_key, links=True) for _, doc in pairs]
    for name, rules, averages in (
        ("strict", "strict", ("micro_p", "micro_r", "micro_f", "macro_f")),
        ("2026", "official-2026", ("micro_f", "macro_f")),
    ):
        values = count_items(gold, predicted, TASKS["nerd"], rules).averages() if linked else {}
        figures.update({f"nerd_{name}_{figure}": values.get(figure) for figure in averages})
    return figures


def make_link_scorer(spans_key: str = SPANS_KEY) -> Callable[..., dict[str, Any]]:
    """Create the scorer ``spacy_bioie.entity_linker_scorer.v1``, see ``score_links``.

    A component that hands over its own ``spans_key`` is scored on that group.
    """

    def scorer(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        return score_links(examples, kwargs.get("spans_key") or spans_key)

    return scorer
