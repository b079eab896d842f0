"""The component ``relation_extractor``: says which mentions of a document are related, and how."""

import warnings
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Literal, Optional, Sequence, Set, Tuple

import numpy
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..annotation import (
    SPANS_KEY,
    Mention,
    RelationRow,
    ensure_span_ids,
    get_mentions,
    get_relation_rows,
    gold_mentions,
    mention_table,
    set_relations,
)
from ..models.candidates import PairCandidates, pair_candidates
from ..models.relation_decoding import ScoredRelations, decode_relations
from ..models.relation_schema import RelationSchema
from .relation_evaluation import score_gold_input, search_thresholds
from .relation_targets import choose_schema, is_annotated, learning_problems, pair_targets

Metric = Literal["bt", "tt", "tm"]
MentionInput = Literal["gold", "pred"]

default_model_config = """
[model]
@architectures = "spacy_bioie.PairClassifier.v1"

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
DEFAULT_RELATION_MODEL = Config().from_str(default_model_config)["model"]


@Language.factory(
    "relation_extractor",
    assigns=["doc._.relations"],
    requires=["doc.spans"],
    default_config={
        "model": DEFAULT_RELATION_MODEL,
        "spans_key": SPANS_KEY,
        "threshold": 0.5,
        "thresholds": {},
        "one_predicate_per_pair": True,
        "max_gold_relations": None,
        "loss_weight": 1.0,
        "scorer": {"@scorers": "spacy_bioie.relation_scorer.v1"},
    },
    default_score_weights={"rel_pred_tm_micro_f": 0.5, "rel_gold_tm_micro_f": 0.5},
)
def make_relation_extractor(
    nlp: Language,
    name: str,
    model: Model[Tuple[List[Doc], PairCandidates], Floats2d],
    spans_key: str,
    threshold: float,
    thresholds: Dict[str, float],
    one_predicate_per_pair: bool,
    max_gold_relations: Optional[int],
    loss_weight: float,
    scorer: Optional[Callable],
) -> "RelationExtractor":
    """Create a ``relation_extractor`` component; see ``RelationExtractor`` for the settings."""
    return RelationExtractor(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        threshold=threshold,
        thresholds=thresholds,
        one_predicate_per_pair=one_predicate_per_pair,
        max_gold_relations=max_gold_relations,
        loss_weight=loss_weight,
        scorer=scorer,
    )


class RelationExtractor(TrainablePipe):
    """Finds relations between the mentions of a document and writes ``doc._.relations``.

    Candidates are all ordered pairs of mentions between which the relation schema allows a
    predicate, at any distance. It learns from the reference's mentions and relations, and
    predicts over the mentions that the components before it have found. References that say
    nothing about relations, not even that there are none, are not learned from.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Tuple[List[Doc], PairCandidates], Floats2d],
        name: str = "relation_extractor",
        *,
        spans_key: str = SPANS_KEY,
        threshold: float = 0.5,
        thresholds: Optional[Dict[str, float]] = None,
        one_predicate_per_pair: bool = True,
        max_gold_relations: Optional[int] = None,
        loss_weight: float = 1.0,
        scorer: Optional[Callable] = None,
    ) -> None:
        """Create the component.

        model: from documents and their candidate pairs to logits, (pairs, predicates); it takes
            its sizes from the candidates that it is initialized with.
        name: names the component's losses.
        spans_key: the span group of the mentions.
        threshold: the least probability of a relation.
        thresholds: predicate -> the least probability of its relations, in place of
            ``threshold``. Both lie in ``cfg``, are set by ``tune_thresholds`` and are saved with
            the component.
        one_predicate_per_pair: keep only the most probable predicate of an ordered pair.
        max_gold_relations: documents with more relations in the reference are not learned from;
            None for no limit. Such documents tend to be annotated with every pair that could be
            related.
        loss_weight: factor on the gradient, to balance components that share an encoder. The
            loss that is reported is without it.
        scorer: the scoring method; without one, ``score`` gives no figures at all.

        Raises ValueError where a setting is out of its range.
        """
        for predicate, value in [("threshold", threshold), *(thresholds or {}).items()]:
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"Component '{name}': the threshold '{predicate}' is {value}, expected a "
                    "probability."
                )
        if max_gold_relations is not None and max_gold_relations < 0:
            raise ValueError(
                f"Component '{name}': max_gold_relations is {max_gold_relations}, expected 0 or "
                "more, or null for no limit."
            )
        if loss_weight < 0.0:
            raise ValueError(
                f"Component '{name}': loss_weight is {loss_weight}, expected 0 or more."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.loss_weight = loss_weight
        self.max_gold_relations = max_gold_relations
        self.cfg: Dict[str, Any] = {
            "spans_key": spans_key,
            "threshold": threshold,
            "thresholds": dict(thresholds or {}),
            "one_predicate_per_pair": one_predicate_per_pair,
            "schema": None,
        }
        self._schema: Tuple[Any, Optional[RelationSchema]] = (None, None)
        self._warned: Set[str] = set()

    @property
    def key(self) -> str:
        """The key of the mentions in ``doc.spans``."""
        return str(self.cfg["spans_key"])

    @property
    def schema(self) -> RelationSchema:
        """The legal relations. Raises ValueError before the component is initialized or loaded."""
        data = self.cfg["schema"]
        if data is None:
            raise ValueError(
                f"Component '{self.name}' has no relation schema: initialize or load it first."
            )
        if self._schema[0] is not data:
            self._schema = (data, RelationSchema.from_data(data, f"Component '{self.name}'"))
        schema = self._schema[1]
        assert schema is not None
        return schema

    @property
    def labels(self) -> Tuple[str, ...]:
        """The predicates, in the order of the model's scores."""
        return () if self.cfg["schema"] is None else self.schema.predicates

    @property
    def mention_labels(self) -> Tuple[str, ...]:
        """The labels of mentions that the model knows."""
        return () if self.cfg["schema"] is None else self.schema.labels

    @property
    def label_data(self) -> Optional[Dict[str, List]]:
        """What ``spacy init labels`` writes and ``initialize`` takes: the schema as plain data."""
        return self.cfg["schema"]

    def add_label(self, label: str) -> int:
        """Not supported: a predicate means nothing without the labels that it may stand between.

        Raises ValueError; a schema is given to ``initialize``.
        """
        raise ValueError(
            f"Component '{self.name}': the predicate {label!r} cannot be added. Predicates come "
            "from the relation schema: set it in [initialize.components] or give it to "
            "'initialize'."
        )

    def predict(self, docs: Iterable[Doc]) -> List[ScoredRelations]:
        """Find the relations of documents, without modifying them.

        RETURNS: for each document, relations between mentions by their index in the span group.
            Mentions with a label that the model does not know are in none; of each such label
            there is one warning.
        Raises ValueError where the shared encoder has left nothing for a document.
        """
        docs = list(docs)
        if not docs:
            return []
        self._warn_of_missing_group(docs)
        return self.find_relations(docs, [get_mentions(doc, self.key) for doc in docs])

    def set_annotations(self, docs: Iterable[Doc], predictions: Sequence[ScoredRelations]) -> None:
        """Write relations to ``doc._.relations``; mentions without an id are given one."""
        for doc, found in zip(docs, predictions, strict=True):
            set_relations(doc, self.key, self.rows(ensure_span_ids(doc, self.key), found))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch.

        The model runs and its gradient is passed on for every batch with a token, also one without
        candidate pairs: the last component on a shared encoder that did not would discard what all
        others passed. Of documents that are not learned from no pairs are made.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "RelationExtractor.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        candidates = self.candidates(
            [gold_mentions(eg, self.key) if self._is_learned(eg) else [] for eg in examples]
        )
        logits, backprop = self.model.begin_update(([eg.predicted for eg in examples], candidates))
        loss, d_logits = self.get_loss(examples, (candidates, logits))
        backprop(d_logits)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Iterable[Example], scores: Tuple[PairCandidates, Floats2d]
    ) -> Tuple[float, Floats2d]:
        """The loss of the candidates' logits, ``relation_losses.pair_cross_entropy``, and its
        gradient.

        scores: the candidates over the references' mentions, and their logits. Relations that the
            schema does not allow are ignored.
        """
        import torch
        from thinc.util import torch2xp, xp2torch

        from ..models.relation_losses import pair_cross_entropy

        candidates, logits = scores
        leaf = xp2torch(logits).detach().requires_grad_()
        gold = pair_targets(list(examples), candidates, self.schema, self.key)
        targets = torch.from_numpy(gold).to(leaf.device)
        legal = torch.from_numpy(candidates.pair_legal()).to(leaf.device)
        n_mentions = int((candidates.mentions[:, 2] >= 0).sum())
        with torch.enable_grad():
            loss = pair_cross_entropy(leaf, targets, legal, n_mentions)
            (gradient,) = torch.autograd.grad(loss * self.loss_weight, [leaf])
        d_logits: Any = torch2xp(gradient.contiguous())
        return loss.item(), d_logits

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Any] = None,
        relation_schema: Optional[Any] = None,
    ) -> None:
        """Set the schema and the size of the model.

        labels: a schema as plain data, from ``spacy init labels``.
        relation_schema: a ``RelationSchema``, its plain data, or a list of [head label, predicate,
            tail label]; in a config, ``{"@misc": "spacy_bioie.RelationSchema.v1", "path": ...}``.
        Without either, the schema is what occurs in the references of all examples.

        Warns of relations that the schema does not allow, which are ignored, and of examples
        without anything to learn from. Raises ValueError where neither schema nor relations are
        there, where ``labels`` and ``relation_schema`` differ, or where ``thresholds`` names a
        predicate that the schema does not have.
        """
        validate_get_examples(get_examples, "RelationExtractor.initialize")
        chosen = choose_schema(self.name, self.key, get_examples, labels, relation_schema)
        self.cfg["schema"] = chosen.to_data()
        unknown = sorted(set(self.cfg["thresholds"]) - set(self.labels))
        if unknown:
            raise ValueError(
                f"Component '{self.name}': thresholds are set for {unknown}, which are no "
                f"predicates of the schema. Expected some of {list(self.labels)}."
            )
        for name in (*self.labels, *self.mention_labels):
            self.vocab.strings.add(name)
        limit = self._max_relations
        for problem in learning_problems(get_examples(), chosen, self.key, limit):
            self._warn_once(problem)
        sample = list(islice(get_examples(), 10))
        candidates = self.candidates([gold_mentions(eg, self.key) for eg in sample])
        self.model.initialize(X=([eg.predicted for eg in sample], candidates))

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score relations over the predicted mentions and over the gold mentions.

        The figures over predicted mentions are those of the scorer (``rel_pred_...``). For those
        over gold mentions (``rel_gold_...``, see ``scoring.relations.score_relation_sets``) the
        model reads the reference's mentions in the predicted documents; they are left out where
        the documents no longer carry the output of a shared encoder.
        """
        from ..models.listener import require_encoder_output

        examples = list(examples)
        figures = super().score(examples, **kwargs)
        if self.scorer is None:
            return figures
        annotated = [eg for eg in examples if is_annotated(eg, self.key)]
        try:
            require_encoder_output(self.model, [eg.predicted for eg in annotated], self.name)
        except ValueError:
            return figures
        return {**figures, **score_gold_input(self, annotated)}

    def tune_thresholds(
        self,
        examples: Iterable[Example],
        *,
        metric: Metric = "tm",
        input: MentionInput = "gold",
        per_predicate: bool = False,
        min_gold: int = 5,
    ) -> Dict[str, Any]:
        """Set the thresholds that give the best strict micro-F1 on held-out documents.

        examples: their predicted documents have been through the components before this one.
        metric: "bt" (label pairs), "tt" (triples of labels and predicate) or "tm" (triples with
            the texts of the mentions), as sets in which every prediction counts.
        input: whether relations are found over the reference's mentions or over the predicted
            ones.
        per_predicate: a threshold for each predicate as well, where the candidates hold at least
            ``min_gold`` gold items of it.

        RETURNS: "threshold" and "thresholds" as they now stand in ``cfg``, and the micro-F1 that
            they reach under the name that ``score`` gives it.
        Raises ValueError where no reference holds a relation, or for an unknown metric or input.
        """
        if input not in ("gold", "pred"):
            raise ValueError(f"Unknown input '{input}': expected 'gold' or 'pred'.")
        annotated = [eg for eg in examples if is_annotated(eg, self.key)]
        if not any(get_relation_rows(eg.reference) for eg in annotated):
            raise ValueError(
                f"Component '{self.name}': thresholds cannot be tuned, because no reference holds "
                f"a relation between mentions of doc.spans['{self.key}']."
            )
        found = search_thresholds(self, annotated, metric, input, per_predicate, min_gold)
        if found.common is None:
            warnings.warn(
                f"Component '{self.name}': no gold relation can be predicted over {input} "
                "mentions, whatever the threshold; the thresholds stay as they are.",
                stacklevel=2,
            )
        else:
            self.cfg["threshold"], self.cfg["thresholds"] = found.common, found.by_predicate
        return {
            "threshold": self.cfg["threshold"],
            "thresholds": dict(self.cfg["thresholds"]),
            f"rel_{input}_{metric}_micro_f": found.f1,
        }

    def candidates(self, mentions: Sequence[Sequence[Mention]]) -> PairCandidates:
        """The candidate pairs over these mentions of documents."""
        schema = self.schema
        index = {label: i for i, label in enumerate(schema.labels)}
        unknown = {mention.label for document in mentions for mention in document} - set(index)
        for label in sorted(unknown):
            self._warn_once(
                f"mentions with the label '{label}' take part in no relation, because the relation "
                f"schema knows only {list(schema.labels)}."
            )
        return pair_candidates([mention_table(document, index) for document in mentions], schema)

    def probabilities(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> Tuple[PairCandidates, numpy.ndarray]:
        """The candidate pairs over these mentions, and the probability of each predicate.

        RETURNS: the candidates, and float32, (pairs, predicates), illegal ones included.
        Raises ValueError where the shared encoder has left nothing for a document.
        """
        from ..models.listener import require_encoder_output

        require_encoder_output(self.model, docs, self.name)
        candidates = self.candidates(mentions)
        logits = self.model.predict((list(docs), candidates))
        return candidates, self.model.ops.to_numpy(self.model.ops.sigmoid(logits))

    def find_relations(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> List[ScoredRelations]:
        """The relations between these mentions of documents, by the component's thresholds."""
        own = self.cfg["thresholds"]
        return decode_relations(
            *self.probabilities(docs, mentions),
            numpy.asarray([own.get(name, self.cfg["threshold"]) for name in self.labels]),
            self.cfg["one_predicate_per_pair"],
        )

    def rows(self, mentions: Sequence[Mention], found: ScoredRelations) -> List[RelationRow]:
        """Relations by index as (head id, predicate, tail id, score)."""
        labels = self.labels
        return [
            (mentions[head].id, labels[predicate], mentions[tail].id, score)
            for head, predicate, tail, score in zip(*(x.tolist() for x in found), strict=True)
        ]

    @property
    def _max_relations(self) -> float:
        return float("inf") if self.max_gold_relations is None else self.max_gold_relations

    def _is_learned(self, eg: Example) -> bool:
        n_relations = len(get_relation_rows(eg.reference))
        return is_annotated(eg, self.key) and n_relations <= self._max_relations

    def _warn_of_missing_group(self, docs: Sequence[Doc]) -> None:
        if not any(self.key in doc.spans for doc in docs):
            groups = sorted({key for doc in docs for key in doc.spans})
            self._warn_once(
                f"the documents have no doc.spans['{self.key}'], and so no relations. Span groups "
                f"that they have: {groups or 'none'}. Expected a component before this one that "
                "finds mentions, or its key as 'spans_key'."
            )

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"Component '{self.name}': {message}", stacklevel=3)
