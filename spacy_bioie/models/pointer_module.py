"""The torch part of the span pointer: scores of all spans up to a width, inside a thinc layer."""

from typing import Callable, Dict, NamedTuple, Tuple

import numpy
import torch
from thinc.api import Model
from thinc.types import ArgsKwargs, Floats2d, Floats3d
from thinc.util import get_torch_default_device
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .sized_modules import sized_layer, vectors_to_torch

RARE = -7.0  # log odds of a label before anything is known: one candidate in a thousand


class PointerInput(NamedTuple):
    """What the layer reads.

    vectors: (words, width).
    room: int64, (words,): words from each one to the end of its sequence, itself included.
    """

    vectors: Floats2d
    room: numpy.ndarray


class PointerModule(nn.Module):
    """Scores of labelled spans: a biaffine product of their borders, in low rank.

    A perceptron turns each word into a start and another into an end, each of ``rank`` factors
    and a score for each label. For a span of n words with start s, end e and label l

        score = sum_r U[l, r] G[n, r] s_r e_r + s_l + e_l + B[n, l]

    This is the biaffine classifier of Yu et al. (2020) whose tensor of width x labels x
    width is a sum of ``rank`` outer products, with learned factors G and biases B of the span's
    width in the place of the rotary positions of Global Pointer (Su et al. 2022): within a band
    of few widths each can have its own.

    It has no parameters until ``build`` is called, because widths and labels are known only when
    the pipeline is initialized or loaded. All parameters have "head" in their names, so that an
    optimizer can give them a rate of their own.
    """

    def __init__(
        self, max_width: int, hidden_size: int, rank: int, dropout: float, chunk_size: int
    ):
        super().__init__()
        self.max_width = max_width
        self.hidden_size = hidden_size
        self.rank = rank
        self.chunk_size = chunk_size
        self.dropout = nn.Dropout(dropout)
        self.width = 0
        self.n_labels = 0

    @property
    def sizes(self) -> Dict[str, int]:
        return {"width": self.width, "n_labels": self.n_labels}

    def build(self, width: int, n_labels: int) -> None:
        """Make the parameters anew for vectors of this width and this number of labels."""
        self.width, self.n_labels = width, n_labels
        n_factors = self.rank + n_labels
        self.head_start_hidden = nn.Linear(width, self.hidden_size)
        self.head_end_hidden = nn.Linear(width, self.hidden_size)
        self.head_start_output = nn.Linear(self.hidden_size, n_factors, bias=False)
        self.head_end_output = nn.Linear(self.hidden_size, n_factors, bias=False)
        self.head_labels = nn.Linear(self.rank, n_labels, bias=False)
        # products of two small numbers: small weights on top would learn too slowly
        nn.init.normal_(self.head_labels.weight)
        self.head_width_factor = nn.Parameter(torch.ones(self.max_width, self.rank))
        self.head_width_bias = nn.Parameter(torch.full((self.max_width, n_labels), RARE))
        self.to(get_torch_default_device())

    def set_frequencies(self, mentions: numpy.ndarray, candidates: numpy.ndarray) -> None:
        """Start from how often a span of a width has a label.

        mentions: int64, (widths, labels). candidates: int64, (widths,): spans there are at all.
        Each is counted as if one more mention had been seen, among a thousand spans.
        """
        seen = torch.from_numpy(mentions).double() + 1.0
        others = torch.from_numpy(candidates).double()[:, None] + 1000.0 - seen
        with torch.no_grad():
            self.head_width_bias.copy_((seen / others).log())

    def forward(self, vectors: Tensor, room: Tensor, n_widths: int) -> Tensor:
        """Score the spans of up to ``n_widths`` words.

        vectors: (words, width). room: int64, (words,), see ``PointerInput``.
        RETURNS: (words, n_widths, labels): log odds of the span that begins with the word and has
            one word more than the index; minus infinity where it would leave its sequence.
        """
        vectors = self.dropout(vectors)
        starts = self.head_start_output(self._hidden(self.head_start_hidden, vectors))
        ends = self.head_end_output(self._hidden(self.head_end_hidden, vectors))
        ends = nn.functional.pad(ends, (0, 0, 0, n_widths - 1))
        factor = self.head_width_factor[:n_widths]
        bias = self.head_width_bias[:n_widths]
        n_words = len(vectors)
        step = max(self.chunk_size // n_widths, 1)
        scores = []
        for first in range(0, max(n_words, 1), step):
            last = min(first + step, n_words)
            borders = (starts[first:last], ends[first : last + n_widths - 1], room[first:last])
            if self.training and step < n_words:
                chunk = checkpoint(self._score, *borders, factor, bias, use_reentrant=False)
            else:
                chunk = self._score(*borders, factor, bias)
            scores.append(chunk)
        return torch.cat(scores) if len(scores) > 1 else scores[0]

    def _hidden(self, layer: nn.Linear, vectors: Tensor) -> Tensor:
        return self.dropout(nn.functional.gelu(layer(vectors)))

    def _score(
        self, starts: Tensor, ends: Tensor, room: Tensor, factor: Tensor, bias: Tensor
    ) -> Tensor:
        n_widths, n_words = len(factor), len(starts)
        # (words, widths, rank + labels): the ends of the spans that begin with each word
        ends = torch.stack([ends[i : i + n_words] for i in range(n_widths)], dim=1)
        products = starts[:, None, : self.rank] * ends[..., : self.rank] * factor
        scores = self.head_labels(products) + bias
        scores = scores + starts[:, None, self.rank :] + ends[..., self.rank :]
        outside = torch.arange(n_widths, device=room.device) >= room[:, None]
        return scores.masked_fill(outside[..., None], -torch.inf)


def pointer_layer(module: PointerModule) -> Model[PointerInput, Floats3d]:
    """Wrap the module: from word vectors to scores (words, widths, labels), in float32."""
    return sized_layer(module, _convert_inputs)


def pointer_module(layer: Model) -> PointerModule:
    """The module inside the layer."""
    return layer.shims[0]._model


def _convert_inputs(
    model: Model, X: PointerInput, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Floats2d]]:
    # no column for widths that no span of the batch can have
    n_widths = min(pointer_module(model).max_width, int(X.room.max(initial=1)))
    return vectors_to_torch(model, X.vectors, (torch.from_numpy(X.room), n_widths), is_train)
