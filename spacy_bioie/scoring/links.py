"""Scores of links: ranked candidates of gold mentions, and recognition plus linking (NERD)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY, concept_ids
from .rules import TASKS, count_items
from .spans import span_items

RECALL_SIZES = (5, 10, 20)  # of the first candidates, see ``candidate_recall``


def score_candidates(
    gold_ids: Sequence[str],
    candidates: Sequence[Sequence[tuple[str, float]]],
    prefix: str = "nel_gold",
) -> dict[str, float | None]:
    """Score ranked candidates against gold concept ids, one list for each mention.

    ``candidates`` are (concept id, score) pairs, best first; an id that is repeated holds only its
    first rank. Of a gold id that joins several ("I10|I50", see ``annotation.concept_ids``) the one
    that ranks best counts. Mentions whose gold id is the empty string are left out. Returns the
    share of mentions whose id ranks first (``{prefix}_acc1``) or among the first five (``_acc5``)
    and the mean reciprocal rank, 0 where the id is not a candidate (``_mrr``); all None where no
    mention has a gold id. Raises ValueError where the two arguments differ in length.
    """
    _check_lengths("score_candidates", gold_ids, candidates)
    rank = _ranks(gold_ids, candidates)
    return {
        f"{prefix}_acc1": _mean(rank <= 1),
        f"{prefix}_acc5": _mean(rank <= 5),
        f"{prefix}_mrr": _mean(1.0 / rank),
    }


def candidate_recall(
    gold_ids: Sequence[str],
    candidates: Sequence[Sequence[tuple[str, float]]],
    prefix: str = "candidates",
    sizes: Sequence[int] = RECALL_SIZES,
) -> dict[str, float | None]:
    """Score sets of candidates by what they hold, whatever comes to choose among them.

    Arguments and errors are those of ``score_candidates``. Returns the share of mentions whose
    gold id is among the first k distinct candidates for each k of ``sizes``
    (``{prefix}_recall{k}``), and among all of them (``{prefix}_recall``); None without gold ids.
    """
    _check_lengths("candidate_recall", gold_ids, candidates)
    ranks = _ranks(gold_ids, candidates)
    figures: dict[str, float | None] = {
        f"{prefix}_recall{k}": _mean(ranks <= k) for k in sorted(sizes)
    }
    return {**figures, f"{prefix}_recall": _mean(numpy.isfinite(ranks))}


def disambiguation_accuracy(
    gold_ids: Sequence[str],
    candidates: Sequence[Sequence[tuple[str, float]]],
    ranked: Sequence[Sequence[tuple[str, float]]] | None = None,
) -> float | None:
    """The share of mentions whose gold id ranks first, of those that have it as a candidate.

    ``candidates`` are the sets that were chosen from, ``ranked`` the choice, best first (the same
    lists by default). None where no set holds the gold id. Errors are those of
    ``score_candidates``.
    """
    ranked = candidates if ranked is None else ranked
    for lists in (candidates, ranked):
        _check_lengths("disambiguation_accuracy", gold_ids, lists)
    found = numpy.isfinite(_ranks(gold_ids, candidates))
    return _mean(_ranks(gold_ids, ranked)[found] == 1)


def has_links(doc: Doc, key: str = SPANS_KEY) -> bool:
    """Whether a reference says which concepts its mentions name.

    A group whose mentions all lack a concept id is annotated with spans only; an empty group says
    that there is nothing to link.
    """
    if key not in doc.spans:
        return False
    return not len(doc.spans[key]) or any(span.kb_id_ for span in doc.spans[key])


def score_links(
    examples: Iterable[Example],
    spans_key: str = SPANS_KEY,
    main_id: Callable[[str], str] | None = None,
) -> dict[str, float | None]:
    """Score recognition plus linking (NERD): exact span, label and concept id have to be right.

    ``main_id`` gives the id under which a concept is predicted, where gold has another id of it.
    The strict rules take the two for one; the official ones compare ids as they are written.

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
    written = [items for items, _ in pairs]
    gold = written
    if main_id is not None:
        gold = [[(*item[:-1], main_id(str(item[-1]))) for item in items] for items in written]
    predicted = [span_items(doc, spans_key, links=True) for _, doc in pairs]
    for name, rules, expected, averages in (
        ("strict", "strict", gold, ("micro_p", "micro_r", "micro_f", "macro_f")),
        ("2026", "official-2026", written, ("micro_f", "macro_f")),
    ):
        values = count_items(expected, predicted, TASKS["nerd"], rules).averages() if linked else {}
        figures.update({f"nerd_{name}_{figure}": values.get(figure) for figure in averages})
    return figures


def make_link_scorer(spans_key: str = SPANS_KEY) -> Callable[..., dict[str, Any]]:
    """Create the scorer ``spacy_bioie.entity_linker_scorer.v1``, see ``score_links``.

    A component that hands over its own ``spans_key`` is scored on that group, one that hands over
    ``main_id`` by the strict rules with gold ids as these.
    """

    def scorer(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        key = kwargs.get("spans_key") or spans_key
        return score_links(examples, key, kwargs.get("main_id"))

    return scorer


def _check_lengths(name: str, gold_ids: Sequence[str], candidates: Sequence[Any]) -> None:
    if len(gold_ids) != len(candidates):
        raise ValueError(
            f"{name} got {len(gold_ids)} gold ids and {len(candidates)} lists of "
            "candidates: expected one list for each gold id."
        )


def _ranks(
    gold_ids: Sequence[str], candidates: Sequence[Sequence[tuple[str, float]]]
) -> numpy.ndarray:
    """The rank of each gold id that is not empty among its distinct candidates, inf for none."""
    ranks = []
    for gold_id, found in zip(gold_ids, candidates, strict=True):
        if gold_id:
            order = list(dict.fromkeys(concept for concept, _ in found))
            places = [order.index(i) + 1 for i in concept_ids(gold_id) if i in order]
            ranks.append(min(places, default=numpy.inf))
    return numpy.asarray(ranks, dtype="float64")


def _mean(values: numpy.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
