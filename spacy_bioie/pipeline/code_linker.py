"""The component ``code_linker``: says which code of a closed set a mention stands for."""

import warnings
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Model

from ..annotation import (
    SPANS_KEY,
    Candidates,
    Mention,
    document_codes,
    get_mentions,
    gold_mentions,
    mention_table,
    set_codes,
)
from ..kb.code_set import CodeSet
from ..models.mention_encoder import MentionInput, MentionVectors, split_rows
from .code_calibration import fit_temperature, softmax
from .code_evaluation import score_gold_mentions
from .code_targets import code_targets, reference_codes
from .labelled_head import LabelledHead
from .link_annotation import set_links
from .trained_head import hash_embed_cnn

DEFAULT_CODE_LINKER_MODEL = {
    "@architectures": "spacy_bioie.CodeClassifier.v1",
    "hidden_width": 256,
    "dropout": 0.1,
    "tok2vec": hash_embed_cnn(2),
}
BATCH = 32  # documents at a time


@Language.factory(
    "code_linker",
    assigns=["doc.spans", "doc._.codes"],
    requires=["doc.spans"],
    default_config={
        "model": DEFAULT_CODE_LINKER_MODEL,
        "spans_key": SPANS_KEY,
        "top_k": 5,
        "threshold": 0.0,
        "loss_weight": 1.0,
        "scorer": {"@scorers": "spacy_bioie.coding_scorer.v1"},
    },
    default_score_weights={
        "nel_gold_acc1": 1.0,
        "nel_gold_acc5": 0.0,
        "mlcx_gold_micro_f": 0.0,
        "el_micro_f": 0.0,
        "mlcx_micro_f": 0.0,
    },
)
def make_code_linker(
    nlp: Language,
    name: str,
    model: Model[MentionInput, MentionVectors],
    spans_key: str,
    top_k: int,
    threshold: float,
    loss_weight: float,
    scorer: Optional[Callable],
) -> "CodeLinker":
    """Create a ``code_linker`` component; see ``CodeLinker`` for the settings."""
    return CodeLinker(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        top_k=top_k,
        threshold=threshold,
        loss_weight=loss_weight,
        scorer=scorer,
    )


