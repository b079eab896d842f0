"""The temperature of a ``code_linker``: probabilities that are as often right as they say."""

from typing import Dict

import numpy

from ..models.calibration import best_temperature, calibration_error


def softmax(logits: numpy.ndarray) -> numpy.ndarray:
    """Probabilities over the last axis: float64, (mentions, codes)."""
    if not logits.size:
        return logits.astype("float64")
    powers = numpy.exp(logits.astype("float64") - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(
    logits: numpy.ndarray, target: numpy.ndarray, before: float
) -> Dict[str, float]:
    """Find the temperature under which the gold codes are most likely (Guo et al. 2017).

    logits: (mentions, codes). target: bool, the same shape: the gold codes, one or more for each
        mention. before: the temperature in use.
    RETURNS: "temperature", and the expected calibration error of the best code with the old and
        with the new one, "ece_before" and "ece_after".
    """

    def of_gold(temperature: float) -> numpy.ndarray:
        return (softmax(logits / temperature) * target).sum(axis=1)

    n = len(logits)
    hits = target[numpy.arange(n), logits.argmax(axis=1)]
    found = best_temperature(of_gold, numpy.ones((n,), dtype=bool))
    errors = [
        calibration_error(softmax(logits / temperature).max(axis=1), hits)
        for temperature in (before, found)
    ]
    return {"temperature": found, "ece_before": errors[0], "ece_after": errors[1]}
