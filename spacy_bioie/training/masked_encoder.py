"""An encoder with a head that tells which piece of its vocabulary was masked."""

from typing import Any, Tuple

import torch
from torch import Tensor, nn

from ..encoder_source import resolve_encoder
from ..models.encoder_classes import AutoEncoder, is_encoder_half, quiet_transformers


class MaskedEncoder(nn.Module):
    """Scores of the vocabulary at the masked places of windows.

    model: what is saved and trained, with ``logits`` in its output. encoder: the transformer inside
    of it. fresh_head: whether weights of the head were drawn at random.
    """

    def __init__(self, model: nn.Module, encoder: nn.Module, fresh_head: bool):
        super().__init__()
        self.model = model
        self.encoder = encoder
        self.fresh_head = fresh_head
        self._masked: Any = None
        # A head works on each place alone: it is given no others, since the scores of a whole
        # window over a whole vocabulary would take more memory than all the rest.
        encoder.register_forward_hook(self._keep_masked)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, masked: Tensor) -> Tensor:
        """Scores of the pieces: (masked places, vocabulary); ``masked`` is bool, as input_ids."""
        self._masked = masked
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return output.logits[0]

    def save_pretrained(self, folder: str, **settings: Any) -> None:
        """Write the encoder, with its head where its class has one."""
        tied = isinstance(self.model, EncoderWithHead)
        part: Any = self.encoder if tied else self.model
        part.save_pretrained(folder, **settings)

    def _keep_masked(self, encoder: nn.Module, inputs: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][self._masked].unsqueeze(0)
        return output


class EncoderWithHead(nn.Module):
    """A head for encoders whose class has none: BERT's, with T5's scaling of the embeddings."""

    def __init__(self, encoder: Any):
        super().__init__()
        width = int(encoder.config.hidden_size)
        words = encoder.get_input_embeddings().weight
        self.encoder = encoder
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(len(words)))
        self.scale = width**-0.5

    def forward(self, input_ids: Tensor, attention_mask: Tensor, return_dict: bool = True) -> Any:
        from transformers.modeling_outputs import MaskedLMOutput

        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=return_dict
        ).last_hidden_state
        words = self.encoder.get_input_embeddings().weight
        scores: Any = nn.functional.linear(self.transform(hidden) * self.scale, words, self.bias)
        return MaskedLMOutput(logits=scores)


def load_masked_encoder(name: str) -> Tuple[MaskedEncoder, Any]:
    """Read an encoder and its tokenizer, with the head of its checkpoint or a fresh one.

    The output of either head is tied to the embeddings. Of a model with a decoder (T5) the encoder
    half is read.

    Raises ValueError where it cannot be read, or its class neither is trained on masked text nor
    has an encoder half.
    """
    from transformers import (
        MODEL_FOR_MASKED_LM_MAPPING,
        AutoConfig,
        AutoModelForMaskedLM,
        AutoTokenizer,
    )

    source = resolve_encoder(name)
    try:
        config = AutoConfig.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The encoder '{name}' cannot be loaded: expected a folder with a saved transformers "
            f"model and its tokenizer, or a name on a hub. {error}"
        ) from error
    if is_encoder_half(config):
        encoder = AutoEncoder.from_pretrained(source, config=config)
        return MaskedEncoder(EncoderWithHead(encoder), encoder, True), tokenizer
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise ValueError(
            f"The encoder '{name}' is of the class {type(config).__name__}: expected one that is "
            "trained on masked text, such as BERT, ELECTRA or XLM-R, or a T5."
        )
    with quiet_transformers():  # whether the head is fresh is told to the caller
        model, found = AutoModelForMaskedLM.from_pretrained(source, output_loading_info=True)
    return MaskedEncoder(model, model.base_model, bool(found["missing_keys"])), tokenizer


def mask_piece(tokenizer: Any) -> int:
    """The id that stands for a masked piece; of T5's tokenizers that of the first sentinel.

    Raises ValueError where there is none.
    """
    if tokenizer.mask_token_id is not None:
        return int(tokenizer.mask_token_id)
    sentinel = tokenizer.get_vocab().get("<extra_id_0>")
    if sentinel is None:
        raise ValueError(
            f"The tokenizer {type(tokenizer).__name__} has neither a mask token nor the sentinel "
            "'<extra_id_0>': expected one of them."
        )
    return int(sentinel)
