"""A pretrained transformer of an architecture's own, as one part of a torch module.

Listeners give token vectors of the plain text. An architecture that encodes a text of its own
(with markers around mentions), or learns through attentions, holds an ``OwnEncoder`` beside its
head in one torch module, loads it when it is initialized, and puts ``to_bytes`` of it into what it
serializes. Config, weights and tokenizer are all in there: a saved pipeline does not need the
source any more.
"""

import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import srsly
import torch
from torch import Tensor, nn

from .encoder_classes import AutoEncoder, quiet_transformers
from .forking import limit_threads_after_fork
from .half_precision import half_precision
from .sized_modules import load_state, state_to_bytes
from .windows import count_positions, load_encoder


class OwnEncoder(nn.Module):
    """A transformer and its tokenizer, both None until ``load`` or ``from_bytes``."""

    def __init__(self, *, attention: Optional[str] = None, mixed_precision: bool = False):
        """Create it empty.

        attention: how attention is computed; "eager" for models that are asked for their
            attentions, None for the fastest that the model has.
        mixed_precision: run the transformer in bfloat16 where the hardware has instructions for
            it. That has the range of float32, so no gradient has to be scaled.
        """
        super().__init__()
        limit_threads_after_fork()
        self.attention = attention
        self.mixed_precision = mixed_precision
        self.tokenizer: Any = None
        self.register_module("transformer", None)

    @property
    def is_loaded(self) -> bool:
        return self.tokenizer is not None

    @property
    def width(self) -> int:
        """The width of the hidden states."""
        return int(self.transformer.config.hidden_size)

    @property
    def max_pieces(self) -> int:
        """Word pieces that it can take at once, 0 where its config sets no bound."""
        return count_positions(self.transformer)

    def load(
        self,
        name: str,
        tokenizer_config: Optional[Dict[str, Any]] = None,
        transformer_config: Optional[Dict[str, Any]] = None,
        added_tokens: Sequence[str] = (),
    ) -> None:
        """Read a pretrained transformer and its tokenizer.

        name: a folder, a name on the model hub, or ``package:PYTHON_PACKAGE/FOLDER``.
        tokenizer_config: settings of the tokenizer. transformer_config: settings that replace
            those in the model's own config.
        added_tokens: see ``add_tokens``.

        Raises ValueError where it cannot be loaded, or has no such setting.
        """
        settings = {**(transformer_config or {}), **self._attention_setting()}
        objects = load_encoder(name, tokenizer_config or {}, settings)
        self.tokenizer, self.transformer = objects.tokenizer, objects.transformer
        self.add_tokens(added_tokens)

    def add_tokens(self, tokens: Sequence[str]) -> None:
        """Make each of these strings one piece of the vocabulary, where it is none yet.

        Their embeddings are drawn from a normal distribution with the mean and deviation of the
        others. ``word_pieces.read_word_pieces`` never cuts a text into them.
        """
        known = self.tokenizer.get_vocab()
        new = [token for token in dict.fromkeys(tokens) if token not in known]
        if not new:
            return
        self.tokenizer.add_tokens(new, special_tokens=True)
        rows = self.tokenizer.convert_tokens_to_ids(new)
        # published models often have more rows than their tokenizer has pieces
        if max(rows) >= self.transformer.get_input_embeddings().weight.shape[0]:
            with quiet_transformers():  # transformers says how it draws what is drawn below
                self.transformer.resize_token_embeddings(max(rows) + 1)
        with torch.no_grad():
            weight = self.transformer.get_input_embeddings().weight
            mean, deviation = weight[: len(known)].mean(dim=0), weight[: len(known)].std(dim=0)
            weight[rows] = mean + deviation * torch.randn_like(weight[rows])

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        """Run the transformer. RETURNS: its output, as transformers gives it."""
        with half_precision(input_ids.device, self.mixed_precision):
            return self.transformer(
                input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **options
            )

    def to_bytes(self) -> bytes:
        """Config, weights and tokenizer; nothing of them where nothing has been loaded."""
        stored: Dict[str, Any] = {}
        if self.is_loaded:
            stored = {"files": self._files(), "state": state_to_bytes(self.transformer)}
        return srsly.msgpack_dumps(stored)

    def from_bytes(self, data: bytes) -> "OwnEncoder":
        """Take over what ``to_bytes`` gave, without the place where it was first read from."""
        stored = srsly.msgpack_loads(data)
        if not stored:
            self.tokenizer = self.transformer = None
            return self
        from transformers import AutoConfig, AutoTokenizer

        with tempfile.TemporaryDirectory(prefix="encoder-") as folder:
            for name, content in stored["files"].items():
                (Path(folder) / name).write_bytes(content)
            config = AutoConfig.from_pretrained(folder)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.transformer = AutoEncoder.from_config(config, **self._attention_setting())
        load_state(self.transformer, stored["state"])
        return self

    def _files(self) -> Dict[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="encoder-") as folder:
            self.transformer.config.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            files = [path for path in Path(folder).iterdir() if path.is_file()]
            return {path.name: path.read_bytes() for path in files}

    def _attention_setting(self) -> Dict[str, Any]:
        return {} if self.attention is None else {"attn_implementation": self.attention}
