"""Scores of mentions: spaCy's own figures of a span group, and GutBrainIE's rules beside them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import SPANS_KEY, get_mentions, get_sections, mention_characters
from .rules import TASKS, Item, count_items
from .tokens import score_tokens

_FIGURES = (
    ("strict", "strict", ("micro_p", "micro_r", "micro_f", "macro_f")),
    ("2025", "official-2025", ("micro_f", "macro_f")),
    ("2026", "official-2026", ("micro_f", "macro_f")),
)


def span_items(doc: Doc, key: str = SPANS_KEY, *, links: bool = False) -> list[Item]:
    """Read ``doc.spans[key]`` as items of the tasks ``ner`` and (with ``links``) ``nerd``.

    Items are (start, end inclusive, section, text, label[, concept id]) with character offsets
    inside the section, exact where the group has ``char_offsets``. A mention that lies in no
    single section keeps its offsets in the document and has the empty string for a section.
    """
    mentions = get_mentions(doc, key)
    if not mentions:
        return []
    sections = get_sections(doc)
    text = doc.text
    characters = numpy.asarray([mention_characters(doc, m) for m in mentions], dtype="int64")
    begins = [section.start for section in sections]
    found = numpy.searchsorted(begins, characters[:, 0], side="right") - 1
    items: list[Item] = []
    for mention, (start, end), i in zip(mentions, characters.tolist(), found, strict=True):
        name, offset = "", 0
        if i >= 0 and end <= sections[i].end:
            name, offset = sections[i].name, sections[i].start
        item = (start - offset, end - offset - 1, name, text[start:end], mention.label)
        items.append((*item, mention.kb_id) if links else item)
    return items


def score_spans(examples: Iterable[Example], spans_key: str = SPANS_KEY) -> dict[str, Any]:
    """Score the span groups ``spans_key`` of predicted Docs against those of the references.

    Returns spaCy's ``spans_{key}_p/r/f`` and ``spans_{key}_per_type`` (sets of token borders and
    labels), and by GutBrainIE's rules, from exact characters and text, ``ner_strict_micro_p/r/f``,
    ``ner_strict_macro_f``, and ``ner_2025_`` and ``ner_2026_`` with ``micro_f`` and ``macro_f``;
    and ``ner_token_*``, see ``score_tokens``.
    Documents whose reference has no such group are left out; figures are None where nothing is
    left to score. Classes are the labels of the references, whatever their names.
    """
    examples = list(examples)
    attr = f"spans_{spans_key}"
    figures: dict[str, Any] = Scorer.score_spans(
        examples,
        attr,
        getter=lambda doc, _: doc.spans.get(spans_key, []),
        has_annotation=lambda doc: spans_key in doc.spans,
        allow_overlap=True,
    )
    annotated = [eg for eg in examples if spans_key in eg.reference.spans]
    gold = [span_items(eg.reference, spans_key) for eg in annotated]
    predicted = [span_items(eg.predicted, spans_key) for eg in annotated]
    something = any(gold) or any(predicted)
    for name, rules, averages in _FIGURES:
        values = count_items(gold, predicted, TASKS["ner"], rules).averages() if something else {}
        figures.update({f"ner_{name}_{figure}": values.get(figure) for figure in averages})
    figures.update(score_tokens(annotated if something else (), spans_key))
    return figures


def make_span_scorer(spans_key: str = SPANS_KEY) -> Callable[..., dict[str, Any]]:
    """Create the scorer ``spacy_bioie.nested_spancat_scorer.v1``, see ``score_spans``.

    A component that hands over its own ``spans_key`` is scored on that group.
    """

    def scorer(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        return score_spans(examples, kwargs.get("spans_key") or spans_key)

    return scorer
