"""The torch part of the tagger: scores of BIO tags from word vectors, inside a thinc layer."""

from io import BytesIO
from typing import Any, Callable, Literal, Tuple

import numpy
import torch
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs, Floats2d
from thinc.util import get_torch_default_device, torch2xp, xp2torch
from torch import Tensor, nn

from .crf import mask_illegal

Chains = Literal["joint", "per_label"]
Decoder = Literal["argmax", "crf"]
Arrays = Tuple[Any, ...]


class TaggerModule(nn.Module):
    """Scores of BIO tags from word vectors, with the parameters of a CRF where one is asked for.

    It has no parameters until ``build`` is called, because widths and labels are known only when
    the pipeline is initialized or loaded. Parameters of the layers have "head" in their names and
    those of the CRF "crf", so that an optimizer can give them rates of their own.
    """

    def __init__(self, chains: Chains, decoder: Decoder, hidden_size: int, dropout: float):
        super().__init__()
        self.chains = chains
        self.decoder = decoder
        self.hidden_size = hidden_size
        self.dropout = nn.Dropout(dropout)
        self.width = 0
        self.n_labels = 0

    def build(self, width: int, n_labels: int) -> None:
        """Make the parameters anew for vectors of this width and this number of labels."""
        self.width, self.n_labels = width, n_labels
        n_chains = 1 if self.chains == "joint" else n_labels
        n_tags = 1 + 2 * (n_labels // n_chains)
        if self.hidden_size:
            self.head_hidden = nn.Linear(width, self.hidden_size)
        self.head_output = nn.Linear(self.hidden_size or width, n_chains * n_tags)
        if self.decoder == "crf":
            self.crf_start = nn.Parameter(torch.zeros(n_chains, n_tags))
            self.crf_transitions = nn.Parameter(torch.zeros(n_chains, n_tags, n_tags))
            self.crf_end = nn.Parameter(torch.zeros(n_chains, n_tags))
        self.shape = (n_chains, n_tags)
        self.to(get_torch_default_device())

    def set_frequencies(
        self, tags: numpy.ndarray, starts: numpy.ndarray, transitions: numpy.ndarray
    ) -> None:
        """Set the biases from how often tags occur: floats above 0, see ``tagging.TagCounts``."""
        with torch.no_grad():
            if self.decoder == "argmax":
                log_tags = torch.from_numpy(tags).log().log_softmax(dim=-1)
                self.head_output.bias.copy_(log_tags.flatten())
                return
            masked = mask_illegal(
                torch.from_numpy(starts).log(), torch.from_numpy(transitions).log()
            )
            for parameter, scores in zip(
                (self.crf_start, self.crf_transitions), masked, strict=True
            ):
                # the value of a barred step is never read, but it has to be finite
                parameter.copy_(scores.log_softmax(dim=-1).nan_to_num(neginf=0.0))

    def forward(self, vectors: Tensor) -> Tuple[Tensor, ...]:
        """vectors: (words, width). RETURNS: emissions (words, chains, tags), then CRF scores."""
        vectors = self.dropout(vectors)
        if self.hidden_size:
            vectors = self.dropout(nn.functional.gelu(self.head_hidden(vectors)))
        emissions = self.head_output(vectors).unflatten(1, self.shape)
        if self.decoder == "argmax":
            return (emissions,)
        return emissions, self.crf_start, self.crf_transitions, self.crf_end


def tagger_layer(module: TaggerModule) -> Model[Floats2d, Arrays]:
    """Wrap the module: from word vectors (words, width) to its tuple of arrays, in float32.

    The module's sizes are saved with its parameters, so that an empty one can be loaded.
    """
    return PyTorchWrapper_v3(
        module,
        convert_inputs=_convert_inputs,
        convert_outputs=_convert_outputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )


def tagger_module(layer: Model) -> TaggerModule:
    """The module inside the layer."""
    return layer.shims[0]._model


def _convert_inputs(
    model: Model, vectors: Any, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Any]]:
    # sums over whole sequences need single precision, whatever the encoder computes in
    single = vectors.astype("float32", copy=False)
    tensor = xp2torch(single, requires_grad=is_train, device=_device(model))

    def from_torch(d_inputs: ArgsKwargs) -> Any:
        d_vectors: Any = torch2xp(d_inputs.args[0])
        return d_vectors.astype(vectors.dtype, copy=False)

    return ArgsKwargs(args=(tensor,), kwargs={}), from_torch


def _convert_outputs(
    model: Model, inputs_outputs: Tuple[Any, Tuple[Tensor, ...]], is_train: bool
) -> Tuple[Arrays, Callable[[Arrays], ArgsKwargs]]:
    _, outputs = inputs_outputs

    def to_torch(d_outputs: Arrays) -> ArgsKwargs:
        gradients = tuple(xp2torch(d, device=_device(model)) for d in d_outputs)
        return ArgsKwargs(args=(outputs,), kwargs={"grad_tensors": gradients})

    return tuple(torch2xp(y) for y in outputs), to_torch


def _device(model: Model) -> torch.device:
    shim: Any = model.shims[0]
    return shim.device


def _serialize(module: TaggerModule) -> bytes:
    buffer = BytesIO()
    sizes = {"width": module.width, "n_labels": module.n_labels}
    torch.save({"sizes": sizes, "state": module.state_dict()}, buffer)
    return buffer.getvalue()


def _deserialize(module: TaggerModule, data: bytes, device: torch.device) -> TaggerModule:
    stored = torch.load(BytesIO(data), map_location=device, weights_only=True)
    if stored["sizes"]["n_labels"]:
        module.build(**stored["sizes"])
        module.load_state_dict(stored["state"])
    return module.to(device)
