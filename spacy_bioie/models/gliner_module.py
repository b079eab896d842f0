"""The torch part of GLiNER: scores of the spans of word sequences."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy
import srsly
import torch
from thinc.api import Model, PyTorchWrapper_v3
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .gliner_files import GlinerSettings, gliner_from_files, gliner_to_files, read_gliner
from .half_precision import half_precision
from .length_buckets import PASS_COST_CPU, PASS_COST_GPU, make_buckets
from .own_encoder_layer import plain_inputs
from .sized_modules import is_built
from .window_cutter import window_borders
from .windows import count_positions


class GlinerInput(NamedTuple):
    """words: of all sequences. lengths: int64, (sequences,): words of each."""

    words: List[str]
    lengths: numpy.ndarray


class GlinerWindows(NamedTuple):
    """Sequences cut into what GLiNER reads at once.

    first, last: int64, (windows,): words of each, the second exclusive.
    pieces: int64, (windows,): word pieces of each, those of the labels included.
    home: int64, (words,): the window that scores the spans which begin with a word.
    """

    first: numpy.ndarray
    last: numpy.ndarray
    pieces: numpy.ndarray
    home: numpy.ndarray


class GlinerModule(nn.Module):
    """A GLiNER and what it reads of each label; both are there once it is built or loaded."""

    gliner: Any

    def __init__(self, settings: GlinerSettings):
        super().__init__()
        self.settings = settings
        self.register_module("gliner", None)
        self.prompts: List[str] = []

    @property
    def sizes(self) -> Dict[str, List[str]]:
        return {"prompts": self.prompts}

    @property
    def tokenizer(self) -> Any:
        return self.gliner.data_processor.transformer_tokenizer

    def build(self, prompts: Sequence[str]) -> None:
        """Read the model if there is none yet, and take over what it reads of the labels.

        Raises ImportError without ``gliner``, and ValueError where the model cannot be read or the
        labels leave no room for a text.
        """
        if self.gliner is None:
            self.gliner = read_gliner(self.settings)
        for prompt in prompts:
            if not self.tokenizer(prompt, add_special_tokens=False)["input_ids"]:
                raise ValueError(f"GLiNER: the label {prompt!r} has no word piece.")
        self.prompts = list(prompts)
        self.room()

    def room(self) -> Tuple[int, int]:
        """Word pieces of a window that are left for the text, and those of the labels.

        Raises ValueError where it would be less than ``max_width``.
        """
        (prompt,), _ = self.gliner.data_processor.prepare_inputs([[]], self.prompts)
        read = self.tokenizer(prompt, is_split_into_words=True, verbose=False)
        taken = len(read["input_ids"])
        positions = count_positions(self.gliner.model.token_rep_layer.bert_layer.model)
        bounds = (self.settings.window, positions, self.tokenizer.model_max_length or 0)
        window = min(bound for bound in bounds if bound)
        room = min(window - taken, self.gliner.config.max_len)
        if room < self.settings.max_width:
            raise ValueError(
                f"GLiNER: {len(self.prompts)} labels take {taken} of {window} word pieces. "
                f"Expected at least {self.settings.max_width} to be left for the text: set a "
                "higher window, a lower max_width or shorter prompts, or take an encoder that "
                "reads more at once."
            )
        return room, taken

    def forward(self, inputs: GlinerInput) -> Tensor:
        """Score the spans of up to ``max_width`` words.

        RETURNS: float32, (words, max_width, labels): log odds of the span that begins with the
            word and has one word more than the index; minus infinity where it would leave its
            sequence.
        """
        words, windows = self.cut(inputs)
        device = next(self.parameters()).device
        cost = PASS_COST_CPU if device.type == "cpu" else PASS_COST_GPU
        scores, scored = [], []
        buckets = make_buckets(windows.pieces.tolist(), self.settings.max_batch_pieces, cost)
        for bucket in buckets:
            first, last = windows.first[bucket], windows.last[bucket]
            own = [
                numpy.flatnonzero(windows.home[i:j] == window)
                for window, i, j in zip(bucket, first, last, strict=True)
            ]
            row = numpy.repeat(numpy.arange(len(bucket)), [len(columns) for columns in own])
            column = numpy.concatenate(own)
            texts = [words[i:j] for i, j in zip(first, last, strict=True)]
            if self.training and len(buckets) > 1:
                logits = checkpoint(self._score, texts, device, use_reentrant=False)
            else:
                logits = self._score(texts, device)
            logits = logits[torch.from_numpy(row).to(device), torch.from_numpy(column).to(device)]
            scored.append(first[row] + column)
            inside = torch.from_numpy(last[row] - scored[-1]).to(device)
            outside = torch.arange(logits.shape[1], device=device) >= inside[:, None]
            scores.append(logits.masked_fill(outside[..., None], -torch.inf))
        order = numpy.argsort(numpy.concatenate(scored))
        return torch.cat(scores)[torch.from_numpy(order).to(device)]

    def cut(self, inputs: GlinerInput) -> Tuple[List[str], GlinerWindows]:
        """Cut sequences that are longer than the room into windows that overlap by about half.

        A span is scored in the window in which it lies farthest from where the text is cut.

        RETURNS: the words as GLiNER reads them, and the windows.
        """
        room, taken = self.room()
        words, counts = self._readable(inputs.words, room)
        rows: List[Tuple[int, int, int]] = []
        home = numpy.zeros(len(words), dtype="int64")
        depth = numpy.full(len(words), -numpy.inf)
        start = 0
        for length in inputs.lengths.tolist():
            end = start + length
            borders = numpy.concatenate([[0], numpy.cumsum(counts[start:end])])
            for begin, stop in window_borders(borders, room):
                i, j = (numpy.searchsorted(borders, [begin, stop]) + start).tolist()
                place = numpy.arange(i, j)
                left = place - i if i > start else numpy.inf
                right = j - place - self.settings.max_width if j < end else numpy.inf
                deeper = numpy.minimum(left, right) > depth[i:j]
                home[i:j][deeper] = len(rows)
                depth[i:j] = numpy.maximum(depth[i:j], numpy.minimum(left, right))
                rows.append((i, j, stop - begin + taken))
            start = end
        first, last, pieces = numpy.asarray(rows, dtype="int64").T
        return words, GlinerWindows(first, last, pieces, home)

    def _readable(self, words: List[str], room: int) -> Tuple[List[str], numpy.ndarray]:
        """Words of one to ``room`` pieces, and the pieces of each, int64, (words,).

        The package counts the words that have pieces, and finds the labels by a marker among
        the pieces: words without one, and words with markup of the tokenizer, become unknown.
        """
        tokenizer = self.tokenizer
        distinct, rows = numpy.unique(numpy.asarray(words, dtype=object), return_inverse=True)
        read = tokenizer(
            distinct.tolist(), is_split_into_words=True, add_special_tokens=False, verbose=False
        )
        word_of_piece = numpy.asarray(read.word_ids(), dtype="int64")
        counts = numpy.bincount(word_of_piece, minlength=len(distinct))
        markup = numpy.isin(read["input_ids"], list(tokenizer.added_tokens_decoder))
        counts[word_of_piece[markup]] = 0
        unreadable = (counts == 0) | (counts > room)
        distinct[unreadable], counts[unreadable] = tokenizer.unk_token or "?", 1
        return distinct[rows].tolist(), counts[rows]

    def _score(self, texts: List[List[str]], device: torch.device) -> Tensor:
        """RETURNS: float32, (texts, longest, max_width, labels)."""
        collate = self.gliner.data_collator_class(
            self.gliner.config, data_processor=self.gliner.data_processor, prepare_labels=False
        )
        rows = [{"tokenized_text": text, "ner": []} for text in texts]
        batch = collate(rows, entity_types=self.prompts)
        if not torch.equal(batch["words_mask"].amax(dim=1), batch["text_lengths"][:, 0]):
            raise ValueError(
                f"GLiNER: the tokenizer {type(self.tokenizer).__name__} lost words of "
                f"{texts[0][:5]} or of a text beside it; expected word pieces of each."
            )
        batch = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        with half_precision(device, self.settings.mixed_precision):
            return self.gliner.model(**batch).logits.float()


def gliner_layer(module: GlinerModule) -> Model:
    """Wrap the module: from ``GlinerInput`` to scores (words, max_width, labels)."""
    return PyTorchWrapper_v3(
        module,
        convert_inputs=plain_inputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )


def _serialize(module: GlinerModule) -> bytes:
    stored: Dict[str, Any] = {"prompts": module.prompts}
    if is_built(module.sizes):
        stored["files"] = gliner_to_files(module.gliner)
    return srsly.msgpack_dumps(stored)


def _deserialize(module: GlinerModule, data: bytes, device: torch.device) -> GlinerModule:
    stored = srsly.msgpack_loads(data)
    module.prompts = list(stored["prompts"])
    if "files" in stored:
        module.gliner = gliner_from_files(stored["files"])
    return module.to(device)
