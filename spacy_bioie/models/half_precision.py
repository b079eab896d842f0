"""bfloat16, where the hardware computes with it."""

from contextlib import contextmanager
from typing import Iterator

import torch


def cpu_has_bfloat16() -> bool:
    """Whether bfloat16 is fast on this CPU (AVX512-BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = (getattr(torch.cpu, check, None) for check in checks)
    return any(check() for check in found if check is not None)


@contextmanager
def half_precision(device: torch.device, enabled: bool) -> Iterator[None]:
    """bfloat16 where it is enabled and the device has instructions for it.

    It has the range of float32, so that losses need no scaling.
    """
    has = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_bfloat16()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and has):
        yield
