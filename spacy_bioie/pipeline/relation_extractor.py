"""The component ``relation_extractor``: says which mentions of a document are related, and how."""

from dataclasses import replace
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from ..annotation import SPANS_KEY, Mention, gold_mentions
from ..models.candidates import PairCandidates
from .relation_finder import MentionInput as MentionInput
from .relation_finder import Metric as Metric
from .relation_finder import RelationFinder
from .relation_learning import RelationLearning
from .relation_targets import choose_schema, learning_problems, prior_logits
from .trained_head import hash_embed_cnn

DEFAULT_RELATION_MODEL = {
    "@architectures": "spacy_bioie.PairClassifier.v1",
    "tok2vec": hash_embed_cnn(4),
}


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
        "target": "mention",
        "predicted_key": None,
        "predicted_share": 0.0,
        "predicted_match": "exact",
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
    target: str,
    predicted_key: Optional[str],
    predicted_share: float,
    predicted_match: str,
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
            target=target,
            predicted_key=predicted_key,
            predicted_share=predicted_share,
            predicted_match=predicted_match,
        ),
        scorer=scorer,
    )


class RelationExtractor(RelationFinder):
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
            target: "mention", a pair of mentions is positive where the reference relates these
                two; "any", where it relates any mentions of the same two concepts, for a model
                that scores pairs of concepts, as ATLOP, and gold that marks some of their
                mentions.
            predicted_key: a span group of the reference with mentions that a pipeline has found
                which was not trained on the document, see ``training.cross_fitting``.
            predicted_share: in each update so many of the documents, drawn anew, take their
                mentions from that group; 0 for none. The relations of gold mentions are carried
                over to predicted ones that match them; all other pairs are negatives.
            predicted_match: "exact", a predicted mention matches a gold one of the same label and
                token borders; "overlap", the one of the same label that it shares most with.
        scorer: the scoring method; without one, ``score`` gives no figures at all.

        Raises ValueError where a setting is out of its range.
        """
        super().__init__(
            vocab,
            model,
            name,
            spans_key=spans_key,
            threshold=threshold,
            thresholds=thresholds,
            one_predicate_per_pair=one_predicate_per_pair,
            max_distance=max_distance,
            scorer=scorer,
        )
        if learning is None:
            from ..models.relation_losses import PairCrossEntropy

            learning = RelationLearning(PairCrossEntropy())
        learning.check(name)
        self.learning = learning
        self.cfg.update(use_priors=use_priors, prior_logits=None)

    @property
    def pair_loss(self) -> Any:
        """The loss of ``learning``, which reads the logits too."""
        return self.learning.loss

    @property
    def loss_weight(self) -> float:
        """Factor on the gradient."""
        return self.learning.loss_weight

    @loss_weight.setter
    def loss_weight(self, value: float) -> None:
        self.learning = replace(self.learning, loss_weight=value)

    def begin_update(
        self, examples: List[Example]
    ) -> Tuple[List[Example], Any, Callable[[Any], Any]]:
        """Run the model over the candidates, see ``TrainedHead``.

        Of documents that are not learned from no pairs are made.
        """
        docs = [eg.predicted for eg in examples]
        examples = self.learning.mix(examples, self.key)
        weights = [self.learning.document_weight(eg, self.key) for eg in examples]
        mentions = [
            gold_mentions(eg, self.key) if weight else []
            for eg, weight in zip(examples, weights, strict=True)
        ]
        candidates = self.learning.sample(
            examples, self.candidates(docs, mentions), self.schema, self.key
        )
        logits, backprop = self.model.begin_update((docs, candidates))
        return examples, (candidates, logits), backprop

    def get_loss(
        self, examples: Iterable[Example], scores: Tuple[PairCandidates, Floats2d]
    ) -> Tuple[float, Floats2d]:
        """The loss of the candidates' logits and its gradient, see ``RelationLearning.get_loss``.

        scores: candidates over the references' mentions, and their logits. Relations that the
            schema does not allow are ignored.
        """
        candidates, logits = scores
        priors: Any = self._priors(candidates)
        if priors is not None:
            logits = logits + self.model.ops.asarray2f(priors)
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
        share, predicted = self.learning.predicted_share, self.learning.predicted_key
        if share and not any(predicted in eg.reference.spans for eg in get_examples()):
            self._warn_once(
                f"predicted_share is {share}, but no reference has doc.spans['{predicted}'], so "
                "that all is learned from gold mentions. Expected a corpus from "
                "'bioie cross-fit', or its key as 'predicted_key'."
            )
        if self.cfg["use_priors"]:
            self.cfg["prior_logits"] = prior_logits(get_examples(), chosen, self.key).tolist()
        sample = list(islice(get_examples(), 10))
        docs = [eg.predicted for eg in sample]
        candidates = self.candidates(docs, [gold_mentions(eg, self.key) for eg in sample])
        self.model.initialize(X=(docs, candidates))

    def logits(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> Tuple[PairCandidates, numpy.ndarray]:
        """``RelationFinder.logits``, with the priors."""
        candidates, logits = super().logits(docs, mentions)
        priors = self._priors(candidates)
        return candidates, logits if priors is None else logits + priors

    def _priors(self, candidates: PairCandidates) -> Optional[numpy.ndarray]:
        """The prior logits of each pair: float32, (pairs, predicates)."""
        table = self.cfg["prior_logits"]
        return None if table is None else candidates.pair_values(numpy.asarray(table, "float32"))
