"""Torch modules that get their parameters when their sizes are known: initialized or loaded.

Such a module has a method ``build``, which makes its parameters anew, and an attribute ``sizes``:
the arguments of ``build`` in a list or by name, all of them 0 or empty before it has been called.
"""

from io import BytesIO
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import torch
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs, Floats2d
from thinc.util import torch2xp, xp2torch
from torch import nn

Sizes = Union[List[Any], Dict[str, Any]]


def sized_layer(
    module: nn.Module,
    convert_inputs: Callable[..., Any],
    convert_outputs: Optional[Callable[..., Any]] = None,
) -> Model:
    """Wrap a module; its sizes are saved beside its parameters."""
    return PyTorchWrapper_v3(
        module,
        convert_inputs=convert_inputs,
        convert_outputs=convert_outputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )


def build_parameters(layer: Model, *args: Any, **kwargs: Any) -> None:
    """Call ``build`` of the module in a layer; the parameters stay on the device of the layer."""
    shim: Any = layer.shims[0]
    device = shim.device  # the default one while there are no parameters
    shim._model.build(*args, **kwargs)
    shim._model.to(device)


def built_module(layer: Model, architecture: str) -> Any:
    """The module in a layer. Raises ValueError where it has no parameters yet."""
    module = layer.shims[0]._model
    if not is_built(module.sizes):
        raise ValueError(
            f"{architecture}: the model has no parameters yet, initialize or load it first."
        )
    return module


def is_built(sizes: Sizes) -> bool:
    """Whether these are the sizes of a module with parameters."""
    return any(sizes.values() if isinstance(sizes, dict) else sizes)


def vectors_to_torch(
    model: Model, vectors: Floats2d, others: Tuple[Any, ...], is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    """Convert the inputs of a module that reads vectors in float32, and sends a gradient back.

    vectors: whatever the encoder computes in. others: further arguments, given as they are but
        for tensors, which go to the device of the layer.
    """
    device = _device(model)
    given: Any = vectors
    single = given.astype("float32", copy=False)
    tensors = (other.to(device) if isinstance(other, torch.Tensor) else other for other in others)
    args = (xp2torch(single, requires_grad=is_train, device=device), *tensors)

    def from_torch(d_inputs: ArgsKwargs) -> Floats2d:
        d_vectors: Any = torch2xp(d_inputs.args[0])
        return d_vectors.astype(given.dtype, copy=False)

    return ArgsKwargs(args=args, kwargs={}), from_torch


def state_to_bytes(module: nn.Module) -> bytes:
    """The parameters of a module."""
    return _save(module.state_dict())


def load_state(module: nn.Module, data: bytes) -> None:
    """Take over what ``state_to_bytes`` gave, on the device where the module is."""
    module.load_state_dict(torch.load(BytesIO(data), map_location="cpu", weights_only=True))


def _save(value: Any) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _device(model: Model) -> torch.device:
    shim: Any = model.shims[0]
    return shim.device


def _serialize(module: Any) -> bytes:
    return _save({"sizes": module.sizes, "state": module.state_dict()})


def _deserialize(module: Any, data: bytes, device: torch.device) -> Any:
    stored = torch.load(BytesIO(data), map_location=device, weights_only=True)
    sizes = stored["sizes"]
    if is_built(sizes):
        module.build(**sizes) if isinstance(sizes, dict) else module.build(*sizes)
        module.load_state_dict(stored["state"])
    return module.to(device)
