"""Running windows of unequal length with little padding.

Titles are ten times shorter than abstracts: padded to the longest of a batch, most of what an
encoder computes is padding. Here windows are sorted by length and cut into buckets, each padded
to its own longest window and run by itself; the outputs are put back in the order of the windows.
"""

from typing import Any, Callable, List, Sequence, Tuple

import numpy
from thinc.api import Model

# What one more pass through the encoder costs, in pieces. On a CPU it is the pass over the
# weights and their gradients (with MiniLM as much as about 60 pieces). A GPU is badly filled by
# small passes; with a higher cost than this, padding grows beyond 1.2 times the pieces.
PASS_COST_CPU = 64
PASS_COST_GPU = 256


def make_buckets(
    lengths: Sequence[int], max_batch_pieces: int, pass_cost: int = PASS_COST_CPU
) -> List[numpy.ndarray]:
    """Group windows so that the padded pieces of all groups, plus a cost for each, are fewest.

    lengths: pieces of each window.
    max_batch_pieces: padded pieces of one group; a window above it is alone in its group.
    pass_cost: what each group costs beside its pieces, in pieces.
    RETURNS: for each group the indices of its windows (int64), longest group first.

    Groups are runs in the order of length; the best cuts are found exactly, by dynamic
    programming over the sorted windows.
    """
    sizes = numpy.asarray(lengths, dtype="int64")
    order = numpy.argsort(-sizes, kind="stable")
    n = len(sizes)
    best = numpy.zeros((n + 1,), dtype="int64")  # cost of the windows from here on
    ends = numpy.zeros((n,), dtype="int64")
    for begin in range(n - 1, -1, -1):
        longest = max(1, int(sizes[order[begin]]))
        most = min(n - begin, max(1, max_batch_pieces // longest))
        cost = longest * numpy.arange(1, most + 1) + best[begin + 1 : begin + most + 1]
        choice = int(numpy.argmin(cost))
        best[begin] = cost[choice] + pass_cost
        ends[begin] = begin + choice + 1
    buckets = []
    begin = 0
    while begin < n:
        buckets.append(numpy.sort(order[begin : ends[begin]]))
        begin = int(ends[begin])
    return buckets


def padded_pieces(lengths: Sequence[int], buckets: Sequence[numpy.ndarray]) -> int:
    """Pieces that an encoder computes for these buckets, padding included."""
    sizes = numpy.asarray(lengths, dtype="int64")
    return int(sum(len(bucket) * sizes[bucket].max() for bucket in buckets))


def encode_in_buckets(
    encoder: Model, wordpieces: Any, max_batch_pieces: int, is_train: bool
) -> Tuple[Any, Callable[[Any], None]]:
    """Run an encoder over windows, bucket by bucket.

    encoder: Model[WordpieceBatch, ModelOutput] of torch tensors, with the gradient of
        ``last_hidden_state`` on the way back.
    wordpieces: the windows, padded to the longest.
    max_batch_pieces: padded pieces of one pass.
    RETURNS: the output for all windows, float32, padded to the longest with zeros, and a callback
        that takes the gradient of ``last_hidden_state`` (windows, longest, width) to the encoder.
    """
    lengths = numpy.asarray(wordpieces.lengths, dtype="int64")
    # A window without pieces has nothing to encode: its rows stay zero.
    filled = numpy.flatnonzero(lengths > 0)
    shim: Any = encoder.shims[0]
    pass_cost = PASS_COST_CPU if shim.device.type == "cpu" else PASS_COST_GPU
    sorted_windows = make_buckets(lengths[filled].tolist(), max_batch_pieces, pass_cost)
    buckets = [filled[bucket] for bucket in sorted_windows]
    width = wordpieces.input_ids.shape[1]
    whole = None
    passes = []
    for bucket in buckets:
        longest = int(lengths[bucket].max())
        output, backprop = encoder(_rows(wordpieces, bucket, longest), is_train)
        passes.append((bucket, longest, backprop))
        if len(bucket) == len(lengths) and longest == width:
            whole = _map(lambda tensor: tensor.detach().float(), output)
        else:
            whole = _put(whole, output, bucket, len(lengths), longest, width)

    def backprop_buckets(d_hidden: Any) -> None:
        while passes:
            bucket, longest, backprop = passes.pop()
            # One bucket at a time, so that the memory of each is free for the next.
            backprop(d_hidden if len(bucket) == len(lengths) else d_hidden[bucket, :longest])

    return whole, backprop_buckets


def _rows(wordpieces: Any, bucket: numpy.ndarray, longest: int) -> Any:
    from spacy_transformers.data_classes import WordpieceBatch

    types = wordpieces.token_type_ids
    return WordpieceBatch(
        strings=[],  # the encoder reads ids only
        input_ids=wordpieces.input_ids[bucket, :longest],
        attention_mask=wordpieces.attention_mask[bucket, :longest],
        lengths=[wordpieces.lengths[i] for i in bucket],
        token_type_ids=None if types is None else types[bucket, :longest],
    )


def _map(function: Callable[[Any], Any], output: Any) -> Any:
    """Apply a function to every tensor of a model's output, also inside of tuples."""
    from transformers.file_utils import ModelOutput

    mapped = ModelOutput()
    for key, value in output.items():
        is_tuple = isinstance(value, tuple)
        mapped[key] = tuple(function(part) for part in value) if is_tuple else function(value)
    return mapped


def _put(
    whole: Any, output: Any, bucket: numpy.ndarray, n_windows: int, longest: int, width: int
) -> Any:
    """Write a bucket's output into that of all windows, which is made at the first bucket."""
    if whole is None:

        def empty(tensor: Any) -> Any:
            dims = _piece_dims(tensor)
            shape = [width if dim in dims else size for dim, size in enumerate(tensor.shape)]
            return tensor.new_zeros((n_windows, *shape[1:])).float()

        whole = _map(empty, output)
    for key, value in output.items():
        tensors = value if isinstance(value, tuple) else (value,)
        targets = whole[key] if isinstance(value, tuple) else (whole[key],)
        for target, tensor in zip(targets, tensors, strict=True):
            index: List[Any] = [slice(None)] * tensor.dim()
            for dim in _piece_dims(tensor):
                index[dim] = slice(longest)
            index[0] = bucket
            target[tuple(index)] = tensor.detach().float()
    return whole


def _piece_dims(tensor: Any) -> Tuple[int, ...]:
    """Which dimensions count pieces: hidden states are (n, pieces, width), attentions (n, heads,
    pieces, pieces); a pooled output (n, width) has none."""
    return {3: (1,), 4: (2, 3)}.get(tensor.dim(), ())
