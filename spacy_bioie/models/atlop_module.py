"""What ``spacy_bioie.ATLOP.v1`` computes, in torch (Zhou et al., AAAI 2021)."""

from dataclasses import dataclass, field, replace
from typing import Any, Dict, NamedTuple, Sequence

import numpy
import torch
from spacy.tokens import Doc
from torch import Tensor, nn

from .candidates import PairCandidates
from .marked_encoding import call, encode_marked, recompute
from .marked_windows import MarkedWindows, marked_windows
from .own_encoder import OwnEncoder
from .window_cutter import WindowCutter


@dataclass(frozen=True)
class AtlopSettings:
    """See ``atlop.ATLOP_v1``."""

    name: str
    one_mention_per_entity: bool
    marker: str
    window: int
    hidden_size: int
    block_size: int
    chunk_size: int
    max_batch_pieces: int
    mixed_precision: bool
    tokenizer_config: Dict[str, Any] = field(default_factory=dict)
    transformer_config: Dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ValueError for a setting that is out of its range."""
        for name in ("window", "hidden_size", "block_size", "chunk_size", "max_batch_pieces"):
            if getattr(self, name) < 1:
                raise ValueError(f"ATLOP: {name} is {getattr(self, name)}, expected 1 or more.")
        if self.hidden_size % self.block_size:
            raise ValueError(
                f"ATLOP: hidden_size is {self.hidden_size}, expected a multiple of block_size, "
                f"which is {self.block_size}."
            )
        if not self.marker.strip():
            raise ValueError(f"ATLOP: marker is {self.marker!r}, expected more than blanks.")


class AtlopInput(NamedTuple):
    """A batch; only documents with pairs are in it.

    mention_docs, entities: int64, (mentions,): the document and the entity of each mention; the
        numbers of a document's entities are consecutive.
    pairs: int64, (entity pairs, 2): head and tail entity, sorted, without repetition.
    rows: int64, (pairs,): the entity pair of each pair of mentions.
    """

    windows: MarkedWindows
    mention_docs: numpy.ndarray
    entities: numpy.ndarray
    pairs: numpy.ndarray
    rows: numpy.ndarray


class PairScorer(nn.Module):
    """Scores of pairs of entities: localized context pooling and a grouped bilinear layer."""

    def __init__(self, width: int, n_predicates: int, hidden_size: int, block_size: int):
        super().__init__()
        self.as_head = nn.Linear(2 * width, hidden_size)
        self.as_tail = nn.Linear(2 * width, hidden_size)
        # the first class is TH
        self.scores = nn.Linear(hidden_size * block_size, n_predicates + 1)
        self.block_size = block_size

    def forward(self, states: Tensor, vectors: Tensor, attention: Tensor, pairs: Tensor) -> Tensor:
        """Score pairs of entities of one document.

        states: float, (places, width). vectors: float, (entities, width).
        attention: float, (entities, attention heads, places). pairs: int64, (pairs, 2).
        RETURNS: float, (pairs, predicates): logits minus that of TH.
        """
        h, t = pairs[:, 0], pairs[:, 1]
        context = localized_context(states, attention[h], attention[t])
        heads = torch.tanh(self.as_head(torch.cat([vectors[h], context], dim=1)))
        tails = torch.tanh(self.as_tail(torch.cat([vectors[t], context], dim=1)))
        # of the outer product only the blocks on its diagonal
        shape = (len(pairs), -1, self.block_size)
        products = heads.view(shape)[:, :, :, None] * tails.view(shape)[:, :, None, :]
        logits = self.scores(products.flatten(1))
        return logits[:, 1:] - logits[:, :1]


def localized_context(states: Tensor, heads: Tensor, tails: Tensor) -> Tensor:
    """The mean state of the places that both entities of a pair attend to.

    states: float, (places, width). heads, tails: float, (pairs, attention heads, places): what
        each entity attends to.
    RETURNS: float, (pairs, width); 0 for entities that attend to nothing in common, as far apart
        in a long document.
    """
    common = (heads * tails).mean(dim=1)
    # the constant is that of the authors' code
    return (common / (common.sum(dim=1, keepdim=True) + 1e-5)) @ states


def pool_mentions(values: Tensor, entities: Tensor, n_entities: int) -> Tensor:
    """log(sum(exp)) over the mentions of each entity, a smooth maximum.

    values: float, (mentions, width). entities: int64, (mentions,); none has no mention.
    RETURNS: float, (entities, width).
    """
    index = entities[:, None].expand_as(values)
    top = values.new_zeros((n_entities, values.shape[1]))
    top = top.scatter_reduce(0, index, values.detach(), "amax", include_self=False)
    sums = torch.zeros_like(top).index_add(0, entities, (values - top[entities]).exp())
    return top + sums.log()


def average_mentions(values: Tensor, entities: Tensor, n_entities: int) -> Tensor:
    """Means over the mentions of each entity: float, (mentions, n, m) to (entities, n, m)."""
    sums = values.new_zeros((n_entities, *values.shape[1:])).index_add(0, entities, values)
    return sums / torch.bincount(entities, minlength=n_entities)[:, None, None]


class AtlopModule(nn.Module):
    """An encoder and a ``PairScorer``, which are there once the model is initialized or loaded.

    All parameters of the scorer have "pair_head" in their names, so that an optimizer can give
    them a rate of their own.
    """

    def __init__(self, settings: AtlopSettings):
        super().__init__()
        self.settings = settings
        self.encoder = OwnEncoder(attention="eager", mixed_precision=settings.mixed_precision)
        self.register_module("pair_head", None)
        self.n_predicates = 0
        self.cutter: Any = None

    @property
    def sizes(self) -> Dict[str, Any]:
        return {"n_predicates": self.n_predicates}

    def build(self, n_predicates: int) -> None:
        """Make the scorer anew, and read the encoder if there is none yet.

        Raises ValueError where the encoder cannot be read, or its tokenizer cannot be used.
        """
        own = self.settings
        if not self.encoder.is_loaded:
            self.encoder.load(own.name, own.tokenizer_config, own.transformer_config, [own.marker])
        self.cutter = WindowCutter(self.encoder.tokenizer, own.window, self.encoder.max_pieces)
        self.n_predicates = n_predicates
        self.pair_head = PairScorer(
            self.encoder.width, n_predicates, own.hidden_size, own.block_size
        )

    def prepare(self, docs: Sequence[Doc], candidates: PairCandidates) -> AtlopInput:
        """Mark and cut documents that have candidate pairs."""
        if self.settings.one_mention_per_entity:
            each = numpy.arange(len(candidates.mentions))
            candidates = replace(candidates, entities=each)
        marker = self.encoder.tokenizer.convert_tokens_to_ids(self.settings.marker)
        windows = marked_windows(self.cutter, marker, docs, candidates)
        pairs, rows = candidates.entity_pairs()
        return AtlopInput(windows, candidates.mention_docs, candidates.entities, pairs, rows)

    def forward(self, batch: AtlopInput) -> Tensor:
        """RETURNS: float32, (pairs, predicates): logits minus that of TH."""
        mention_docs, entities, own = batch.mention_docs, batch.entities, self.settings
        encoded = encode_marked(self.encoder, batch.windows, mention_docs, own.max_batch_pieces)
        run = recompute if self.training and len(batch.pairs) > own.chunk_size else call
        scores = []
        for number, (states, attention) in encoded.items():
            device = states.device
            mentions = numpy.flatnonzero(mention_docs == number)
            begin, end = entities[mentions].min(), entities[mentions].max() + 1
            local = torch.from_numpy(entities[mentions] - begin).to(device)
            markers = torch.from_numpy(batch.windows.markers[mentions]).to(device)
            vectors = pool_mentions(states[markers], local, int(end - begin))
            attention = average_mentions(attention, local, int(end - begin))
            first, last = numpy.searchsorted(batch.pairs[:, 0], [begin, end])
            pairs = torch.from_numpy(batch.pairs[first:last] - begin).to(device)
            scores += [
                run(self.pair_head, states, vectors, attention, chunk)
                for chunk in pairs.split(own.chunk_size)
            ]
        return torch.cat(scores)[torch.from_numpy(batch.rows).to(scores[0].device)]
