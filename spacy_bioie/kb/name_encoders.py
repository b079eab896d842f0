"""Name encoders: what turns a name into a vector of meaning.

They only read: no training reaches them, so that the name vectors of a knowledge base stay valid.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Sequence, Tuple, Union

import numpy

from ..encoder_source import resolve_encoder
from ..models.encoder_classes import AutoEncoder, quiet_transformers
from ..models.forking import limit_threads_after_fork
from .encoder_files import EncoderFiles
from .lexical import normalise_rows
from .pooling_file import choose_pooling

# So many batches of names are cut into word pieces at a time, and ordered by their number
CHUNK_BATCHES = 64


class NameEncoder(Protocol):
    """What a knowledge base asks of an encoder of names."""

    @property
    def dims(self) -> int:
        """The width of the vectors; 0 means that there are none."""

    def encode(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        """Vectors of length 1: float32, (names, dims)."""

    def settings(self) -> Dict[str, Any]:
        """Plain values from which ``load_name_encoder`` makes it again."""

    def save(self, folder: Path) -> None:
        """Write the files it needs, weights and tokenizer, into a folder."""


class NoNameEncoder:
    """No vectors of meaning: names are compared by their spelling alone."""

    dims = 0

    def encode(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        """Vectors of width 0: float32, (names, 0)."""
        return numpy.zeros((len(names), 0), dtype="float32")

    def settings(self) -> Dict[str, Any]:
        return {"kind": "none"}

    def save(self, folder: Path) -> None:
        return None


class TransformerNameEncoder:
    """A pretrained transformer, pooled over the word pieces of a name.

    name: a folder, a name on the model hub, or ``package:PYTHON_PACKAGE/FOLDER``.
    pooling: ``mean`` over all word pieces, or ``cls``, the first one; by default what the files of
        the encoder say, see ``read_pooling``, or else ``mean``. What differs from them is refused.
    max_length: a name is cut after this many word pieces.
    batch_size: names of ``max_length`` word pieces in one forward pass, or as many more shorter
        ones; names of like length go together.
    mixed_precision: bfloat16 where the hardware has instructions for it, which takes less time.
        Vectors then depend a little on the batch.

    The model is loaded at the first call that needs it, on the device that spaCy uses.
    """

    def __init__(
        self,
        name: Union[str, EncoderFiles],
        *,
        pooling: Optional[str] = None,
        max_length: int = 64,
        batch_size: int = 64,
        mixed_precision: bool = False,
        dims: Optional[int] = None,
    ):
        if max_length < 3 or batch_size < 1:
            raise ValueError(
                f"max_length is {max_length} and batch_size {batch_size}: expected at least 3 word "
                "pieces (the two special ones count) and 1 name."
            )
        self.source = name
        folder = name.folder if isinstance(name, EncoderFiles) else resolve_encoder(name)
        self.pooling = choose_pooling(folder, pooling)
        self.max_length = max_length
        self.batch_size = batch_size
        self.mixed_precision = mixed_precision
        self._dims = dims
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def dims(self) -> int:
        if self._dims is None:
            self._load()
        assert self._dims is not None
        return self._dims

    def encode(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        """Vectors of length 1: float32, (names, dims)."""
        out = numpy.zeros((len(names), self.dims), dtype="float32")
        if not len(names):
            return out
        self._load()
        # By length, then by text: a name then meets the same others whatever their order
        order = sorted(range(len(names)), key=lambda i: (len(names[i]), names[i]))
        chunk = self.batch_size * CHUNK_BATCHES
        chunks: Any = [order[begin : begin + chunk] for begin in range(0, len(names), chunk)]
        if progress:
            from tqdm import tqdm

            chunks = tqdm(chunks, desc="Encoding names", unit_scale=chunk, unit="name")
        for rows in chunks:
            out[rows] = self._encode_chunk([names[i] for i in rows])
        return normalise_rows(out)

    def settings(self) -> Dict[str, Any]:
        return {
            "kind": "transformer",
            "pooling": self.pooling,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "mixed_precision": self.mixed_precision,
            "dims": self.dims,
        }

    def save(self, folder: Path) -> None:
        if isinstance(self.source, EncoderFiles):
            self.source.write(folder)
            return
        self._load()
        self._model.save_pretrained(str(folder), safe_serialization=True)
        self._tokenizer.save_pretrained(str(folder))

    def _encode_chunk(self, names: List[str]) -> numpy.ndarray:
        import torch
        from thinc.util import get_torch_default_device

        device = get_torch_default_device()
        if self._model.device.type != device.type:
            self._model.to(device)
        with torch.inference_mode():
            vectors = pooled_names(
                self._model,
                self._tokenizer,
                names,
                pooling=self.pooling,
                max_length=self.max_length,
                max_batch_pieces=self.batch_size * self.max_length,
                mixed_precision=self.mixed_precision,
            )
        return vectors.cpu().numpy()

    def _load(self) -> None:
        if self._model is not None:
            return
        limit_threads_after_fork()
        if isinstance(self.source, EncoderFiles):
            with self.source.as_folder() as folder:
                self._load_folder(folder)
        else:
            self._load_folder(resolve_encoder(self.source))

    def _load_folder(self, folder: str) -> None:
        self._tokenizer, model = load_without_pooler(folder)
        self._model = model.eval().requires_grad_(False)
        self._dims = int(model.config.hidden_size)
        limit = getattr(model.config, "max_position_embeddings", None)
        if isinstance(limit, int) and limit > 0:
            self.max_length = min(self.max_length, limit)

    def __getstate__(self) -> Dict[str, Any]:
        raise TypeError(
            "A TransformerNameEncoder is not pickled by itself: pickle the knowledge base that "
            "holds it."
        )


def load_without_pooler(source: str, layers: int = 0) -> Tuple[Any, Any]:
    """Read the tokenizer and the transformer of a folder, or of a name on the model hub.

    layers: only so many, the first ones, are kept; 0 keeps all. Raises ValueError where the
        transformer has fewer.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    config = AutoConfig.from_pretrained(source)
    if layers:
        there = config.num_hidden_layers
        if not 0 < layers <= there:
            raise ValueError(f"layers is {layers}: expected 1 to {there}, or 0 for all of them.")
        config.num_hidden_layers = layers
    with quiet_transformers():  # that the pooler's weights are not used is meant so
        try:
            # A pooler that a checkpoint lacks would be drawn at random, and saved so
            model = AutoEncoder.from_pretrained(source, config=config, add_pooling_layer=False)
        except TypeError:
            model = AutoEncoder.from_pretrained(source, config=config)
    return tokenizer, model


