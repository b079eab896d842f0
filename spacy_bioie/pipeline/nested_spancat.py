"""The component ``nested_spancat``: finds mentions, nested ones too, and scores each."""

import warnings
from itertools import islice
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

import numpy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..annotation import (
    SPANS_KEY,
    Mention,
    MentionTable,
    gold_mentions,
    mention_table,
    set_mentions,
)
from ..models.listener import require_encoder_output
from ..models.span_head import (
    TEMPERATURE,
    GoldBatch,
    ScoredSpans,
    SpanHead,
    get_span_head,
    no_spans,
)
from ..models.tagging import select_flat
from .span_evaluation import fit_temperature, search_thresholds
from .span_labels import check_labels, reference_labels, without_labels
from .span_weights import LabelWeights, SpanWeights, balanced_weights
from .trained_head import TrainedHead

default_model_config = """
[model]
@architectures = "spacy_bioie.SpanTagger.v1"
chains = "joint"
decoder = "crf"
hidden_size = 0
dropout = 0.1

[model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true
"""
DEFAULT_NESTED_SPANCAT_MODEL = Config().from_str(default_model_config)["model"]


@Language.factory(
    "nested_spancat",
    assigns=["doc.spans"],
    default_config={
        "model": DEFAULT_NESTED_SPANCAT_MODEL,
        "spans_key": SPANS_KEY,
        "threshold": 0.0,
        "thresholds": {},
        "set_ents": False,
        "loss_weight": 1.0,
        "tier_weights": {},
        "label_weights": {},
        "scorer": {"@scorers": "spacy_bioie.nested_spancat_scorer.v1"},
    },
    default_score_weights={"spans_sc_f": 1.0, "spans_sc_p": 0.0, "spans_sc_r": 0.0},
)
def make_nested_spancat(
    nlp: Language,
    name: str,
    model: Model[List[Doc], Any],
    spans_key: str,
    threshold: float,
    thresholds: Dict[str, float],
    set_ents: bool,
    loss_weight: float,
    tier_weights: Dict[str, float],
    label_weights: LabelWeights,
    scorer: Optional[Callable],
) -> "NestedSpanCategorizer":
    """Create a ``nested_spancat`` component; see ``NestedSpanCategorizer`` for the settings.

    With a ``spans_key`` other than "sc" the scores are called ``spans_KEY_f`` and so on, but the
    score weights that spaCy takes from this factory still name ``spans_sc_f``: write
    ``spans_KEY_f = 1.0`` and ``spans_sc_f = null`` into ``[training.score_weights]``.
    """
    return NestedSpanCategorizer(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        threshold=threshold,
        thresholds=thresholds,
        set_ents=set_ents,
        loss_weight=loss_weight,
        tier_weights=tier_weights,
        label_weights=label_weights,
        scorer=scorer,
    )


