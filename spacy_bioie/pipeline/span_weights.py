"""How much the documents and the labels count that components for mentions learn from."""

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Literal, Optional, Sequence, Union

import numpy
from spacy.training import Example

from ..annotation import MentionTable, get_tier

LabelWeights = Union[Literal["balanced"], Dict[str, float]]


@dataclass(frozen=True)
class SpanWeights:
    """The weights of a ``nested_spancat``; see there."""

    tiers: Dict[str, float] = field(default_factory=dict)
    labels: LabelWeights = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Whether the weights of labels are counted when the component is initialized."""
        return isinstance(self.labels, str)

    @property
    def by_label(self) -> Dict[str, float]:
        """The weights of labels that are given."""
        return {} if isinstance(self.labels, str) else self.labels

    def check(self, component: str) -> None:
        """Raise ValueError, which names the component, for a setting that is out of its range."""
        if self.balanced and self.labels != "balanced":
            raise ValueError(
                f"Component '{component}': label_weights is {self.labels!r}, expected 'balanced', "
                "or weights by label."
            )
        for setting, weights in (("tier_weights", self.tiers), ("label_weights", self.by_label)):
            for name, value in weights.items():
                if value < 0.0:
                    raise ValueError(
                        f"Component '{component}': {setting}['{name}'] is {value}, expected 0 or "
                        "more."
                    )

    def arguments(
        self, examples: Sequence[Example], labels: Sequence[str], counted: Optional[List[float]]
    ) -> Dict[str, Any]:
        """The weights of a batch as arguments of ``SpanHead.loss``, those that are set.

        counted: what ``balanced_weights`` returned when the component was initialized.
        """
        arguments: Dict[str, Any] = {}
        if self.tiers:
            tiers = (get_tier(eg.reference) for eg in examples)
            arguments["doc_weights"] = numpy.asarray([self.tiers.get(tier, 1.0) for tier in tiers])
        if self.balanced:
            if counted is None:
                raise ValueError(
                    "label_weights is 'balanced', but no mentions were counted: expected a "
                    "component that was initialized with this setting."
                )
            arguments["label_weights"] = numpy.asarray(counted)
        elif self.labels:
            weights = [self.by_label.get(label, 1.0) for label in labels]
            arguments["label_weights"] = numpy.asarray(weights)
        return arguments


def balanced_weights(gold: Iterable[MentionTable], n_labels: int) -> List[float]:
    """N / (C N_i) for each label i (LYX_DMIIP_FDU, equation 4), where N_i of N mentions have one
    of C labels: a rare label weighs more, and all mentions together what they weighed before.

    A label without a mention has the weight 1 and is not one of the C.
    """
    counts = numpy.zeros((n_labels,), dtype="int64")
    for table in gold:
        counts += numpy.bincount(table[:, 2], minlength=n_labels)
    seen = counts > 0
    weights = counts.sum() / (max(int(seen.sum()), 1) * numpy.maximum(counts, 1))
    return numpy.where(seen, weights, 1.0).tolist()
