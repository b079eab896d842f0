"""States and attentions of documents, from an encoder that runs over their marked windows."""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from .length_buckets import PASS_COST_CPU, PASS_COST_GPU, make_buckets, padded_pieces
from .marked_windows import MarkedWindows
from .own_encoder import OwnEncoder


class EncodedDoc(NamedTuple):
    """states: float32, (places, width). attention: float32, (mentions, attention heads, places):
    from each mention's start marker to all places, in the last layer."""

    states: Tensor
    attention: Tensor


class _Part(NamedTuple):
    """What one window gives for the places from ``begin`` on; ``mentions``: int64, (mentions,):
    those of the batch whose attention it holds."""

    begin: int
    states: Tensor
    mentions: numpy.ndarray
    attention: Tensor


def encode_marked(
    encoder: OwnEncoder,
    windows: MarkedWindows,
    mention_docs: numpy.ndarray,
    max_batch_pieces: int,
) -> Dict[int, EncodedDoc]:
    """Encode documents, windows of like length together.

    mention_docs: int64, (mentions,): the document of each mention.
    max_batch_pieces: padded pieces of one pass. In training, a batch with more of them keeps
        nothing of a pass but computes it again for the gradient.
    RETURNS: the documents that have windows, by their number.
    """
    device = next(encoder.parameters()).device
    pass_cost = PASS_COST_CPU if device.type == "cpu" else PASS_COST_GPU
    buckets = make_buckets(windows.lengths.tolist(), max_batch_pieces, pass_cost)
    much = padded_pieces(windows.lengths.tolist(), buckets) > max_batch_pieces
    run = recompute if encoder.training and much else call
    parts: Dict[int, List[_Part]] = {}
    for bucket in buckets:
        docs, shifts = windows.docs[bucket], windows.shifts[bucket]
        first, last = windows.first[bucket], windows.last[bucket]
        # which windows hold the start marker of which mentions, and in which column
        columns = windows.markers[None, :] - shifts[:, None]
        inside = (columns >= first[:, None]) & (columns < last[:, None])
        rows, mentions = numpy.nonzero(inside & (mention_docs == docs[:, None]))
        lengths = windows.lengths[bucket]
        arrays = [windows.ids[bucket, : lengths.max()], lengths, rows, columns[rows, mentions]]
        if windows.types is not None:
            arrays.append(windows.types[bucket, : lengths.max()])
        states, attention = run(_encode, encoder, *(torch.from_numpy(a).to(device) for a in arrays))
        borders = numpy.searchsorted(rows, numpy.arange(len(bucket) + 1))
        for i, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            own = slice(borders[i], borders[i + 1])
            parts.setdefault(int(docs[i]), []).append(
                _Part(
                    int(shifts[i]) + begin,
                    states[i, begin:end],
                    mentions[own],
                    attention[own, :, begin:end],
                )
            )
    places = windows.doc_lengths.tolist()
    return {
        number: _join(parts[number], numpy.flatnonzero(mention_docs == number), places[number])
        for number in sorted(parts)
    }


def call(function: Callable, *args: Any) -> Any:
    """Call a function as it is."""
    return function(*args)


def recompute(function: Callable, *args: Any) -> Any:
    """Call a function and keep none of its inner values: they are computed again for the
    gradient."""
    return checkpoint(function, *args, use_reentrant=False)


def _encode(
    encoder: OwnEncoder, ids: Tensor, lengths: Tensor, rows: Tensor, columns: Tensor, *types: Tensor
) -> Tuple[Tensor, Tensor]:
    """RETURNS: float32, (windows, longest, width), and the attentions from these columns of these
    rows, float32, (n, attention heads, longest)."""
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    options = {"token_type_ids": types[0]} if types else {}
    output = encoder(ids, mask, output_attentions=True, **options)
    if not output.attentions:
        kind = type(encoder.transformer).__name__
        raise ValueError(f"The encoder, a {kind}, gives no attentions: expected one that does.")
    attention = output.attentions[-1][rows, :, columns]
    return output.last_hidden_state.float(), attention.float()


def _join(parts: List[_Part], mentions: numpy.ndarray, length: int) -> EncodedDoc:
    """Join the windows of a document: means where they overlap, and attentions that sum to 1.

    As in the authors' code for two windows; a marker attends to nothing outside of its windows.
    """
    if len(parts) == 1:
        return EncodedDoc(parts[0].states, parts[0].attention)
    device = parts[0].states.device
    places = torch.cat([torch.arange(len(p.states), device=device) + p.begin for p in parts])
    values = torch.cat([part.states for part in parts])
    sums = values.new_zeros((length, values.shape[1])).index_add(0, places, values)
    states = sums / torch.bincount(places, minlength=length)[:, None]
    rows = numpy.searchsorted(mentions, numpy.concatenate([part.mentions for part in parts]))
    padded = [
        pad(part.attention, (part.begin, length - part.begin - len(part.states))) for part in parts
    ]
    values = torch.cat(padded)
    sums = values.new_zeros((len(mentions), *values.shape[1:]))
    attention = sums.index_add(0, torch.from_numpy(rows).to(device), values)
    return EncodedDoc(states, attention / (attention.sum(dim=-1, keepdim=True) + 1e-10))
