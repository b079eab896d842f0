"""The component ``span_ensemble``: finds mentions by the averaged scores of several models."""

from typing import Any, Callable, Dict, Iterable, List, Optional

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model

from ..annotation import SPANS_KEY
from .nested_spancat import DEFAULT_NESTED_SPANCAT_MODEL, NestedSpanCategorizer

DEFAULT_SPAN_ENSEMBLE_MODEL = {
    "@architectures": "spacy_bioie.SpanEnsemble.v1",
    "method": "emissions",
    "*": {"member_1": DEFAULT_NESTED_SPANCAT_MODEL},
}


@Language.factory(
    "span_ensemble",
    assigns=["doc.spans"],
    default_config={
        "model": DEFAULT_SPAN_ENSEMBLE_MODEL,
        "spans_key": SPANS_KEY,
        "threshold": 0.0,
        "thresholds": {},
        "set_ents": False,
        "scorer": {"@scorers": "spacy_bioie.nested_spancat_scorer.v1"},
    },
    default_score_weights={"spans_sc_f": 1.0, "spans_sc_p": 0.0, "spans_sc_r": 0.0},
)
def make_span_ensemble(
    nlp: Language,
    name: str,
    model: Model[List[Doc], Any],
    spans_key: str,
    threshold: float,
    thresholds: Dict[str, float],
    set_ents: bool,
    scorer: Optional[Callable],
) -> "SpanEnsemble":
    """Create a ``span_ensemble`` component; see ``NestedSpanCategorizer`` for the settings."""
    return SpanEnsemble(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        threshold=threshold,
        thresholds=thresholds,
        set_ents=set_ents,
        scorer=scorer,
    )


class SpanEnsemble(NestedSpanCategorizer):
    """A ``nested_spancat`` whose model is ``spacy_bioie.SpanEnsemble.v1``.

    ``spacy_bioie.training.ensembling`` makes it of the ``nested_spancat`` of trained pipelines.
    It can be calibrated and its thresholds tuned like any other, but does not learn.
    """

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[List[str]] = None,
    ) -> None:
        """Raise ValueError: the members have been trained."""
        raise ValueError(
            f"Component '{self.name}' is an ensemble of trained members and cannot be initialized. "
            "Expected it as a frozen component with a source, or a pipeline that is only loaded."
        )

    def learned_figures(self) -> Dict[str, float]:
        """None: what the losses of the members had learned is no part of the ensemble."""
        return {}