class CodeLinker(LabelledHead):
    """Classifies the mentions of a span group into the codes of a closed set.

    The best code becomes ``span.kb_id_``, unless its probability is below the threshold; the best
    ``top_k`` stand with theirs in ``doc.spans[key].attrs["candidates"]``, to be read as
    ``span._.kb_ents``. ``doc._.codes`` holds the distinct codes of the document with the best
    probability and the mentions of each, see ``document_codes``.

    A mention of the references that has several codes ("I10|I50") divides its weight between them;
    one without a code teaches nothing.
    """

    label_title = "code"

    def __init__(
        self,
        vocab: Vocab,
        model: Model[MentionInput, MentionVectors],
        name: str = "code_linker",
        *,
        spans_key: str = SPANS_KEY,
        top_k: int = 5,
        threshold: float = 0.0,
        loss_weight: float = 1.0,
        scorer: Optional[Callable] = None,
    ) -> None:
        """Create the component. It has no codes before ``initialize`` or ``from_disk``.

        model: from documents and mention tables to logits of the codes: ``CodeClassifier_v1``,
            ``MentionTextClassifier_v1``, or any mention encoder whose width can be set.
        name: names the component's losses.
        spans_key: the span group whose mentions are linked.
        top_k: so many candidates of each mention are kept.
        threshold: a best code of a lower probability is no link (``kb_id_`` is "").
        loss_weight: factor on the gradient, to balance components that share an encoder. The
            loss that is reported is without it.
        scorer: the scoring method, or None.

        ``spans_key``, ``top_k``, ``threshold``, the labels and the temperature of ``calibrate``
        lie in ``cfg`` and are saved with the component. Raises ValueError for a setting outside
        its range.
        """
        for setting, value, least in (("top_k", top_k, 1), ("loss_weight", loss_weight, 0)):
            if value < least:
                raise ValueError(
                    f"Component '{name}': {setting} is {value}, expected {least} or more."
                )
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(
                f"Component '{name}': threshold is {threshold}, expected a probability in [0, 1]."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.loss_weight = loss_weight
        self.cfg: Dict[str, Any] = {
            "spans_key": spans_key,
            "top_k": top_k,
            "threshold": threshold,
            "temperature": 1.0,
            "labels": [],
        }

    def link(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> List[List[Candidates]]:
        """Find the codes of any mentions, without modifying the documents.

        mentions: of each document.
        RETURNS: for each mention of each document its best ``top_k`` (code, probability) pairs,
            best first, those below the threshold included.
        Raises ValueError without codes, and where the shared encoder has left nothing for a
        document.
        """
        found = softmax(self._logits(docs, mentions) / self.cfg["temperature"])
        best = numpy.argsort(-found, axis=1, kind="stable")[:, : self.cfg["top_k"]]
        scores = numpy.take_along_axis(found, best, axis=1)
        labels = self.labels
        pairs = zip(best.tolist(), scores.tolist(), strict=True)
        ranked = ([(labels[i], p) for i, p in zip(*pair, strict=True)] for pair in pairs)
        return [[next(ranked) for _ in row] for row in mentions]

    def predict(self, docs: Iterable[Doc]) -> List[List[Candidates]]:
        """The codes of the mentions of ``doc.spans[key]``, see ``link``."""
        docs = list(docs)
        return self.link(docs, [get_mentions(doc, self.key) for doc in docs])

    def set_annotations(
        self, docs: Iterable[Doc], predictions: Sequence[Sequence[Candidates]]
    ) -> None:
        """Write ``span.kb_id_``, the candidates and ``doc._.codes``."""
        for doc, candidates in zip(docs, predictions, strict=True):
            if self.key in doc.spans:
                set_links(doc, self.key, candidates, self.cfg["threshold"])
                set_codes(doc, document_codes(doc, self.key), self.key)

    def begin_update(
        self, examples: List[Example]
    ) -> Tuple[List[Example], Any, Callable[[Any], Any]]:
        """Run the model over the gold mentions, see ``TrainedHead``."""
        tables = [mention_table(gold_mentions(eg, self.key), {}) for eg in examples]
        logits, backprop = self.model.begin_update(([eg.predicted for eg in examples], tables))
        return examples, logits, backprop

    def get_loss(
        self, examples: Iterable[Example], scores: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        """Cross-entropy of the gold mentions, and its gradient.

        The loss is the mean over the mentions that have a code of the set, 0 where none has.

        scores: logits of the gold mentions of each example.
        """
        ops: Any = self.model.ops
        logits = ops.xp.concatenate(scores)
        mentions = [gold_mentions(eg, self.key) for eg in examples]
        target = ops.asarray2f(code_targets(mentions, self.labels))
        learned = target.sum(axis=1, keepdims=True)  # 1 or 0
        n = max(float(learned.sum()), 1.0)
        found = ops.softmax(logits, axis=-1)
        loss = -float((target * ops.xp.log(ops.xp.maximum(found, 1e-12))).sum()) / n
        d_logits = (found * learned - target) * (self.loss_weight / n)
        return loss, split_rows(ops, d_logits, [len(rows) for rows in scores])

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[List[str]] = None,
        codes: Optional[CodeSet] = None,
    ) -> None:
        """Set the codes and the size of the model.

        labels: for example from ``spacy init labels``.
        codes: see ``load_code_set``; its codes where ``labels`` are not given. Without both, the
            codes of the mentions of all examples, sorted.

        Warns where mentions of the examples have codes that are not among them. Raises ValueError
        where there is no code.
        """
        validate_get_examples(get_examples, "CodeLinker.initialize")
        given = list(reference_codes(self.key, get_examples()))
        if labels is None:
            labels = sorted(set(given)) if codes is None else codes.codes
        for label in labels:
            self.add_label(label)
        self._require_codes()
        unknown = [code for code in given if code not in set(self.labels)]
        if unknown:
            warnings.warn(
                f"Component '{self.name}': {len(unknown)} of {len(given)} codes of the training "
                f"mentions are not in its closed set, for example '{unknown[0]}'. Nothing is "
                "learned from these.",
                stacklevel=2,
            )
        if not self.model.has_dim("nO"):
            self.model.set_dim("nO", len(self.labels))
        sample = list(islice(get_examples(), 10))
        tables = [mention_table(gold_mentions(eg, self.key), {}) for eg in sample]
        self.model.initialize(X=([eg.predicted for eg in sample], tables))

    def calibrate(self, examples: Iterable[Example]) -> Dict[str, float]:
        """Set the temperature that makes the codes of held-out gold mentions most likely (Guo et
        al. 2017).

        It divides the logits, lies in ``cfg`` and is saved with the component.

        examples: their predicted documents have been through the components before this one.
        RETURNS: "temperature", and the expected calibration error of the best code in 15 bins of
            equal width, "ece_before" and "ece_after".
        Raises ValueError where no mention has a code of the set.
        """
        rows: List[numpy.ndarray] = [numpy.zeros((0, len(self.labels)))]
        targets = list(rows)
        for batch in minibatch(examples, BATCH):
            mentions = [gold_mentions(eg, self.key) for eg in batch]
            targets.append(code_targets(mentions, self.labels) > 0)
            rows.append(self._logits([eg.predicted for eg in batch], mentions))
        target = numpy.concatenate(targets).astype(bool)
        learned = target.any(axis=1)
        if not learned.any():
            raise ValueError(
                f"Component '{self.name}': probabilities cannot be calibrated, because no mention "
                f"of doc.spans['{self.key}'] in the references has one of its codes."
            )
        logits = numpy.concatenate(rows)[learned]
        found = fit_temperature(logits, target[learned], self.cfg["temperature"])
        self.cfg["temperature"] = found["temperature"]
        return found

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predicted codes, and those of gold mentions beside them.

        Adds ``nel_gold_acc1``, ``nel_gold_acc5`` and ``nel_gold_mrr`` over the gold mentions with
        a code, and ``mlcx_gold_micro_p/r/f`` and ``mlcx_gold_macro_f`` of the documents' codes
        that follow from them. They are left out where the documents no longer carry the output of
        the shared encoder.
        """
        from ..models.listener import require_encoder_output

        examples = list(examples)
        figures = super().score(examples, **kwargs)
        try:
            require_encoder_output(self.model, [eg.predicted for eg in examples], self.name)
        except ValueError:
            return figures
        return {**figures, **score_gold_mentions(self, examples)}

    def _logits(self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]) -> numpy.ndarray:
        """Of each code for the mentions of all documents: (mentions, codes)."""
        from ..models.listener import require_encoder_output

        if not any(mentions):
            return numpy.zeros((0, len(self.labels)))
        self._require_codes()
        require_encoder_output(self.model, docs, self.name)
        logits = self.model.predict((docs, [mention_table(row, {}) for row in mentions]))
        flat: Any = self.model.ops.xp.concatenate(logits)
        return self.model.ops.to_numpy(flat)

    def _require_codes(self) -> None:
        if not self.labels:
            raise ValueError(
                f"Component '{self.name}' has no codes. Expected training mentions in "
                f"doc.spans['{self.key}'] with a code as span.kb_id_, or a table of codes in the "
                f"config, [initialize.components.{self.name}.codes] with @misc = "
                '"spacy_bioie.CodeSet.v1" and its path.'
            )
