"""Low-rank adaptation of an encoder (LoRA; Hu et al. 2022), through ``peft``.

Each attention matrix W stays as it is and W + BA is used instead, A and B of a small rank; B begins
at zero. Only A and B learn, so that an optimizer keeps no moments of a large encoder. What is saved
is W + BA under the names of W: nothing that loads it needs to know, and ``peft`` is not needed.
"""

import re
from typing import Any, Dict, Iterator, List, Tuple

from torch import Tensor, nn

_ADAPTER = "default"
_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)


def attention_matrices(transformer: nn.Module) -> List[str]:
    """The names of all linear layers inside of attention: queries, keys, values and outputs.

    Raises ValueError where a transformer has none.
    """
    names = [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and _ATTENTION.search(name)
    ]
    if not names:
        raise ValueError(
            f"LoRA: a {type(transformer).__name__} has no linear layer in a module that is called "
            "'attention' or 'attn'; expected an encoder of another class, or a rank of 0."
        )
    return names


def add_lora(transformer: nn.Module, rank: int, dropout: float = 0.0) -> None:
    """Give all attention matrices of a transformer low-rank additions; nothing else learns then.

    rank: of the additions, which are not scaled (``lora_alpha`` is the rank).
    dropout: on what goes into them.

    Raises ImportError without ``peft``, ValueError for a rank under 1 and as
    ``attention_matrices``.
    """
    if rank < 1:
        raise ValueError(f"LoRA: the rank is {rank}, expected at least 1.")
    names = attention_matrices(transformer)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            'LoRA needs the package peft: pip install "spacy-bioie[adapt]".'
        ) from error
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=dropout, target_modules=names)
    inject_adapter_in_model(config, transformer, adapter_name=_ADAPTER)


def has_lora(transformer: nn.Module) -> bool:
    """Whether ``add_lora`` was called on a transformer that ``merge_lora`` was not called on."""
    return next(_adapted(transformer), None) is not None


def merge_lora(transformer: nn.Module) -> None:
    """Add BA to W in place; after that the transformer is of its plain class, and all of it learns.

    One without additions stays as it is.
    """
    for name, layer in list(_adapted(transformer)):
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(transformer.get_submodule(parent), child, layer.get_base_layer())
        transformer.requires_grad_(True)


def merged_state(transformer: nn.Module) -> Dict[str, Tensor]:
    """The state of the transformer that ``merge_lora`` would make of it, which stays as it is."""
    layers = dict(_adapted(transformer))
    state = {}
    for key, value in transformer.state_dict().items():
        name, inside, rest = key.partition(".base_layer.")
        if inside and name in layers:
            if rest == "weight":
                value = value + layers[name].get_delta_weight(_ADAPTER).to(value.dtype)
            state[f"{name}.{rest}"] = value
        elif ".lora_" not in key:
            state[key] = value
    return state


def _adapted(transformer: nn.Module) -> Iterator[Tuple[str, Any]]:
    for name, module in transformer.named_modules():
        if hasattr(module, "get_delta_weight") and hasattr(module, "lora_A"):
            yield name, module
