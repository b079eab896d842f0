"""What the components that find mentions share: decoding, what is written, and thresholds."""

import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import numpy
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..annotation import Mention, set_mentions
from ..models.listener import require_encoder_output
from ..models.span_head import TEMPERATURE, ScoredSpans, SpanHead, get_span_head, no_spans
from ..models.tagging import select_flat
from .labelled_head import LabelledHead
from .span_evaluation import fit_temperature, search_thresholds


class SpanFinder(LabelledHead):
    """Finds labelled spans and writes them to ``doc.spans`` with ids and scores."""

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], Any],
        name: str,
        *,
        spans_key: str,
        threshold: float,
        thresholds: Dict[str, float],
        set_ents: bool,
        scorer: Optional[Callable],
    ) -> None:
        """Create the component; see ``NestedSpanCategorizer`` for the settings.

        Raises ValueError for a threshold outside [0, 1].
        """
        own = {f"thresholds['{label}']": value for label, value in thresholds.items()}
        for setting, value in {"threshold": threshold, **own}.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"Component '{name}': {setting} is {value}, expected a probability."
                )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.set_ents = set_ents
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "spans_key": spans_key,
            "threshold": threshold,
            "thresholds": dict(thresholds),
        }

    @property
    def head(self) -> SpanHead:
        """How the model's output is learned from and read."""
        return get_span_head(self.model)

    def predict(self, docs: Iterable[Doc]) -> List[ScoredSpans]:
        """Find the spans of documents, without modifying them.

        RETURNS: the spans of each document, those below the threshold included.
        Raises ValueError where the shared encoder has left nothing for a document.
        """
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [no_spans() for _ in docs]
        require_encoder_output(self.model, docs, self.name)
        return self.head.decode(self.model.predict(docs))

    def set_annotations(self, docs: Iterable[Doc], predictions: Sequence[ScoredSpans]) -> None:
        """Write spans to ``doc.spans[key]``, and to ``doc.ents`` where that is asked for."""
        own = self.cfg["thresholds"]
        least = numpy.asarray([own.get(label, self.cfg["threshold"]) for label in self.labels])
        for doc, spans in zip(docs, predictions, strict=True):
            kept = spans.scores >= least[spans.labels]
            spans = ScoredSpans(*(column[kept] for column in spans))
            set_mentions(doc, self.key, self._mentions(spans))
            if self.set_ents:
                flat = select_flat(
                    spans.starts, spans.ends, numpy.argsort(-spans.scores, kind="stable")
                )
                entities = self._mentions(ScoredSpans(*(column[flat] for column in spans)))
                doc.ents = [Span(doc, m.start, m.end, label=m.label) for m in entities]

    def _mentions(self, spans: ScoredSpans) -> List[Mention]:
        labels = self.labels
        rows = zip(*(column.tolist() for column in spans), strict=True)
        return [Mention(i, j, labels[label], score=score) for i, j, label, score in rows]

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """The figures of the scorer, and what the loss has learned.

        With ``spacy_bioie.AdaptiveMix.v1`` that is its alpha under "NAME_alpha", which a weight of
        0.0 in ``[training.score_weights]`` puts into the table of ``spacy train``.
        """
        return {**super().score(examples, **kwargs), **self.learned_figures()}

    def calibrate(self, examples: Iterable[Example]) -> Dict[str, float]:
        """Set the temperature that makes the probabilities of the spans it finds most likely on
        held-out documents (Guo et al. 2017).

        It divides the scores, is an attribute of the model and is saved with it. Thresholds mean
        something else afterwards: choose them anew.

        examples: their predicted documents have been through the components before this one.
        RETURNS: "temperature", and the expected calibration error over the spans that are found
            in 15 bins of equal width, "ece_before" and "ece_after".
        Raises ValueError where no reference holds a mention, or no span is found.
        """
        found = fit_temperature(self, self._with_mentions(examples))
        self.model.attrs[TEMPERATURE] = found[TEMPERATURE]
        return found

    def tune_thresholds(
        self, examples: Iterable[Example], *, per_label: bool = False, min_gold: int = 5
    ) -> Dict[str, Any]:
        """Set the thresholds that give the best strict micro-F1 on held-out documents.

        The common threshold is the mean of the best ones of resampled documents, see
        ``threshold_search.averaged_threshold``.

        examples: their predicted documents have been through the components before this one.
        per_label: a threshold for each label as well, where at least ``min_gold`` gold mentions
            of it are found.
        RETURNS: "threshold" and "thresholds" as they now stand in ``cfg``, and the micro-F1 that
            they reach, "ner_strict_micro_f".
        Raises ValueError where no reference holds a mention.
        """
        found = search_thresholds(self, self._with_mentions(examples), per_label, min_gold)
        if found.common is None:
            warnings.warn(
                f"Component '{self.name}': no gold mention is found, whatever the threshold; the "
                "thresholds stay as they are.",
                stacklevel=2,
            )
        else:
            self.cfg["threshold"], self.cfg["thresholds"] = found.common, found.by_label
        return {
            "threshold": self.cfg["threshold"],
            "thresholds": dict(self.cfg["thresholds"]),
            "ner_strict_micro_f": found.f1,
        }

    def _with_mentions(self, examples: Iterable[Example]) -> List[Example]:
        annotated = [eg for eg in examples if self.key in eg.reference.spans]
        if not any(len(eg.reference.spans[self.key]) for eg in annotated):
            raise ValueError(
                f"Component '{self.name}': there is nothing to tune to, because no reference "
                f"holds a mention in doc.spans['{self.key}']."
            )
        return annotated

    def learned_figures(self) -> Dict[str, float]:
        """What the loss has learned, such as AdaBioBERT's alpha, under the component's name."""
        learned_values = getattr(self.head, "learned_values", None)
        learned = learned_values(self.model) if learned_values else {}
        return {f"{self.name}_{name}": value for name, value in learned.items()}
