"""What ``spacy_bioie.MarkerClassifier.v1`` computes, in torch."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy
import torch
from spacy.tokens import Doc
from torch import Tensor, nn

from .candidates import PairCandidates
from .encoded_rows import encode_rows
from .input_rows import InputRows
from .marker_inputs import MARKERS, CrossEncoderReader, MarkerReader, PairReader
from .own_encoder import OwnEncoder

FORMS = ("markers", "cross_encoder")
NEVER = -100.0  # the logit of what is not scored


@dataclass(frozen=True)
class MarkerSettings:
    """See ``marker_classifier.MarkerClassifier_v1``."""

    name: str
    form: str
    max_length: int
    batch_pieces: int
    hidden_size: int
    dropout: float
    type_constraint: bool
    mixed_precision: bool
    tokenizer_config: Dict[str, Any] = field(default_factory=dict)
    transformer_config: Dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ValueError for a setting that is out of its range."""
        where = "MarkerClassifier: "
        if self.form not in FORMS:
            raise ValueError(f"{where}form is '{self.form}', expected one of {list(FORMS)}.")
        for name, least in (("max_length", 1), ("batch_pieces", 1), ("hidden_size", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{where}{name} is {value}, expected {least} or more.")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"{where}dropout is {self.dropout}, expected at least 0 and below 1.")


class MarkerInput(NamedTuple):
    """A batch.

    rows: an input for each pair; of a cross-encoder for each true value of ``scored``, in order.
    scored: bool, (pairs, predicates): what is scored.
    """

    rows: InputRows
    scored: numpy.ndarray


class MarkerModule(nn.Module):
    """An encoder of its own, and scores from the vectors that it gives a pair; both are made when
    the model is initialized or loaded.

    All parameters of the scorer have "pair_head" in their names, so that an optimizer can give
    them a rate of their own.
    """

    def __init__(self, settings: MarkerSettings):
        super().__init__()
        self.settings = settings
        self.encoder = OwnEncoder(mixed_precision=settings.mixed_precision)
        self.register_module("pair_head", None)
        self.n_predicates = 0
        self.predicates: List[str] = []
        self.reader: Optional[PairReader] = None

    @property
    def sizes(self) -> Dict[str, Any]:
        return {"n_predicates": self.n_predicates, "predicates": self.predicates}

    def build(self, n_predicates: int, predicates: Sequence[str]) -> None:
        """Make the scorer anew, and read the encoder if there is none yet.

        predicates: their names; a cross-encoder reads them.

        Raises ValueError where the encoder cannot be read or used, or names are missing.
        """
        own = self.settings
        marked = own.form == "markers"
        if not marked and len(predicates) != n_predicates:
            raise ValueError(
                f"MarkerClassifier: {len(predicates)} of {n_predicates} predicates have names, "
                "but a cross-encoder reads them. Expected candidates made from a schema."
            )
        if not self.encoder.is_loaded:
            self.encoder.load(own.name, own.tokenizer_config, own.transformer_config)
        if marked:
            self.encoder.add_tokens(MARKERS)
        sizes = (self.encoder.tokenizer, own.max_length, self.encoder.max_pieces)
        self.reader = MarkerReader(*sizes) if marked else CrossEncoderReader(*sizes, predicates)
        self.n_predicates, self.predicates = n_predicates, list(predicates)
        width = self.encoder.width
        n_in, n_out = (2 * width, n_predicates) if marked else (width, 1)
        layers: List[nn.Module] = [nn.Dropout(own.dropout)]
        if own.hidden_size:
            layers += [nn.Linear(n_in, own.hidden_size), nn.GELU(), nn.Dropout(own.dropout)]
        scores = nn.Linear(own.hidden_size or n_in, n_out)
        # relations are rare: from even odds the first steps would only unlearn them
        nn.init.constant_(scores.bias, -3.0)
        self.pair_head = nn.Sequential(*layers, scores)

    def prepare(self, docs: Sequence[Doc], candidates: PairCandidates) -> MarkerInput:
        """Make the inputs of candidate pairs.

        Raises ValueError where the candidates have other predicates than the model.
        """
        if candidates.n_predicates != self.n_predicates:
            raise ValueError(
                f"MarkerClassifier: the model knows {self.n_predicates} predicates, but the "
                f"candidates have {candidates.n_predicates}. Initialize it with their schema."
            )
        assert self.reader is not None
        scored = candidates.pair_legal()
        if not self.settings.type_constraint:
            scored = numpy.ones_like(scored)
        return MarkerInput(self.reader.read(docs, candidates, scored), scored)

    def forward(self, batch: MarkerInput) -> Tensor:
        """RETURNS: float32, (pairs, predicates): logits; ``NEVER`` and no gradient for what is
        not scored."""
        vectors = self._encode(batch.rows)
        scored = torch.from_numpy(batch.scored).to(vectors.device)
        logits = self.pair_head(vectors)
        if self.settings.form == "markers":
            return logits.masked_fill(~scored, NEVER)
        return logits.new_full(scored.shape, NEVER).masked_scatter(scored, logits)

    def _encode(self, rows: InputRows) -> Tensor:
        """The vectors of ``rows.read``, side by side: float32, (rows, n * width)."""
        width = rows.read.shape[1] * self.encoder.width
        return encode_rows(self, self._read, rows, self.settings.batch_pieces, width)

    def _read(self, ids: Tensor, mask: Tensor, types: Optional[Tensor], read: Tensor) -> Tensor:
        options = {} if types is None else {"token_type_ids": types}
        hidden = self.encoder(ids, mask, **options).last_hidden_state
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        return hidden[rows, read].float().flatten(1)
