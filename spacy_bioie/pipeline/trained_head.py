"""What the components that learn beside each other, on one encoder, have in common."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from spacy.pipeline import TrainablePipe
from spacy.training import Example, validate_examples
from thinc.api import Optimizer, set_dropout_rate


class TrainedHead(TrainablePipe):
    """A component whose model runs over documents; it says what its model reads of a batch."""

    @property
    def key(self) -> str:
        """The key of the mentions in ``doc.spans``."""
        return str(self.cfg["spans_key"])

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch.

        The model runs and its gradient is passed on for every batch with a token, also one from
        which nothing can be learned: the last component on a shared encoder that did not would
        discard what all others passed.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        examples, scores, backprop = self.begin_update(examples)
        loss, d_scores = self.get_loss(examples, scores)
        backprop(d_scores)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        losses.update(self.learned_figures())
        return losses

    def begin_update(
        self, examples: List[Example]
    ) -> Tuple[List[Example], Any, Callable[[Any], Any]]:
        """Run the model for training.

        RETURNS: the examples to learn from, the output as ``get_loss`` takes it, and the callback
            that takes its gradient.
        """
        raise NotImplementedError

    def learned_figures(self) -> Dict[str, float]:
        """What else is reported beside the loss, such as parameters that the loss has learned."""
        return {}


def hash_embed_cnn(depth: int) -> Dict[str, Any]:
    """The config of the small encoder that a component's default model has of its own."""
    return {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 96,
        "depth": depth,
        "embed_size": 2000,
        "window_size": 1,
        "maxout_pieces": 3,
        "subword_features": True,
    }
