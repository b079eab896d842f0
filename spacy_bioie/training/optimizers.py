"""Adam with a learning rate for each part of the pipeline."""

import re
from typing import Dict, List, NamedTuple, Optional, Pattern, Sequence, Tuple, Union

from thinc.api import Optimizer
from thinc.types import FloatsXd, Generator

Rate = Union[float, List[float], Generator]

# The names of transformers: "encoder.layer.3.output.dense.weight", "h.3.attn.c_proj.weight".
_LAYER = re.compile(r"(?:^|\.)(?:layers?|block|h)\.(\d+)\.")
_EMBEDDINGS = re.compile(r"(?:^|\.)(?:\w*embeddings?|embed_tokens|shared|wte|wpe)\.")

NO_DECAY = (r"bias$", r"bias_[ih]h_", r"LayerNorm", r"^[bG]$", r"alpha$")


class Part(NamedTuple):
    """How a parameter learns: the factor on the learning rate, and whether its weights decay."""

    scale: float
    decays: bool


class LayeredOptimizer(Optimizer):
    """AdamW whose learning rate and weight decay depend on the name of the parameter.

    A recogniser with a pretrained encoder wants a small rate for the encoder, a larger one for
    the head and a still larger one for the transitions of its CRF (GutUZH used 2e-5, 2e-4 and
    2e-3). The lower layers of the encoder may want smaller ones (Howard and Ruder 2018), or none.
    """

    __slots__ = ["scales", "no_decay", "frozen", "layer_decay", "n_layers", "_top", "_known"]

    def __init__(
        self,
        learn_rate: Rate,
        *,
        scales: Dict[str, float],
        no_decay: Sequence[str],
        frozen: Sequence[str] = (),
        layer_decay: float = 1.0,
        n_layers: Optional[int] = None,
        **settings,
    ):
        """Create the optimizer.

        scales: pattern searched in a parameter's name -> factor on the learning rate; the first
            that matches counts, names without a match have the factor 1.
        no_decay: patterns of the names of parameters that are never decayed.
        frozen: patterns of the names of parameters that never change.
        layer_decay: each layer of a transformer learns so many times as fast as the one above it,
            and the embeddings as the lowest layer; times ``scales``.
        n_layers: number of layers of the transformer, which ``layer_decay`` needs to know.
        settings: the arguments of ``thinc.api.Optimizer``.

        Raises ValueError for a factor below zero, a pattern that is no regular expression, or a
        ``layer_decay`` outside (0, 1] or without ``n_layers``.
        """
        super().__init__(learn_rate, **settings)
        for pattern, scale in scales.items():
            if scale < 0:
                raise ValueError(f"scales['{pattern}'] is {scale}: expected a factor of 0 or more.")
        if not 0.0 < layer_decay <= 1.0:
            raise ValueError(f"layer_decay is {layer_decay}: expected above 0 and at most 1.")
        if layer_decay != 1.0 and (n_layers is None or n_layers < 1):
            raise ValueError(
                f"layer_decay is {layer_decay}, n_layers {n_layers}: expected the number of "
                "layers of the encoder as n_layers."
            )
        self.scales = [(_compile(pattern), scale) for pattern, scale in scales.items()]
        self.no_decay = [_compile(pattern) for pattern in no_decay]
        self.frozen = [_compile(pattern) for pattern in frozen]
        self.layer_decay = layer_decay
        self.n_layers = n_layers or 0
        self._top = -1
        self._known: Dict[str, Part] = {}

    def part(self, name: str) -> Part:
        """How a parameter learns, by its name."""
        if name not in self._known:
            scale = next((s for pattern, s in self.scales if pattern.search(name)), 1.0)
            scale *= self.layer_decay ** self._layers_above(name)
            if any(pattern.search(name) for pattern in self.frozen):
                scale = 0.0
            decays = not any(pattern.search(name) for pattern in self.no_decay)
            self._known[name] = Part(scale, decays)
        return self._known[name]

    def step_schedules(self) -> None:
        """Go on to the next step's rates.

        Raises ValueError where the encoder turned out to have another number of layers.
        """
        if self.layer_decay != 1.0 and 0 <= self._top != self.n_layers - 1:
            raise ValueError(
                f"The encoder has {self._top + 1} layers, but n_layers of the optimizer is "
                f"{self.n_layers}: expected the same, or layer_decay scales the wrong layers."
            )
        super().step_schedules()

    def _layers_above(self, name: str) -> int:
        found = _LAYER.search(name)
        if found is not None:
            self._top = max(self._top, int(found[1]))
            return max(self.n_layers - 1 - int(found[1]), 0)
        return self.n_layers if _EMBEDDINGS.search(name) else 0

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
        if scale == 0.0:
            gradient.fill(0.0)  # type: ignore[attr-defined]
            return weights, gradient
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
    frozen: Optional[List[str]] = None,
    layer_decay: float = 1.0,
    n_layers: Optional[int] = None,
    L2: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 1.0,
    use_averages: bool = False,
) -> LayeredOptimizer:
    """Create the optimizer ``spacy_bioie.LayeredAdam.v1``.

    learn_rate: the encoder's rate or schedule; every other rate is a multiple of it.
    scales: see ``LayeredOptimizer``; by default heads learn 3, CRF transitions 30 and the mixing
        weight of ``spacy_bioie.AdaptiveMix.v1`` 500 times as fast as the encoder (AdaBioBERT: 0.01
        for 2e-5).
    no_decay: by default biases, the weights of layer normalisation and that mixing weight.
    frozen: for example ["^embeddings", "encoder[.]layer[.][0-5][.]"], as AdaBioBERT's repository
        freezes BioBERT. The optimizer keeps no moments of them.
    layer_decay, n_layers: see ``LayeredOptimizer``.
    grad_clip: the largest L2 norm of the gradient of one parameter.
    """
    return LayeredOptimizer(
        learn_rate,
        scales={"crf": 30.0, "head": 3.0, "alpha": 500.0} if scales is None else scales,
        no_decay=NO_DECAY if no_decay is None else no_decay,
        frozen=frozen or [],
        layer_decay=layer_decay,
        n_layers=n_layers,
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
