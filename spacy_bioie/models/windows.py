"""The shared encoder: a pretrained transformer run over windows of word pieces.

It stands in the stock ``transformer`` component of spacy-transformers in place of its own model.
"""

from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple

from spacy.tokens import Doc, Span
from spacy_transformers.data_classes import FullTransformerBatch, HFObjects, TransformerData
from spacy_transformers.layers.transformer_model import (
    TransformerModel,
    set_pytorch_transformer,
)
from thinc.api import Model, get_torch_default_device, torch2xp
from thinc.types import Ragged

from ..encoder_source import resolve_encoder
from .encoder_classes import AutoEncoder
from .forking import limit_threads_after_fork
from .gradient_watch import GradientWatch
from .length_buckets import encode_in_buckets
from .listener import encoder_of_its_own, encoder_of_its_own_config
from .mixed_precision import encoder_layer
from .window_cutter import NO_LIMIT, WindowCutter


def TransformerModel_v1(
    name: str,
    tokenizer_config: dict = {"use_fast": True},  # noqa: B006
    transformer_config: dict = {},  # noqa: B006
    mixed_precision: bool = False,
    grad_scaler_config: dict = {},  # noqa: B006
    window: int = 512,
    max_batch_pieces: int = 4096,
    lora_rank: int = 0,
) -> Model[List[Doc], FullTransformerBatch]:
    """A pretrained transformer over windows that are counted in word pieces.

    Each section of a document becomes one window, or several that overlap by half; nothing is
    truncated. Windows of like length run together, so that little padding is computed.

    name (str): Folder (absolute or relative), name on a model hub, or ``package:`` with a folder
        inside an installed Python package. Not needed any more once the pipeline is saved.
    tokenizer_config (dict): Settings of the tokenizer, which has to be a fast one.
    transformer_config (dict): Settings that replace those in the model's own config, such as
        ``{"attention_probs_dropout_prob": 0.0}``, with which CPUs train 1.6 times as fast.
    mixed_precision (bool): float16 on a GPU, bfloat16 on a CPU that has instructions for it.
    grad_scaler_config (dict): Settings of the gradient scaler for float16.
    window (int): Word pieces of a window, special tokens included; at most what the model takes.
    max_batch_pieces (int): Padded word pieces of one pass through the transformer. 1024 to 4096
        are equally fast on a CPU; a GPU wants as much as its memory holds.
    lora_rank (int): Above 0, only low-rank additions to the attention matrices learn, see
        ``lora.py`` (Graphwise: 256 for the largest encoders). They are added to the matrices
        when the pipeline is saved; one that is trained further gets new ones.
    """
    if window < 1 or max_batch_pieces < 1:
        raise ValueError(
            "spacy_bioie.TransformerModel.v1: expected 'window' and 'max_batch_pieces' of at least "
            f"1 word piece, but got {window} and {max_batch_pieces}."
        )
    if lora_rank < 0:
        raise ValueError(
            f"spacy_bioie.TransformerModel.v1: lora_rank is {lora_rank}, expected 0 (all weights "
            "learn) or more."
        )
    limit_threads_after_fork()
    return WindowedTransformer(
        name,
        encoder_layer(
            tokenizer_config, transformer_config, mixed_precision, grad_scaler_config, lora_rank
        ),
        window=window,
        max_batch_pieces=max_batch_pieces,
    )


class WindowedBatch(FullTransformerBatch):
    """The output for a batch, which knows whether listeners were given it."""

    token_counts: List[int]
    on_hand_out: Optional[Callable[[], None]] = None

    @property
    def doc_data(self) -> List[TransformerData]:
        if self.on_hand_out is not None:
            self.on_hand_out()
        return super().doc_data

    def split_by_doc(self) -> List[TransformerData]:
        """One TransformerData for each document; without loops over tokens."""
        outputs = {
            key: [torch2xp(part) for part in value] if isinstance(value, tuple) else torch2xp(value)
            for key, value in self.model_output.items()
        }
        split = []
        token = row = pieces = 0
        for spans, n_tokens in zip(self.spans, self.token_counts, strict=True):
            if not spans:
                split.append(TransformerData.empty())
                continue
            end = row + len(spans)
            data = TransformerData.empty()
            data.wordpieces = self.wordpieces[row:end]
            align = self.align[token : token + n_tokens]
            data.align = Ragged(align.dataXd - pieces, align.lengths)
            for key, value in outputs.items():
                data.model_output[key] = (
                    [part[row:end] for part in value] if isinstance(value, list) else value[row:end]
                )
            split.append(data)
            pieces += data.wordpieces.input_ids.size
            token += n_tokens
            row = end
        return split


