"""Adam with a learning rate for each part of the pipeline."""

import re
from typing import Dict, List, Optional, Pattern, Tuple, Union

from thinc.api import Optimizer
from thinc.types import FloatsXd, Generator

Rate = Union[float, List[float], Generator]


class LayeredOptimizer(Optimizer):
    """AdamW whose learning rate and weight decay depend on the name of the parameter.

    A recogniser with a pretrained encoder wants a small rate for the encoder, a larger one for
    the head and a still larger one for the transitions of its CRF (GutUZH used 2e-5, 2e-4 and
    2e-3).
    """

    __slots__ = ["scales", "no_decay", "_known"]

    def __init__(
        self,
        learn_rate: Rate,
        *,
        scales: Dict[str, float],
        no_decay: List[str],
        **settings,
    ):
        """Create the optimizer.

        scales: pattern searched in a parameter's name -> factor on the learning rate; the first
            that matches counts, names without a match have the factor 1.
        no_decay: patterns of the names of parameters that are never decayed.
        settings: the arguments of ``thinc.api.Optimizer``.

        Raises ValueError for a factor below zero or a pattern that is no regular expression.
        """
        super().__init__(learn_rate, **settings)
        for pattern, scale in scales.items():
            if scale < 0:
                raise ValueError(f"scales['{pattern}'] is {scale}: expected a factor of 0 or more.")
        self.scales = [(_compile(pattern), scale) for pattern, scale in scales.items()]
        self.no_decay = [_compile(pattern) for pattern in no_decay]
        self._known: Dict[str, Tuple[float, bool]] = {}

    def part(self, name: str) -> Tuple[float, bool]:
        """The factor on the learning rate of a parameter, and whether its weights decay."""
        if name not in self._known:
            scale = next((s for pattern, s in self.scales if pattern.search(name)), 1.0)
            decays = not any(pattern.search(name) for pattern in self.no_decay)
            self._known[name] = (scale, decays)
        return self._known[name]

    def __call__(
        self,
        key: Tuple[int, str],
        weights: FloatsXd,
        gradient: FloatsXd,
        *,
        lr_scale: float = 1.0,
    ):
        """Update one parameter in place; ``key`` is (node id, parameter name)."""
        scale, decays = self.part(str(key[1]))
        decay = self.L2
        if not decays:
            self.L2 = 0.0
        try:
            return super().__call__(key, weights, gradient, lr_scale=lr_scale * scale)
        finally:
            self.L2 = decay


def LayeredAdam_v1(
    learn_rate: Rate,
    scales: Optional[Dict[str, float]] = None,
    no_decay: Optional[List[str]] = None,
    L2: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    use_averages: bool = False,
) -> LayeredOptimizer:
    """Create the optimizer ``spacy_bioie.LayeredAdam.v1``.

    learn_rate: the encoder's rate or schedule; every other rate is a multiple of it.
    scales: see ``LayeredOptimizer``; by default heads learn 3 and CRF transitions 30 times as
        fast as the encoder.
    no_decay: by default biases and the weights of layer normalisation.
    grad_clip: the largest L2 norm of the gradient of one parameter.
    """
    return LayeredOptimizer(
        learn_rate,
        scales={"crf": 30.0, "head": 3.0} if scales is None else scales,
        no_decay=[r"bias$", r"LayerNorm", r"^b$"] if no_decay is None else no_decay,
        L2=L2,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        grad_clip=grad_clip,
        use_averages=use_averages,
        L2_is_weight_decay=True,
    )


def _compile(pattern: str) -> Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"Pattern {pattern!r} is no regular expression ({error}): expected one that is "
            "searched in parameter names such as 'encoder.layer.0.output.dense.weight'."
        ) from error
