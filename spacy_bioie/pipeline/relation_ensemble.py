"""The component ``relation_ensemble``: the averaged probabilities of several relation models."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model, Optimizer
from thinc.types import Floats2d

from ..annotation import SPANS_KEY
from ..models.candidates import PairCandidates
from .relation_extractor import DEFAULT_RELATION_MODEL
from .relation_finder import RelationFinder

DEFAULT_RELATION_ENSEMBLE_MODEL = {
    "@architectures": "spacy_bioie.RelationEnsemble.v1",
    "*": {
        "member_1": {
            "@architectures": "spacy_bioie.PairProbabilities.v1",
            "model": DEFAULT_RELATION_MODEL,
            "loss": {"@misc": "spacy_bioie.PairCrossEntropy.v1"},
        }
    },
}


@Language.factory(
    "relation_ensemble",
    assigns=["doc._.relations"],
    requires=["doc.spans"],
    default_config={
        "model": DEFAULT_RELATION_ENSEMBLE_MODEL,
        "spans_key": SPANS_KEY,
        "threshold": 0.5,
        "thresholds": {},
        "one_predicate_per_pair": True,
        "max_distance": None,
        "scorer": {"@scorers": "spacy_bioie.relation_scorer.v1"},
    },
    default_score_weights={"rel_pred_tm_micro_f": 0.5, "rel_gold_tm_micro_f": 0.5},
)
def make_relation_ensemble(
    nlp: Language,
    name: str,
    model: Model[Tuple[List[Doc], PairCandidates], Floats2d],
    spans_key: str,
    threshold: float,
    thresholds: Dict[str, float],
    one_predicate_per_pair: bool,
    max_distance: Optional[int],
    scorer: Optional[Callable],
) -> "RelationEnsemble":
    """Create a ``relation_ensemble`` component; see ``RelationExtractor`` for the settings."""
    return RelationEnsemble(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        threshold=threshold,
        thresholds=thresholds,
        one_predicate_per_pair=one_predicate_per_pair,
        max_distance=max_distance,
        scorer=scorer,
    )


class RelationEnsemble(RelationFinder):
    """Finds relations as a ``relation_extractor`` does, with ``spacy_bioie.RelationEnsemble.v1``.

    ``spacy_bioie.training.relation_averaging`` makes it of the ``relation_extractor`` of trained
    pipelines. It can be calibrated and its thresholds tuned like any other, but does not learn.
    """

    @property
    def pair_loss(self) -> Any:
        """The model gives log odds, whatever its members were trained with."""
        from ..models.relation_losses import PairCrossEntropy

        return PairCrossEntropy()

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Raise ValueError: the members have been trained."""
        raise ValueError(
            f"Component '{self.name}' is an ensemble of trained members and does not learn. "
            "Expected it in training.frozen_components."
        )

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Any] = None,
    ) -> None:
        """Raise ValueError: the members have been trained."""
        raise ValueError(
            f"Component '{self.name}' is an ensemble of trained members and cannot be initialized. "
            "Expected it as a frozen component with a source, or a pipeline that is only loaded."
        )
