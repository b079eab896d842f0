"""What ``nested_spancat`` asks of its model: from documents to scored spans.

A model for that component is a thinc ``Model[List[Doc], S]``, where ``S`` is whatever its head
computes, with

- a dimension ``nO``, the number of labels, which the component sets before it initializes the
  model, and
- an attribute ``span_head``: a ``SpanHead``, which reads ``S``, and
- an attribute ``temperature``, which divides the scores before they become probabilities and is
  saved with the model.

One that reads the labels has an attribute ``labels`` too, in which the component puts their names.
"""

import math
from typing import Any, Iterable, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy
from spacy.tokens import Doc
from thinc.api import Model

from ..annotation import MentionTable

SPAN_HEAD = "span_head"
TEMPERATURE = "temperature"
LABELS = "labels"
GoldBatch = Tuple[Sequence[Doc], Sequence[MentionTable]]  # documents, and the mentions of each


class ScoredSpans(NamedTuple):
    """The spans found in one document, in the order of their borders.

    starts, ends (exclusive): int64, (spans,), token indices. labels: int64, (spans,), label
    indices. scores: float32, (spans,), probabilities.
    """

    starts: numpy.ndarray
    ends: numpy.ndarray
    labels: numpy.ndarray
    scores: numpy.ndarray


class SpanHead(Protocol):
    """How the output of a span model is learned from and read.

    A head may have two methods more:

    - ``rescore(output, temperature)``: the spans that ``decode`` finds, in the same order, with
      their scores at that temperature. With it, the component can be calibrated.
    - ``learned_values(model)``: what the loss itself has learned and is worth logging, by name.
    """

    def loss(
        self,
        output: Any,
        gold: Sequence[MentionTable],
        weight: float = 1.0,
        *,
        doc_weights: Optional[numpy.ndarray] = None,
        label_weights: Optional[numpy.ndarray] = None,
    ) -> Tuple[float, Any]:
        """The loss of a batch and its gradient, which has the structure of ``output``.

        gold: one mention table for each document; every label index is that of a label.
        weight: factor on the gradient, not on the loss.
        doc_weights: float, (docs,): the loss is a mean weighted by these, 0 where they all are.
        label_weights: float, (labels,): factor on the loss of each label's mentions.

        A component gives the last two only where they are set.
        """

    def decode(self, output: Any) -> List[ScoredSpans]:
        """The spans of each document."""

    def prepare(self, model: Model, batches: Iterable[GoldBatch]) -> int:
        """Set a model that has just got its size out from the mentions of the training documents.

        RETURNS: the number of mentions that the head cannot learn.
        """

    @property
    def limits(self) -> str:
        """Which mentions the head cannot learn, and what to do about it: "they ..."."""


def get_span_head(model: Model) -> SpanHead:
    """The span head of a model.

    Raises ValueError for a model without one.
    """
    if SPAN_HEAD not in model.attrs:
        raise ValueError(
            f"The model '{model.name}' finds no spans: expected an architecture such as "
            "'spacy_bioie.SpanTagger.v1', which has the attribute 'span_head'."
        )
    return model.attrs[SPAN_HEAD]


def temperature_of(model: Model) -> float:
    """The temperature of a model. Raises ValueError for one that is not above 0."""
    temperature = float(model.attrs[TEMPERATURE])
    if not (math.isfinite(temperature) and temperature > 0.0):
        raise ValueError(f"Model '{model.name}': temperature is {temperature}, expected above 0.")
    return temperature


def no_spans() -> ScoredSpans:
    """The spans of a document in which nothing was found."""
    none = numpy.zeros((0,), dtype="int64")
    return ScoredSpans(none, none, none, none.astype("float32"))


def split_by_document(doc: numpy.ndarray, n_docs: int, spans: ScoredSpans) -> List[ScoredSpans]:
    """Sort spans of a batch by document, start, end (longest first) and label, and part them.

    doc: int64, (spans,): the document of each span.
    """
    order = numpy.lexsort((spans.labels, -spans.ends, spans.starts, doc))
    borders = numpy.searchsorted(doc[order], numpy.arange(1, n_docs))
    columns = [numpy.split(column[order], borders) for column in spans]
    return [ScoredSpans(*(column[i] for column in columns)) for i in range(n_docs)]
