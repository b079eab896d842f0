"""What the components that find relations share: candidates, decoding, scores and thresholds."""

import warnings
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Optional,
    Sequence,
    Set,
    Tuple,
    get_args,
)

import numpy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..annotation import (
    SPANS_KEY,
    Mention,
    RelationRow,
    ensure_span_ids,
    get_mentions,
    get_relation_rows,
    mention_characters,
    mention_entities,
    mention_table,
    set_relations,
)
from ..models.candidates import PairCandidates, pair_candidates
from ..models.relation_decoding import ScoredRelations, decode_relations
from ..models.relation_schema import RelationSchema
from .relation_evaluation import fit_temperature, score_gold_input, search_thresholds
from .relation_targets import is_annotated
from .trained_head import TrainedHead

Metric = Literal["bt", "tt", "tm", "c", "mean"]
MentionInput = Literal["gold", "pred"]


class RelationFinder(TrainedHead):
    """Finds relations between the mentions of a document and writes ``doc._.relations``.

    Candidates are all ordered pairs of mentions between which the relation schema allows a
    predicate, at any distance. A subclass says how the model's scores are read (``pair_loss``).
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Tuple[List[Doc], PairCandidates], Any],
        name: str,
        *,
        spans_key: str = SPANS_KEY,
        threshold: float = 0.5,
        thresholds: Optional[Dict[str, float]] = None,
        one_predicate_per_pair: bool = True,
        max_distance: Optional[int] = None,
        scorer: Optional[Callable] = None,
    ) -> None:
        """Create the component; see ``RelationExtractor`` for the settings.

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
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: Dict[str, Any] = {
            "spans_key": spans_key,
            "threshold": threshold,
            "thresholds": dict(thresholds or {}),
            "one_predicate_per_pair": one_predicate_per_pair,
            "max_distance": max_distance,
            "temperature": 1.0,
            "schema": None,
        }
        self._schema: Tuple[Any, Optional[RelationSchema]] = (None, None)
        self._warned: Set[str] = set()

    @property
    def pair_loss(self) -> Any:
        """The ``models.relation_losses.PairLoss`` that reads the logits."""
        raise NotImplementedError

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

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score relations over the predicted mentions and over the gold mentions.

        The figures over predicted mentions are those of the scorer (``rel_pred_...``). For those
        over gold mentions (``rel_gold_...``, see ``scoring.relations``; ``rel_gold_c_...`` with
        the gold concepts) the model reads the reference's mentions in the predicted documents;
        they are left out where the documents no longer carry the output of a shared encoder.
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
        metric: "bt" (label pairs), "tt" (triples of labels and predicate), "tm" (triples with the
            texts of the mentions), "mean" (the mean of the three) or "c" (triples of concepts; it
            needs gold concept ids, or relations that the corpus states between concepts), as sets
            in which every prediction counts.
        input: whether relations are found over the reference's mentions or over the predicted
            ones.
        per_predicate: a threshold for each predicate as well, where the candidates hold at least
            ``min_gold`` gold items of it.

        RETURNS: "threshold" and "thresholds" as they now stand in ``cfg``, and the micro-F1 that
            they reach under the name that ``score`` gives it.
        Raises ValueError where no reference holds a relation of the metric's level, or for an
        unknown metric or input.
        """
        if input not in ("gold", "pred"):
            raise ValueError(f"Unknown input '{input}': expected 'gold' or 'pred'.")
        if metric not in get_args(Metric):
            expected = ", ".join(get_args(Metric))
            raise ValueError(f"Unknown metric '{metric}': expected one of {expected}.")
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
        """The candidate pairs over these mentions, and their scores.

        RETURNS: the candidates, and float32, (pairs, predicates), illegal ones included.
        Raises ValueError where the shared encoder has left nothing for a document.
        """
        from ..models.listener import require_encoder_output

        require_encoder_output(self.model, docs, self.name)
        candidates = self.candidates(docs, mentions)
        return candidates, self.model.ops.to_numpy(self.model.predict((list(docs), candidates)))

    def probabilities(
        self, candidates: PairCandidates, logits: numpy.ndarray, temperature: Optional[float] = None
    ) -> numpy.ndarray:
        """The probability of each predicate of each pair: float32, (pairs, predicates).

        temperature: divides the logits; by default that of ``calibrate``.
        """
        scaled = logits / (self.cfg["temperature"] if temperature is None else temperature)
        return self.pair_loss.probabilities(scaled, candidates.pair_legal())

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