class WindowedTransformer(TransformerModel):
    """Model[List[Doc], FullTransformerBatch]; see ``TransformerModel_v1``."""

    def __init__(self, name: str, encoder: Model, *, window: int, max_batch_pieces: int):
        Model.__init__(
            self,
            "transformer",
            forward,
            init=init,
            layers=[encoder],
            dims={"nO": None},
            attrs={
                "get_spans": self.get_spans,
                "name": name,
                "set_transformer": set_pytorch_transformer,
                "has_transformer": False,
                "replace_listener": encoder_of_its_own,
                "replace_listener_cfg": encoder_of_its_own_config,
                "is_shared": True,
            },
        )
        # Not attributes of thinc: those are saved, and would win over a changed config.
        self.window = window
        self.max_batch_pieces = max_batch_pieces
        self.gradient_watch = GradientWatch("transformer")
        self._cutter: Optional[WindowCutter] = None

    @property
    def cutter(self) -> WindowCutter:
        """Cuts documents into windows for the tokenizer that is now in the model."""
        if self.tokenizer is None:
            raise ValueError(
                "The transformer has not been loaded yet: expected a pipeline that was "
                "initialized (nlp.initialize) or read from disk."
            )
        if self._cutter is None or self._cutter.tokenizer is not self.tokenizer:
            self._cutter = WindowCutter(
                self.tokenizer, self.window, count_positions(self.transformer)
            )
        return self._cutter

    def get_spans(self, docs: Sequence[Doc]) -> List[List[Span]]:
        """The windows of each document, as a span getter of spacy-transformers gives them."""
        return self.cutter.cut(docs).spans

    def copy(self) -> "WindowedTransformer":
        copied = WindowedTransformer(
            self.attrs["name"],
            self.layers[0].copy(),
            window=self.window,
            max_batch_pieces=self.max_batch_pieces,
        )
        copied.attrs["has_transformer"] = self.attrs["has_transformer"]
        if self.has_dim("nO"):
            copied.set_dim("nO", self.get_dim("nO"))
        return copied


def init(model: WindowedTransformer, X: Any = None, Y: Any = None) -> None:
    model.gradient_watch = GradientWatch("transformer")
    if model.attrs["has_transformer"]:
        return
    objects = load_encoder(
        model.attrs["name"], model._init_tokenizer_config, model._init_transformer_config
    )
    model.attrs["set_transformer"](model, objects)
    # Says now, not in the first batch, where a tokenizer cannot be used.
    assert model.cutter
    model.layers[0].initialize()


def forward(
    model: WindowedTransformer, docs: Sequence[Doc], is_train: bool
) -> Tuple[FullTransformerBatch, Callable]:
    if is_train:
        model.gradient_watch.next_batch()
    docs = list(docs)
    cut = model.cutter.cut(docs)
    if not any(cut.spans):
        return FullTransformerBatch.empty(len(docs)), lambda d_output: docs
    output, backprop_encoder = encode_in_buckets(
        model.layers[0], cut.wordpieces, model.max_batch_pieces, is_train
    )
    if output is None:
        output = _zeros(cut.wordpieces.input_ids.shape, model.get_dim("nO"))
    batch = WindowedBatch(cut.spans, cut.wordpieces, output, cut.align)
    batch.token_counts = [len(doc) for doc in docs]
    if is_train and model.attrs["is_shared"]:
        batch.on_hand_out = model.gradient_watch.hand_out

    def backprop(d_batch: FullTransformerBatch) -> List[Doc]:
        model.gradient_watch.receive()
        # The first and only output with a gradient is that of last_hidden_state.
        backprop_encoder(next(iter(d_batch.model_output.values())))
        return docs

    return batch, backprop


def load_encoder(name: str, tokenizer_config: dict, transformer_config: dict) -> HFObjects:
    """Read a pretrained transformer and its tokenizer.

    Raises ValueError where ``name`` is neither a folder nor a model that can be loaded, and for a
    setting in ``transformer_config`` that this kind of model does not have.
    """
    from transformers import AutoConfig, AutoTokenizer

    source = resolve_encoder(name)
    settings = {**transformer_config, "return_dict": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **tokenizer_config)
        config, unused = AutoConfig.from_pretrained(source, **settings, return_unused_kwargs=True)
    except (OSError, ValueError) as error:
        found = "is one" if Path(source).is_dir() else "does not exist"
        raise ValueError(
            f"The encoder '{name}' cannot be loaded: expected a folder with a saved transformers "
            f"model and its tokenizer ('{Path(source).absolute()}' {found}), or the name of a "
            f"model on a hub that can be reached. {error}"
        ) from error
    unknown = sorted(set(unused) & set(transformer_config))
    if unknown:
        raise ValueError(
            f"transformer_config of the encoder '{name}': a {type(config).__name__} has no "
            f"setting {', '.join(unknown)}."
        )
    transformer = AutoEncoder.from_pretrained(source, config=config)
    positions = count_positions(transformer)
    if positions and not 0 < tokenizer.model_max_length < NO_LIMIT:
        tokenizer.model_max_length = positions
    transformer.to(get_torch_default_device())
    return HFObjects(tokenizer, transformer, _read_vocabulary(tokenizer))


def count_positions(transformer: Any) -> int:
    """Word pieces that a transformer can take, 0 where its config sets no bound.

    Models of the RoBERTa family count positions from behind the padding index, so that 514
    positions take 512 pieces.
    """
    bound = int(getattr(transformer.config, "max_position_embeddings", 0) or 0)
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            padding = getattr(module, "padding_idx", None)
            return int(module.num_embeddings) - (0 if padding is None else int(padding) + 1)
    return max(bound, 0)


def _read_vocabulary(tokenizer: Any) -> Optional[bytes]:
    """What spacy-transformers saves beside the tokenizer, where the tokenizer names such a file.

    A folder may hold a tokenizer.json alone; nothing of the vocabulary is lost then.
    """
    if not hasattr(tokenizer, "vocab_file"):
        return None
    if not tokenizer.vocab_file or not Path(tokenizer.vocab_file).is_file():
        return b""
    return Path(tokenizer.vocab_file).read_bytes()


def _zeros(shape: Tuple[int, int], width: int) -> Any:
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    zeros: Any = torch.zeros((*shape, width), device=get_torch_default_device())
    return BaseModelOutput(last_hidden_state=zeros)
