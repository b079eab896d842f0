"""The component ``relation_extractor``: says which mentions of a document are related, and how."""

import warnings
from dataclasses import replace
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
    mention_characters,
    mention_entities,
    mention_table,
    set_relations,
)
from ..models.candidates import PairCandidates, pair_candidates
from ..models.relation_decoding import ScoredRelations, decode_relations
from ..models.relation_schema import RelationSchema
from .relation_evaluation import fit_temperature, score_gold_input, search_thresholds
from .relation_learning import RelationLearning
from .relation_targets import choose_schema, is_annotated, learning_problems, prior_logits

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
        "max_distance": None,
        "use_priors": False,
        "loss": {"@misc": "spacy_bioie.PairCrossEntropy.v1"},
        "loss_weight": 1.0,
        "max_gold_relations": None,
        "tier_weights": {},
        "predicate_weights": {},
        "negatives": None,
        "hard_negatives": None,
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
    max_distance: Optional[int],
    use_priors: bool,
    loss: Any,
    loss_weight: float,
    max_gold_relations: Optional[int],
    tier_weights: Dict[str, float],
    predicate_weights: Dict[str, float],
    negatives: Optional[float],
    hard_negatives: Optional[float],
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
        max_distance=max_distance,
        use_priors=use_priors,
        learning=RelationLearning(
            loss=loss,
            loss_weight=loss_weight,
            max_gold_relations=max_gold_relations,
            tier_weights=tier_weights,
            predicate_weights=predicate_weights,
            negatives=negatives,
            hard_negatives=hard_negatives,
        ),
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
        max_distance: Optional[int] = None,
        use_priors: bool = False,
        learning: Optional[RelationLearning] = None,
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
        max_distance: pairs with more characters between their mentions are no candidates; None
            for no limit. 200 keeps over 80 % of the relations of GutBrainIE (LYX_DMIIP_FDU).
        use_priors: add to each logit the log odds of the predicate given the labels of the
            mentions, as counted in the training documents when the component is initialized; the
            model then learns what the words say beyond the labels.
        learning: what is learned from, and how much it counts; in a config its fields are
            settings of the factory:
            loss: "spacy_bioie.PairCrossEntropy.v1", "spacy_bioie.PairSoftmax.v1" or
                "spacy_bioie.AdaptiveThreshold.v1" of the registry "misc".
            loss_weight: factor on the gradient, to balance components that share an encoder. The
                loss that is reported is without it.
            max_gold_relations: documents with more relations in the reference are not learned
                from; None for no limit. Such documents tend to be annotated with every pair that
                could be related.
            tier_weights: quality tier of a document (``doc._.tier``) -> its weight; 1 where none
                is named.
            predicate_weights: predicate -> factor on the loss of its gold relations.
            negatives: learn from so many pairs without a relation for each pair with one, drawn
                anew in each update; None for all (Gut-Instincts: 10).
            hard_negatives: of the pairs without a relation only so many for each pair with one
                count, those with the highest loss; None for all.
        scorer: the scoring method; without one, ``score`` gives no figures at all.

        Raises ValueError where a setting is out of its range.
        """
        for predicate, value in [("threshold", threshold), *(thresholds or {}).items()]:
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"Component '{name}': the threshold '{predicate}' is {value}, expected a "
                    "probability."
                )
        if max_distance is not None and max_distance < 0:
            raise ValueError(
                f"Component '{name}': max_distance is {max_distance}, expected 0 or more "
                "characters, or null for no limit."
            )
        if learning is None:
            from ..models.relation_losses import PairCrossEntropy

            learning = RelationLearning(PairCrossEntropy())
        learning.check(name)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.learning = learning
        self.cfg: Dict[str, Any] = {
            "spans_key": spans_key,
            "threshold": threshold,
            "thresholds": dict(thresholds or {}),
            "one_predicate_per_pair": one_predicate_per_pair,
            "max_distance": max_distance,
            "use_priors": use_priors,
            "prior_logits": None,
            "temperature": 1.0,
            "schema": None,
        }
        self._schema: Tuple[Any, Optional[RelationSchema]] = (None, None)
        self._warned: Set[str] = set()

    @property
    def key(self) -> str:
        """The key of the mentions in ``doc.spans``."""
        return str(self.cfg["spans_key"])

    @property
    def loss_weight(self) -> float:
        """Factor on the gradient."""
        return self.learning.loss_weight

    @loss_weight.setter
    def loss_weight(self, value: float) -> None:
        self.learning = replace(self.learning, loss_weight=value)

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
        docs = [eg.predicted for eg in examples]
        weights = [self.learning.document_weight(eg, self.key) for eg in examples]
        mentions = [
            gold_mentions(eg, self.key) if weight else []
            for eg, weight in zip(examples, weights, strict=True)
        ]
        candidates = self.learning.sample(
            examples, self.candidates(docs, mentions), self.schema, self.key
        )
        logits, backprop = self.model.begin_update((docs, candidates))
        loss, d_logits = self.get_loss(examples, (candidates, logits))
        backprop(d_logits)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Iterable[Example], scores: Tuple[PairCandidates, Floats2d]
    ) -> Tuple[float, Floats2d]:
        """The loss of the candidates' logits and its gradient, see ``RelationLearning.get_loss``.

        scores: candidates over the references' mentions, and their logits. Relations that the
            schema does not allow are ignored.
        """
        candidates, logits = scores
        logits = self._with_priors(candidates, logits)
        return self.learning.get_loss(list(examples), candidates, logits, self.schema, self.key)

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
        limit = self.learning.max_relations
        for problem in learning_problems(get_examples(), chosen, self.key, limit):
            self._warn_once(problem)
        if self.cfg["use_priors"]:
            self.cfg["prior_logits"] = prior_logits(get_examples(), chosen, self.key).tolist()
        sample = list(islice(get_examples(), 10))
        docs = [eg.predicted for eg in sample]
        candidates = self.candidates(docs, [gold_mentions(eg, self.key) for eg in sample])
        self.model.initialize(X=(docs, candidates))

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

    def calibrate(self, examples: Iterable[Example]) -> Dict[str, float]:
        """Set the temperature that makes the probabilities most likely on held-out documents
        (Guo et al. 2017), over the references' mentions.

        It divides the logits and lies in ``cfg``. Thresholds mean something else afterwards:
        choose them anew.

        examples: their predicted documents have been through the components before this one.
        RETURNS: "temperature", and the expected calibration error over all legal predicates in
            15 bins of equal width, "ece_before" and "ece_after".
        Raises ValueError where no reference holds a relation.
        """
        found = fit_temperature(self, self._with_relations(examples))
        self.cfg["temperature"] = found["temperature"]
        return found

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

        The common threshold is the mean of the best ones of resampled documents, see
        ``threshold_search.averaged_threshold``.

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
        annotated = self._with_relations(examples)
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

    def candidates(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> PairCandidates:
        """The candidate pairs over these mentions of documents."""
        schema = self.schema
        index = {label: i for i, label in enumerate(schema.labels)}
        unknown = {mention.label for document in mentions for mention in document} - set(index)
        for label in sorted(unknown):
            self._warn_once(
                f"mentions with the label '{label}' take part in no relation, because the relation "
                f"schema knows only {list(schema.labels)}."
            )
        found = pair_candidates(
            [mention_table(document, index) for document in mentions],
            schema,
            [mention_entities(doc, own) for doc, own in zip(docs, mentions, strict=True)],
        )
        if self.cfg["max_distance"] is None:
            return found
        borders = [
            mention_characters(doc, m)
            for doc, document in zip(docs, mentions, strict=True)
            for m in document
        ]
        table = numpy.asarray(borders, dtype="int64").reshape((-1, 2))
        return found.within(table, self.cfg["max_distance"])

    def logits(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> Tuple[PairCandidates, numpy.ndarray]:
        """The candidate pairs over these mentions, and the model's scores, with the priors.

        RETURNS: the candidates, and float32, (pairs, predicates), illegal ones included.
        Raises ValueError where the shared encoder has left nothing for a document.
        """
        from ..models.listener import require_encoder_output

        require_encoder_output(self.model, docs, self.name)
        candidates = self.candidates(docs, mentions)
        logits = self.model.predict((list(docs), candidates))
        return candidates, self.model.ops.to_numpy(self._with_priors(candidates, logits))

    def probabilities(self, candidates: PairCandidates, logits: numpy.ndarray) -> numpy.ndarray:
        """The probability of each predicate of each pair: float32, (pairs, predicates)."""
        scaled = logits / self.cfg["temperature"]
        return self.learning.loss.probabilities(scaled, candidates.pair_legal())

    def find_relations(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> List[ScoredRelations]:
        """The relations between these mentions of documents, by the component's thresholds."""
        own = self.cfg["thresholds"]
        candidates, logits = self.logits(docs, mentions)
        return decode_relations(
            candidates,
            self.probabilities(candidates, logits),
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

    def _with_relations(self, examples: Iterable[Example]) -> List[Example]:
        annotated = [eg for eg in examples if is_annotated(eg, self.key)]
        if not any(get_relation_rows(eg.reference) for eg in annotated):
            raise ValueError(
                f"Component '{self.name}': thresholds cannot be tuned, because no reference holds "
                f"a relation between mentions of doc.spans['{self.key}']."
            )
        return annotated

    def _with_priors(self, candidates: PairCandidates, logits: Floats2d) -> Floats2d:
        if self.cfg["prior_logits"] is None:
            return logits
        priors = numpy.asarray(self.cfg["prior_logits"], dtype="float32")
        values: Any = candidates.pair_values(priors)
        return logits + self.model.ops.asarray2f(values)

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
