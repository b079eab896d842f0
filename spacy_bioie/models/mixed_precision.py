"""The encoder inside its thinc layer: half precision, and gradients over several passes.

thinc's own shim computes half precision on CUDA alone, and divides all gradients by the scale of
the loss after each backward pass. An update of this package has several passes, one for each
length bucket and, with ``accumulate_gradient``, for each part of a batch, so the gradients of the
earlier passes would be divided again and again. Here they stay scaled until the update ends.
"""

import warnings
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Callable, Iterator, Optional, Tuple

import torch
from spacy_transformers.data_classes import HFObjects
from spacy_transformers.layers.hf_shim import HFShim
from thinc.api import Model, xp2torch
from thinc.layers.pytorchwrapper import forward as pytorch_forward
from thinc.shims.shim import Shim
from thinc.types import ArgsKwargs

from .encoder_classes import AutoEncoder
from .half_precision import cpu_has_bfloat16
from .lora import add_lora, has_lora, merged_state


class EncoderShim(HFShim):
    """A transformer and its tokenizer, with mixed precision on CUDA and on CPU.

    On CUDA that is float16 with scaled gradients, as in thinc. On a CPU with bfloat16
    instructions it is bfloat16, which has the range of float32 and needs no scaling; on one
    without them the encoder runs in full precision, which is faster there.
    """

    def __init__(self, *args, lora_rank: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_cls = AutoEncoder
        self.lora_rank = lora_rank
        self._scaled_passes = 0

    def copy(self) -> "EncoderShim":
        copied = super().copy()
        # The optimizer keeps its moments by this id: two encoders must not share them.
        with Shim.global_id_lock:
            Shim.global_id += 1
            copied.id = Shim.global_id
        return copied

    def predict(self, inputs: ArgsKwargs) -> Any:
        self._model.eval()
        with torch.no_grad(), self._autocast():
            outputs = self._model(*inputs.args, **inputs.kwargs)
        self._model.train()
        return outputs

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, Callable]:
        if self.lora_rank and not has_lora(self._model):
            # only now: a pipeline that is not trained does not need them
            add_lora(self._model, self.lora_rank)
            self._model.to(self.device)
        self._model.train()
        words = self._word_embeddings()
        with self._autocast(), _sparse_gradient(words):
            outputs = self._model(*inputs.args, **inputs.kwargs)

        def backprop(grads: ArgsKwargs) -> ArgsKwargs:
            if self._scales:
                grads.kwargs["grad_tensors"] = self._grad_scaler.scale(grads.kwargs["grad_tensors"])
                self._scaled_passes += 1
            torch.autograd.backward(*grads.args, **grads.kwargs)
            # Only once: later passes add their few rows to this array in place.
            gradient = None if words is None else words.weight.grad
            if words is not None and gradient is not None and gradient.is_sparse:
                words.weight.grad = gradient.to_dense()
            return ArgsKwargs(args=(), kwargs={})

        return outputs, backprop

    def finish_update(self, optimizer) -> None:
        if self._scaled_passes:
            gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
            self._grad_scaler.unscale(gradients)
            self._scaled_passes = 0
        super().finish_update(optimizer)

    def to_bytes(self) -> bytes:
        if self._model is None or not has_lora(self._model):
            return super().to_bytes()
        model, state = self._model, merged_state(self._model)
        # of the model itself no more than its state is asked for
        self._model = SimpleNamespace(state_dict=lambda: state)
        try:
            return super().to_bytes()
        finally:
            self._model = model

    def _word_embeddings(self) -> Optional[torch.nn.Embedding]:
        """The word embeddings, on a CPU."""
        words = self._model.get_input_embeddings()
        on_cpu = self.device.type == "cpu"
        return words if isinstance(words, torch.nn.Embedding) and on_cpu else None

    @property
    def _scales(self) -> bool:
        return self._mixed_precision and self.device.type == "cuda"

    def _autocast(self) -> Any:
        device = self.device.type
        dtype = torch.float16 if device == "cuda" else torch.bfloat16
        enabled = self._mixed_precision and (device != "cpu" or cpu_has_bfloat16())
        if self._mixed_precision and not enabled:
            warnings.warn(
                "mixed_precision: this CPU has no bfloat16 instructions; the encoder runs in "
                "full precision.",
                stacklevel=2,
            )
        return torch.autocast(device, dtype=dtype, enabled=enabled)


@contextmanager
def _sparse_gradient(words: Optional[torch.nn.Embedding]) -> Iterator[None]:
    """Let the gradient of word embeddings touch only the words of a pass.

    They are half of a small encoder: an array of their size, made and added for each pass, takes
    a fifth of the time of a short one.
    """
    if words is None:
        yield
        return
    before, words.sparse = words.sparse, True
    try:
        yield
    finally:
        words.sparse = before


def encoder_layer(
    tokenizer_config: dict,
    transformer_config: dict,
    mixed_precision: bool,
    grad_scaler_config: dict,
    lora_rank: int = 0,
) -> Model:
    """Wrap a transformer, which is set later, as Model[WordpieceBatch, ModelOutput].

    The output holds torch tensors. Its gradient is one tensor, that of ``last_hidden_state``.
    """
    objects = HFObjects(None, None, None, dict(tokenizer_config), dict(transformer_config))
    return Model(
        "hf-pytorch",
        pytorch_forward,
        attrs={"convert_inputs": _convert_inputs, "convert_outputs": _convert_outputs},
        shims=[
            EncoderShim(
                objects,
                mixed_precision=mixed_precision,
                grad_scaler_config=dict(grad_scaler_config),
                lora_rank=lora_rank,
            )
        ],
        dims={"nI": None, "nO": None},
    )


def _convert_inputs(model: Model, wordpieces: Any, is_train: bool):
    shim: Any = model.shims[0]
    device = shim.device
    kwargs = {
        "input_ids": xp2torch(wordpieces.input_ids, device=device),
        "attention_mask": xp2torch(wordpieces.attention_mask, device=device),
    }
    if wordpieces.token_type_ids is not None:
        kwargs["token_type_ids"] = xp2torch(wordpieces.token_type_ids, device=device)
    return ArgsKwargs(args=(), kwargs=kwargs), lambda d_inputs: []


def _convert_outputs(model: Model, inputs_outputs: Tuple, is_train: bool):
    _, output = inputs_outputs
    hidden = output.last_hidden_state

    def backprop(d_hidden: torch.Tensor) -> ArgsKwargs:
        gradient = d_hidden.to(device=hidden.device, dtype=hidden.dtype)
        return ArgsKwargs(args=((hidden,),), kwargs={"grad_tensors": [gradient]})

    return output, backprop
