"""What the components share whose labels can be added one by one before they are initialized."""

from typing import List, Tuple

from .trained_head import TrainedHead


class LabelledHead(TrainedHead):
    """A component with its labels in ``cfg["labels"]``."""

    label_title = "label"  # what errors call one

    @property
    def labels(self) -> Tuple[str, ...]:
        """The labels, in the order in which they were added."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
        """What ``spacy init labels`` writes and ``initialize`` takes."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label before the model is initialized.

        RETURNS: 1, or 0 where the label is there already.
        Raises ValueError for an empty label, and once the model has its size.
        """
        if not isinstance(label, str) or not label:
            raise ValueError(
                f"Component '{self.name}': the {self.label_title} is {label!r}, expected a string "
                "that is not empty."
            )
        if label in self.labels:
            return 0
        self._allow_extra_label()
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1
