"""A torch module with an ``OwnEncoder`` and a head over it, as a thinc layer.

It is a module of ``sized_modules`` whose ``sizes`` have names. Its ``encoder`` and its head are
saved apart, beside the sizes.
"""

from functools import partial
from typing import Any, Callable, Dict, Tuple

import srsly
import torch
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs
from torch import nn

from .sized_modules import is_built, load_state, state_to_bytes


def own_encoder_layer(module: nn.Module, head: str) -> Model:
    """Wrap a module that reads plain arrays, to which no gradient goes back.

    head: the name of its part over the encoder.
    """
    return PyTorchWrapper_v3(
        module,
        convert_inputs=plain_inputs,
        serialize_model=partial(_serialize, head),
        deserialize_model=partial(_deserialize, head),
    )


def plain_inputs(
    model: Model, X: Any, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], None]]:
    """Give the module its input as it is."""
    return ArgsKwargs(args=(X,), kwargs={}), lambda d_inputs: None


def pack_parts(module: Any, head: str) -> Dict[str, Any]:
    """Sizes, encoder and head of a module; no head where there are no parameters yet."""
    stored = {**module.sizes, "encoder": module.encoder.to_bytes()}
    if is_built(module.sizes):
        stored[head] = state_to_bytes(getattr(module, head))
    return stored


def unpack_parts(module: Any, head: str, stored: Dict[str, Any]) -> None:
    """Take over what ``pack_parts`` gave."""
    module.encoder.from_bytes(stored["encoder"])
    if head in stored:
        module.build(**{name: stored[name] for name in module.sizes})
        load_state(getattr(module, head), stored[head])


def _serialize(head: str, module: Any) -> bytes:
    return srsly.msgpack_dumps(pack_parts(module, head))


def _deserialize(head: str, module: Any, data: bytes, device: torch.device) -> Any:
    unpack_parts(module, head, srsly.msgpack_loads(data))
    return module.to(device)
