"""Noticing that the gradient of a shared encoder gets lost."""

import warnings


class GradientWatch:
    """Notices when the gradient of the encoder gets lost between its listeners.

    In spaCy the last listening component sends the sum of all gradients to the encoder. If it is
    frozen, disabled, or ends its update without backpropagation, the gradients of the others are
    dropped without a word.
    """

    def __init__(self, encoder: str) -> None:
        """encoder: the name of the encoder's component, for messages."""
        self.encoder = encoder
        self.waiting = False
        self.lost = 0

    def hand_out(self) -> None:
        """A training batch's output goes to listeners."""
        self.waiting = True

    def receive(self) -> None:
        """The gradient of the batch has come."""
        self.waiting = False
        self.lost = 0

    def next_batch(self) -> None:
        """Another training batch begins.

        One batch without a gradient is a warning, since an update may have been interrupted by an
        exception; raises ValueError at the second in a row.
        """
        if not self.waiting:
            return
        self.waiting = False
        self.lost += 1
        what = "two batches in a row"
        if self.lost == 1:
            what = "the last batch (ignore this if its update was interrupted)"
        message = (
            f"In training, no gradient came back to the encoder (component '{self.encoder}') for "
            f"{what}. Only the last component that listens to it passes the gradients of all of "
            "them on, and it did not: it is frozen, disabled or excluded from updates, or its "
            "update ended without backpropagation. Let the last listening component of the "
            "pipeline be one that is trained; or give the frozen one an encoder of its own "
            "(nlp.replace_listeners); or freeze the encoder too and add it to "
            "training.annotating_components."
        )
        if self.lost > 1:
            self.lost = 0
            raise ValueError(message)
        warnings.warn(message, stacklevel=4)