def load_encoder(name: str, layers: int = 0) -> Tuple[Any, Any]:
    """As ``load_without_pooler``, of a folder, a hub name or ``package:PYTHON_PACKAGE/FOLDER``.

    Raises ValueError where there is no encoder.
    """
    try:
        return load_without_pooler(resolve_encoder(name), layers)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The encoder '{name}' cannot be loaded: expected a folder with a saved transformers "
            f"model and its tokenizer, or a name on a hub. {error}"
        ) from error


def pooled_names(
    model: Any,
    tokenizer: Any,
    names: Sequence[str],
    *,
    pooling: str,
    max_length: int,
    max_batch_pieces: int,
    mixed_precision: bool,
) -> Any:
    """Vectors of names, in passes of names of like length, on the model's device.

    max_length: word pieces of a name. max_batch_pieces: padded word pieces of one pass.
    mixed_precision: see ``half_precision``.
    RETURNS: a tensor (names, width), not normalised; gradients pass.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from ..models.half_precision import half_precision
    from ..models.length_buckets import make_buckets

    pad = tokenizer.pad_token_id or 0
    encoded = tokenizer(
        list(names), truncation=True, max_length=max_length, return_token_type_ids=False
    )["input_ids"]
    buckets = make_buckets([len(ids) for ids in encoded], max_batch_pieces)
    pooled = []
    for bucket in buckets:
        rows = [torch.as_tensor(encoded[i]) for i in bucket]
        ids = pad_sequence(rows, batch_first=True, padding_value=pad).to(model.device)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        mask = mask.to(model.device)
        with half_precision(model.device, mixed_precision):
            output = model(input_ids=ids, attention_mask=mask)
        pooled.append(pool_pieces(output.last_hidden_state, mask, pooling))
    order = numpy.argsort(numpy.concatenate(buckets))
    return torch.cat(pooled)[torch.as_tensor(order, device=model.device)]


def pool_pieces(hidden: Any, attention_mask: Any, pooling: str) -> Any:
    """Make one vector of the pieces of each name.

    hidden: a tensor (names, pieces, width). attention_mask: (names, pieces), 0 for padding.
    RETURNS: float32, (names, width).
    """
    hidden = hidden.float()
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1).float()
    return (hidden * mask).sum(1) / mask.sum(1)


def load_name_encoder(settings: Dict[str, Any], folder: Path) -> NameEncoder:
    """Make the encoder again whose ``settings()`` these are, from the folder it was saved in.

    Raises ValueError for a kind of encoder that is not known.
    """
    settings = dict(settings)
    kind = settings.pop("kind", None)
    if kind == "none":
        return NoNameEncoder()
    if kind == "transformer":
        return TransformerNameEncoder(EncoderFiles(folder), **settings)
    raise ValueError(f"Name encoder of kind {kind!r}: expected 'transformer' or 'none'.")


def TransformerNameEncoder_v1(
    name: str,
    pooling: Optional[str] = None,
    max_length: int = 64,
    batch_size: int = 64,
    mixed_precision: bool = False,
) -> NameEncoder:
    """Create ``spacy_bioie.TransformerNameEncoder.v1``, see ``TransformerNameEncoder``."""
    return TransformerNameEncoder(
        name,
        pooling=pooling,
        max_length=max_length,
        batch_size=batch_size,
        mixed_precision=mixed_precision,
    )


def NoNameEncoder_v1() -> NameEncoder:
    """Create ``spacy_bioie.NoNameEncoder.v1``: names are compared by their spelling alone."""
    return NoNameEncoder()
