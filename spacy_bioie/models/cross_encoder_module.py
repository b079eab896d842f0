"""What ``spacy_bioie.CandidateCrossEncoder.v1`` computes, in torch."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .candidate_inputs import FIELDS, MARKERS, CandidateReader
from .candidate_reranker import CandidateRows
from .encoded_rows import encode_rows
from .input_rows import InputRows
from .own_encoder import OwnEncoder


@dataclass(frozen=True)
class CrossEncoderSettings:
    """See ``candidate_cross_encoder.CandidateCrossEncoder_v1``."""

    name: str
    n_rerank: int
    fields: List[str]
    context_pieces: int
    candidate_pieces: int
    batch_pieces: int
    epochs: int
    batch_size: int
    learn_rate: float
    head_learn_rate: float
    warmup: float
    weight_decay: float
    dropout: float
    mixed_precision: bool
    seed: int
    progress: bool
    tokenizer_config: Dict[str, Any] = field(default_factory=dict)
    transformer_config: Dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ValueError for a setting that is out of its range."""
        where = "CandidateCrossEncoder: "
        least = {"context_pieces": 0, "weight_decay": 0, "seed": 0}
        least.update(n_rerank=1, candidate_pieces=1, batch_pieces=1, epochs=1, batch_size=1)
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(
                    f"{where}{name} is {getattr(self, name)}, expected {bound} or more."
                )
        for name in ("learn_rate", "head_learn_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{where}{name} is {getattr(self, name)}, expected more than 0.")
        for name in ("warmup", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(
                    f"{where}{name} is {getattr(self, name)}, expected at least 0 and below 1."
                )
        if not self.fields or not set(self.fields) <= set(FIELDS):
            raise ValueError(
                f"{where}fields is {self.fields}, expected one or more of {list(FIELDS)}."
            )


class CrossEncoderInput(NamedTuple):
    """rows: an input of the encoder for each. features: float32, (rows, features)."""

    rows: InputRows
    features: numpy.ndarray

    def select(self, rows: numpy.ndarray) -> "CrossEncoderInput":
        """Some of the rows."""
        return CrossEncoderInput(self.rows.select(rows), self.features[rows])


class CrossEncoderModule(nn.Module):
    """An encoder of its own and a head; the parameters of this have "head" in their names."""

    def __init__(self, settings: CrossEncoderSettings):
        super().__init__()
        self.settings = settings
        self.encoder = OwnEncoder(mixed_precision=settings.mixed_precision)
        self.register_module("head", None)
        self.n_features = 0
        self.reader: Optional[CandidateReader] = None

    def load(self, n_features: int) -> None:
        """Read the pretrained encoder, and make a head. Raises ValueError where it cannot."""
        own = self.settings
        self.encoder.load(own.name, own.tokenizer_config, own.transformer_config, MARKERS)
        self.build(n_features)

    @property
    def sizes(self) -> Dict[str, Any]:
        return {"n_features": self.n_features}

    def build(self, n_features: int) -> None:
        """Make the head anew."""
        own = self.settings
        self.reader = CandidateReader(
            self.encoder.tokenizer,
            self.encoder.max_pieces,
            own.context_pieces,
            own.candidate_pieces,
            own.fields,
        )
        self.n_features = n_features
        self.head = CandidateHead(self.encoder.width, n_features, own.dropout)

    def prepare(self, rows: CandidateRows, chosen: numpy.ndarray) -> CrossEncoderInput:
        """The inputs of some rows. chosen: int64, (n,)."""
        assert self.reader is not None
        return CrossEncoderInput(self.reader.read(rows, chosen), rows.features[chosen])

    def forward(self, batch: CrossEncoderInput) -> Tensor:
        """RETURNS: float32, (rows,)."""
        own = self.settings
        vectors = encode_rows(self, self._read, batch.rows, own.batch_pieces, self.encoder.width)
        return self.head(vectors, torch.from_numpy(batch.features).to(vectors.device))

    def _read(self, ids: Tensor, mask: Tensor, types: Optional[Tensor], read: Tensor) -> Tensor:
        options = {} if types is None else {"token_type_ids": types}
        hidden = self.encoder(ids, mask, **options).last_hidden_state
        return hidden[torch.arange(len(ids), device=ids.device), read[:, 0]].float()


class CandidateHead(nn.Module):
    """One score from the vector of a pair and the features of the candidate, standardized."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, n_features: int, dropout: float):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.dense = nn.Linear(width, width)
        self.project = nn.Linear(n_features, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def standardize(self, features: numpy.ndarray) -> None:
        """Bring features like these to mean 0 and deviation 1; one that never differs counts 0."""
        deviation = features.std(axis=0, dtype="float64")
        deviation[numpy.ptp(features, axis=0) == 0] = numpy.inf
        self.mean.copy_(torch.from_numpy(features.mean(axis=0, dtype="float64")))
        self.scale.copy_(torch.from_numpy(1.0 / deviation))

    def forward(self, vectors: Tensor, features: Tensor) -> Tensor:
        """RETURNS: float32, (rows,)."""
        hidden = self.dense(vectors) + self.project((features - self.mean) * self.scale)
        return self.out(self.dropout(gelu(hidden)))[:, 0]
