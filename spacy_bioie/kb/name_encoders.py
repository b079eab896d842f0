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

POOLINGS = ("mean", "cls")


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
    pooling: ``mean`` over all word pieces, or ``cls``, the first one.
    max_length: a name is cut after this many word pieces.
    batch_size: names in one forward pass; names are sorted by length first.

    The model is loaded at the first call that needs it, on the device that spaCy uses.
    """

    def __init__(
        self,
        name: Union[str, EncoderFiles],
        *,
        pooling: str = "mean",
        max_length: int = 64,
        batch_size: int = 64,
        dims: Optional[int] = None,
    ):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is '{pooling}': expected one of {list(POOLINGS)}.")
        if max_length < 3 or batch_size < 1:
            raise ValueError(
                f"max_length is {max_length} and batch_size {batch_size}: expected at least 3 word "
                "pieces (the two special ones count) and 1 name."
            )
        self.source = name
        self.pooling = pooling
        self.max_length = max_length
        self.batch_size = batch_size
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
        # By length, then by text: a name then meets the same batch whatever the order of the names
        order = sorted(range(len(names)), key=lambda i: (len(names[i]), names[i]))
        batches: Any = range(0, len(names), self.batch_size)
        if progress:
            from tqdm import tqdm

            batches = tqdm(batches, desc="Encoding names", unit="batch")
        for begin in batches:
            rows = order[begin : begin + self.batch_size]
            out[rows] = self._encode_batch([names[i] for i in rows])
        return normalise_rows(out)

    def settings(self) -> Dict[str, Any]:
        return {
            "kind": "transformer",
            "pooling": self.pooling,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "dims": self.dims,
        }

    def save(self, folder: Path) -> None:
        if isinstance(self.source, EncoderFiles):
            self.source.write(folder)
            return
        self._load()
        self._model.save_pretrained(str(folder), safe_serialization=True)
        self._tokenizer.save_pretrained(str(folder))

    def _encode_batch(self, names: List[str]) -> numpy.ndarray:
        import torch
        from thinc.util import get_torch_default_device

        device = get_torch_default_device()
        if self._model.device.type != device.type:
            self._model.to(device)
        pieces = self._tokenizer(
            names,
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        ).to(device)
        with torch.inference_mode():
            hidden = self._model(**pieces).last_hidden_state
            vectors = pool_pieces(hidden, pieces["attention_mask"], self.pooling)
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


def load_without_pooler(source: str) -> Tuple[Any, Any]:
    """Read the tokenizer and the transformer of a folder, or of a name on the model hub."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    config = AutoConfig.from_pretrained(source)
    with quiet_transformers():  # that the pooler's weights are not used is meant so
        try:
            # A pooler that a checkpoint lacks would be drawn at random, and saved so
            model = AutoEncoder.from_pretrained(source, config=config, add_pooling_layer=False)
        except TypeError:
            model = AutoEncoder.from_pretrained(source, config=config)
    return tokenizer, model


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
    name: str, pooling: str = "mean", max_length: int = 64, batch_size: int = 64
) -> NameEncoder:
    """Create ``spacy_bioie.TransformerNameEncoder.v1``, see ``TransformerNameEncoder``."""
    return TransformerNameEncoder(
        name, pooling=pooling, max_length=max_length, batch_size=batch_size
    )


def NoNameEncoder_v1() -> NameEncoder:
    """Create ``spacy_bioie.NoNameEncoder.v1``: names are compared by their spelling alone."""
    return NoNameEncoder()
