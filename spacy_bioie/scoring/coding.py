"""Scores of coding, as ELCardioCC asks: mentions with codes (EL), codes of documents (MLC-X).

All are sets, and every prediction counts. Micro figures pool the items of all documents; macro-F1
is the unweighted mean over the codes that occur in the gold annotation.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY, concept_ids, get_codes, get_mentions, mention_characters
from ..annotation.codes import CODES_KEY
from .links import has_links
from .rules import Item, Task, count_items

TASKS = {
    "ner": Task("ner", ("start", "end"), ()),
    "el": Task("el", ("start", "end", "code"), ("code",)),
    "mlcx": Task("mlcx", ("code",), ("code",)),
}
_MICRO = ("micro_p", "micro_r", "micro_f")


def score_coded_mentions(
    gold: Sequence[Iterable[tuple[int, int, str]]],
    predicted: Sequence[Iterable[tuple[int, int, str]]],
) -> dict[str, float | None]:
    """Score (start, end, code) items of aligned documents: span and code have to be right.

    Returns ``el_micro_p/r/f`` and ``el_macro_f``, and for the spans alone
    ``el_spans_micro_p/r/f``; None where no document has a gold item. Items with the code "" count
    as spans only. Raises ValueError where the two arguments differ in length.
    """
    _check_lengths("score_coded_mentions", gold, predicted)
    true, given = [list(row) for row in gold], [list(row) for row in predicted]
    figures = _score("el", _coded(true), _coded(given), "el", (*_MICRO, "macro_f"))
    spans = _score("ner", _spans(true), _spans(given), "el_spans", _MICRO)
    return {**figures, **spans}


def score_document_codes(
    gold: Sequence[Iterable[str]], predicted: Sequence[Iterable[str]]
) -> dict[str, float | None]:
    """Score the codes of aligned documents: ``mlcx_micro_p/r/f`` and ``mlcx_macro_f``.

    A code that is repeated in a document counts once. None where no document has a gold code.
    Raises ValueError where the two arguments differ in length.
    """
    _check_lengths("score_document_codes", gold, predicted)
    true, given = ([[(code,) for code in row] for row in rows] for rows in (gold, predicted))
    return _score("mlcx", true, given, "mlcx", (*_MICRO, "macro_f"))


def score_coding(
    examples: Iterable[Example], spans_key: str = SPANS_KEY
) -> dict[str, float | None]:
    """Score the codes of mentions and of documents, see the functions above.

    Mentions are those of ``doc.spans[spans_key]`` by their exact characters and ``kb_id_``; one
    with several codes ("I10|I50") is an item for each. Codes of a document are ``doc._.codes``
    where they were stated or set, else those of its mentions. Documents whose reference has no
    codes, neither of mentions nor stated, are left out, and those whose codes alone are stated are
    left out of the scores of mentions.
    """
    examples = list(examples)
    linked = [eg for eg in examples if has_coded_mentions(eg.reference, spans_key)]
    coded = [
        eg
        for eg in examples
        if CODES_KEY in eg.reference.user_data or has_links(eg.reference, spans_key)
    ]
    return {
        **score_coded_mentions(
            [coded_mentions(eg.reference, spans_key) for eg in linked],
            [coded_mentions(eg.predicted, spans_key) for eg in linked],
        ),
        **score_document_codes(
            [codes_of(eg.reference, spans_key) for eg in coded],
            [codes_of(eg.predicted, spans_key) for eg in coded],
        ),
    }


def has_coded_mentions(doc: Doc, key: str = SPANS_KEY) -> bool:
    """Whether a reference says which codes its mentions have.

    As ``has_links``, but an empty group beside codes of the document says nothing: they have
    mentions, which nobody has marked.
    """
    return has_links(doc, key) and (len(doc.spans[key]) > 0 or not codes_of(doc, key))


def coded_mentions(doc: Doc, key: str = SPANS_KEY) -> list[tuple[int, int, str]]:
    """The (start, end, code) items of ``doc.spans[key]``; the code is "" for no link."""
    return [
        (*mention_characters(doc, mention), code)
        for mention in get_mentions(doc, key)
        for code in concept_ids(mention.kb_id) or [""]
    ]


def codes_of(doc: Doc, key: str = SPANS_KEY) -> list[str]:
    """The codes of a document: stored ones, else those that ``doc.spans[key]`` links to."""
    if CODES_KEY in doc.user_data:
        return [row["code"] for row in get_codes(doc)]
    return list(dict.fromkeys(code for _, _, code in coded_mentions(doc, key) if code))


def make_coding_scorer(spans_key: str = SPANS_KEY) -> Callable[..., dict[str, Any]]:
    """Create the scorer ``spacy_bioie.coding_scorer.v1``, see ``score_coding``.

    A component that hands over its own ``spans_key`` is scored on that group.
    """

    def scorer(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        return score_coding(examples, kwargs.get("spans_key") or spans_key)

    return scorer


def _score(
    task: str,
    gold: Sequence[Iterable[Item]],
    predicted: Sequence[Iterable[Item]],
    prefix: str,
    names: Sequence[str],
) -> dict[str, float | None]:
    values: dict[str, float] = {}
    if any(gold):
        values = count_items(gold, predicted, TASKS[task], "strict").averages()
    return {f"{prefix}_{name}": values.get(name) for name in names}


def _coded(rows: Sequence[Iterable[tuple[int, int, str]]]) -> list[list[Item]]:
    return [[item for item in row if item[2]] for row in rows]


def _spans(rows: Sequence[Iterable[tuple[int, int, str]]]) -> list[list[Item]]:
    return [[item[:2] for item in row] for row in rows]


def _check_lengths(name: str, gold: Sequence[Any], predicted: Sequence[Any]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(
            f"{name} got {len(gold)} gold and {len(predicted)} predicted documents: expected the "
            "same documents in the same order."
        )