class NestedSpanCategorizer(TrainedHead):
    """Finds labelled spans and writes them to ``doc.spans`` with ids and scores.

    Whether spans may overlap is up to the model (``spacy_bioie.SpanTagger.v1``). The component
    replaces the group; its spans are in the order of their borders, have the ids "T1", "T2", ...
    and a probability each in ``doc.spans[key].attrs["scores"]``.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], Any],
        name: str = "nested_spancat",
        *,
        spans_key: str = SPANS_KEY,
        threshold: float = 0.0,
        thresholds: Optional[Dict[str, float]] = None,
        set_ents: bool = False,
        loss_weight: float = 1.0,
        tier_weights: Optional[Dict[str, float]] = None,
        label_weights: Optional[LabelWeights] = None,
        scorer: Optional[Callable] = None,
    ) -> None:
        """Create the component.

        model: from documents to scored spans, see ``spacy_bioie.models.span_head``.
        name: names the component's losses.
        spans_key: the span group that is written, and read from the reference in training.
        threshold: spans of a lower score are left out. It lies in ``cfg``, where
            ``spacy find-threshold`` sets it, and is saved with the component.
        thresholds: label -> the least score of its spans, in place of ``threshold``; in ``cfg``
            too. ``tune_thresholds`` sets both.
        set_ents: also write ``doc.ents``: of overlapping spans the one of the highest score.
        loss_weight: factor on the gradient, to balance components that share an encoder. The
            loss that is reported is without it.
        tier_weights: quality tier of a document (``doc._.tier`` of the reference) -> its weight;
            1 where none is named. The loss is the weighted mean.
        label_weights: label -> factor on the loss of its mentions, 1 where none is named; or
            "balanced", N / (C N_i) for a label with N_i of N mentions among C labels, counted
            when the component is initialized.
        scorer: the scoring method, or None.

        Raises ValueError for a threshold outside [0, 1] or a negative weight.
        """
        own = {f"thresholds['{label}']": value for label, value in (thresholds or {}).items()}
        for setting, value in {"threshold": threshold, **own}.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"Component '{name}': {setting} is {value}, expected a probability."
                )
        if loss_weight < 0.0:
            raise ValueError(
                f"Component '{name}': loss_weight is {loss_weight}, expected 0 or more."
            )
        self.weights = SpanWeights(tier_weights or {}, label_weights or {})
        self.weights.check(name)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.set_ents = set_ents
        self.loss_weight = loss_weight
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "spans_key": spans_key,
            "threshold": threshold,
            "thresholds": dict(thresholds or {}),
            "balanced_weights": None,
        }
        self._unknown_labels: Set[str] = set()

    @property
    def key(self) -> str:
        """The key of the span group in ``doc.spans``."""
        return str(self.cfg["spans_key"])

    @property
    def labels(self) -> Tuple[str, ...]:
        """The labels, in the order in which they were added."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
        """What ``spacy init labels`` writes and ``initialize`` takes."""
        return list(self.labels)

    @property
    def head(self) -> SpanHead:
        """How the model's output is learned from and read."""
        return get_span_head(self.model)

    def add_label(self, label: str) -> int:
        """Add a label before the model is initialized.

        RETURNS: 1, or 0 where the label is there already.
        Raises ValueError for an empty label, and once the model has its size.
        """
        if not isinstance(label, str) or not label:
            raise ValueError(
                f"Component '{self.name}': the label is {label!r}, expected a string that is not "
                "empty."
            )
        if label in self.labels:
            return 0
        self._allow_extra_label()
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

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

    def begin_update(
        self, examples: List[Example]
    ) -> Tuple[List[Example], Any, Callable[[Any], Any]]:
        """See ``TrainedHead``."""
        output, backprop = self.model.begin_update([eg.predicted for eg in examples])
        return examples, output, backprop

    def get_loss(self, examples: Iterable[Example], scores: Any) -> Tuple[float, Any]:
        """The loss of the model's output, a mean over the batch, and its gradient.

        Mentions whose label the component does not know are left out, with one warning for each
        label.
        """
        examples = list(examples)
        weights = self.weights.arguments(examples, self.labels, self.cfg["balanced_weights"])
        return self.head.loss(scores, self._gold(examples), weight=self.loss_weight, **weights)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[List[str]] = None,
    ) -> None:
        """Set the labels and the size of the model.

        labels: for example from ``spacy init labels``; without them, the labels of the mentions
            of all examples, in the order in which they are met.

        Warns of mentions that the model cannot learn. Raises ValueError where there is no
        label, or where ``thresholds`` or ``label_weights`` name one that is not there.
        """
        validate_get_examples(get_examples, "NestedSpanCategorizer.initialize")
        if labels is None:
            labels = list(dict.fromkeys(reference_labels(self.name, self.key, get_examples())))
        for label in labels:
            self.add_label(label)
        if not self.labels:
            raise ValueError(without_labels(self.name, self.key, get_examples()))
        check_labels(self.name, "thresholds", self.cfg["thresholds"], self.labels)
        check_labels(self.name, "label_weights", self.weights.by_label, self.labels)
        if not self.model.has_dim("nO"):
            self.model.set_dim("nO", len(self.labels))
        self.model.initialize(X=[eg.predicted for eg in islice(get_examples(), 10)])
        self._prepare(get_examples())

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

    def _gold(self, examples: Iterable[Example]) -> List[MentionTable]:
        index = {label: i for i, label in enumerate(self.labels)}
        tables = []
        for eg in examples:
            mentions = gold_mentions(eg, self.key)
            table = mention_table(mentions, index)
            known = table[:, 2] >= 0
            if not known.all():
                self._warn_of_unknown_labels({m.label for m in mentions} - set(index))
            tables.append(table[known])
        return tables

    def _warn_of_unknown_labels(self, labels: Set[str]) -> None:
        new = sorted(labels - self._unknown_labels)
        if new:
            self._unknown_labels.update(new)
            warnings.warn(
                f"Component '{self.name}': mentions of doc.spans['{self.key}'] with the labels "
                f"{new} are left out of the loss, because the component was initialized without "
                "them.",
                stacklevel=2,
            )

    def _prepare(self, examples: Iterable[Example]) -> None:
        tables: List[MentionTable] = []

        def batches() -> Iterator[GoldBatch]:
            for batch in minibatch(examples, 64):
                gold = self._gold(batch)
                tables.extend(gold)
                yield [eg.predicted for eg in batch], gold

        lost = self.head.prepare(self.model, batches())
        total = sum(len(table) for table in tables)
        if self.weights.balanced:
            self.cfg["balanced_weights"] = balanced_weights(tables, len(self.labels))
        if lost:
            warnings.warn(
                f"Component '{self.name}': {lost} of {total} mentions of doc.spans['{self.key}'] "
                f"cannot be learned: they {self.head.limits}.",
                stacklevel=2,
            )

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
