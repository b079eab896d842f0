"""The component ``nested_spancat``: finds mentions, nested ones too, and scores each."""

import warnings
from itertools import islice
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Model

from ..annotation import SPANS_KEY, MentionTable, gold_mentions, mention_table
from ..models.span_head import LABELS, GoldBatch
from .span_finder import SpanFinder
from .span_labels import check_labels, reference_labels, without_labels
from .span_weights import LabelWeights, SpanWeights, balanced_weights
from .trained_head import hash_embed_cnn

DEFAULT_NESTED_SPANCAT_MODEL = {
    "@architectures": "spacy_bioie.SpanTagger.v1",
    "chains": "joint",
    "decoder": "crf",
    "hidden_size": 0,
    "dropout": 0.1,
    "tok2vec": hash_embed_cnn(4),
}


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


class NestedSpanCategorizer(SpanFinder):
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
        super().__init__(
            vocab,
            model,
            name,
            spans_key=spans_key,
            threshold=threshold,
            thresholds=thresholds or {},
            set_ents=set_ents,
            scorer=scorer,
        )
        if loss_weight < 0.0:
            raise ValueError(
                f"Component '{name}': loss_weight is {loss_weight}, expected 0 or more."
            )
        self.weights = SpanWeights(tier_weights or {}, label_weights or {})
        self.weights.check(name)
        self.loss_weight = loss_weight
        self.cfg["balanced_weights"] = None
        self._unknown_labels: Set[str] = set()

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
        if LABELS in self.model.attrs:
            self.model.attrs[LABELS] = list(self.labels)
        self.model.initialize(X=[eg.predicted for eg in islice(get_examples(), 10)])
        self._prepare(get_examples())

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
