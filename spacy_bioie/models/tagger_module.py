"""The torch part of the tagger: scores of tags from word vectors, inside a thinc layer."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Literal, NamedTuple, Tuple

import numpy
import torch
from thinc.api import Model
from thinc.types import ArgsKwargs
from thinc.util import get_torch_default_device, torch2xp, xp2torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .crf import mask_illegal, pack, unpack
from .sized_modules import sized_layer, vectors_to_torch
from .tag_schemes import N_ROLES, Scheme

Chains = Literal["joint", "per_label"]
Decoder = Literal["argmax", "crf"]
Arrays = Tuple[Any, ...]


@dataclass(frozen=True)
class TaggerSettings:
    """The settings of ``SpanTagger.v1`` that shape its layers; see there.

    learned: where the parameters begin that the loss itself learns.
    """

    chains: Chains = "joint"
    decoder: Decoder = "crf"
    scheme: Scheme = "BIO"
    lstm_size: int = 0
    hidden_size: int = 0
    n_layers: int = 1
    dropout: float = 0.1
    learned: Tuple[float, ...] = ()


class TaggerInput(NamedTuple):
    """Vectors of words, (words, width), and the lengths of their sequences, int64."""

    vectors: Any
    lengths: numpy.ndarray


class TaggerModule(nn.Module):
    """Scores of tags from word vectors, with the parameters of a CRF where one is asked for.

    It has no parameters until ``build`` is called, because widths and labels are known only when
    the pipeline is initialized or loaded. Parameters of the layers have "head" in their names,
    those of the CRF "crf" and those of the loss "alpha", so that an optimizer can give them rates
    of their own.
    """

    def __init__(self, settings: TaggerSettings):
        super().__init__()
        self.settings = settings
        self.dropout = nn.Dropout(settings.dropout)
        self.width = 0
        self.n_labels = 0

    @property
    def sizes(self) -> Dict[str, int]:
        return {"width": self.width, "n_labels": self.n_labels}

    def build(self, width: int, n_labels: int) -> None:
        """Make the parameters anew for vectors of this width and this number of labels."""
        self.width, self.n_labels = width, n_labels
        of = self.settings
        n_chains = 1 if of.chains == "joint" else n_labels
        n_tags = 1 + N_ROLES[of.scheme] * (n_labels // n_chains)
        if of.lstm_size:
            self.head_lstm = nn.LSTM(width, of.lstm_size, bidirectional=True)
            width = 2 * of.lstm_size
        sizes = [width] + [of.hidden_size] * (of.n_layers if of.hidden_size else 0)
        self.head_hidden = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in zip(sizes, sizes[1:], strict=False)
        )
        self.head_output = nn.Linear(sizes[-1], n_chains * n_tags)
        if of.decoder == "crf":
            self.crf_start = nn.Parameter(torch.zeros(n_chains, n_tags))
            self.crf_transitions = nn.Parameter(torch.zeros(n_chains, n_tags, n_tags))
            self.crf_end = nn.Parameter(torch.zeros(n_chains, n_tags))
        if of.learned:
            self.loss_alpha = nn.Parameter(torch.tensor(of.learned))
        self.shape = (n_chains, n_tags)
        self.to(get_torch_default_device())

    def set_frequencies(
        self, tags: numpy.ndarray, starts: numpy.ndarray, transitions: numpy.ndarray
    ) -> None:
        """Set the biases from how often tags occur: floats above 0, see ``tagging.TagCounts``."""
        with torch.no_grad():
            if self.settings.decoder == "argmax":
                log_tags = torch.from_numpy(tags).log().log_softmax(dim=-1)
                self.head_output.bias.copy_(log_tags.flatten())
                return
            log_starts, log_steps = (torch.from_numpy(n).log() for n in (starts, transitions))
            log_starts, log_steps, _ = mask_illegal(
                log_starts, log_steps, torch.zeros_like(log_starts), self.settings.scheme
            )
            for parameter, scores in (
                (self.crf_start, log_starts),
                (self.crf_transitions, log_steps),
            ):
                # the value of a barred step is never read, but it has to be finite
                parameter.copy_(scores.log_softmax(dim=-1).nan_to_num(neginf=0.0))

    def forward(self, vectors: Tensor, lengths: numpy.ndarray) -> Tuple[Tensor, ...]:
        """Score words.

        vectors: (words, width). lengths: int64, (sequences,): words of each sequence.
        RETURNS: emissions (words, chains, tags), the CRF's start, transition and end scores if
            there is one, and the parameters of the loss if it has any.
        """
        vectors = self.dropout(vectors)
        if self.settings.lstm_size:
            vectors = self.dropout(nn.functional.gelu(self._read_sequences(vectors, lengths)))
        for layer in self.head_hidden:
            vectors = self.dropout(nn.functional.gelu(layer(vectors)))
        outputs = [self.head_output(vectors).unflatten(1, self.shape)]
        if self.settings.decoder == "crf":
            outputs += [self.crf_start, self.crf_transitions, self.crf_end]
        if self.settings.learned:
            outputs.append(self.loss_alpha)
        return tuple(outputs)

    def _read_sequences(self, vectors: Tensor, lengths: numpy.ndarray) -> Tensor:
        if not len(vectors):
            return vectors.new_zeros((0, 2 * self.settings.lstm_size))
        packing = pack(lengths, vectors.device)
        packed = PackedSequence(vectors[packing.rows], torch.tensor(packing.sizes))
        return unpack(self.head_lstm(packed)[0].data, packing)


def tagger_layer(module: TaggerModule) -> Model[TaggerInput, Arrays]:
    """Wrap the module: from word vectors to its tuple of arrays, in float32."""
    return sized_layer(module, _convert_inputs, _convert_outputs)


def tagger_module(layer: Model) -> TaggerModule:
    """The module inside the layer."""
    return layer.shims[0]._model


def _convert_inputs(
    model: Model, X: TaggerInput, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], Any]]:
    # sums over whole sequences need single precision
    return vectors_to_torch(model, X.vectors, (X.lengths,), is_train)


def _convert_outputs(
    model: Model, inputs_outputs: Tuple[Any, Tuple[Tensor, ...]], is_train: bool
) -> Tuple[Arrays, Callable[[Arrays], ArgsKwargs]]:
    _, outputs = inputs_outputs
    shim: Any = model.shims[0]

    def to_torch(d_outputs: Arrays) -> ArgsKwargs:
        gradients = tuple(xp2torch(d, device=shim.device) for d in d_outputs)
        return ArgsKwargs(args=(outputs,), kwargs={"grad_tensors": gradients})

    return tuple(torch2xp(y) for y in outputs), to_torch
