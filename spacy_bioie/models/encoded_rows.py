"""Vectors of the inputs of an encoder, which runs over those of like length together."""

from typing import Any, Callable, List

import numpy
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .input_rows import InputRows
from .length_buckets import PASS_COST_CPU, PASS_COST_GPU, make_buckets


def encode_rows(
    module: nn.Module,
    read: Callable[..., Tensor],
    rows: InputRows,
    batch_pieces: int,
    width: int,
) -> Tensor:
    """Run an encoder over all inputs.

    In training only one batch at a time keeps what the encoder has computed. The others are
    computed again for the gradient, with the same dropout: a third more time, for memory
    that does not grow with the number of inputs.

    module: holds the encoder. read: from the tensors of ``PaddedRows`` to float32, (rows, width).
    batch_pieces: padded word pieces of one pass.
    RETURNS: float32, (rows, width).
    """
    device = next(module.parameters()).device
    cost = PASS_COST_CPU if device.type == "cpu" else PASS_COST_GPU
    batches = make_buckets(rows.lengths.tolist(), batch_pieces, cost)
    vectors = [torch.zeros((0, width), device=device)]
    for i, batch in enumerate(batches):
        args: List[Any] = [
            None if array is None else torch.from_numpy(array).to(device)
            for array in rows.write_out(batch)
        ]
        # the gradient of the last batch is asked for first
        if module.training and i < len(batches) - 1:
            vectors.append(checkpoint(read, *args, use_reentrant=False))
        else:
            vectors.append(read(*args))
    places = numpy.concatenate([numpy.zeros(0, dtype="int64"), *batches])
    return torch.cat(vectors)[torch.from_numpy(numpy.argsort(places)).to(device)]
