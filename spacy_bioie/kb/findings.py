"""What is worth telling about sources: how often, and a few examples."""

from collections import Counter
from typing import Counter as CounterType
from typing import Dict, List

EXAMPLES = 5


class Findings:
    """Counts by kind, and the first few examples of each kind.

    Kinds have the names of the fields of ``BuildReport`` that tell them.
    """

    def __init__(self) -> None:
        self.counts: CounterType[str] = Counter()
        self.examples: Dict[str, List[str]] = {}

    def note(self, kind: str, *example: str) -> None:
        """Count one; the parts of the example are joined by colons."""
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.examples.setdefault(kind, []).append(": ".join(example))
