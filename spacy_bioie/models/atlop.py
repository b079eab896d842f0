"""Relation scores by ATLOP, with an encoder of its own over documents with marked mentions."""

from typing import Any, Dict, Optional

from thinc.api import Model
from thinc.types import Floats2d

from .atlop_module import AtlopModule, AtlopSettings
from .candidates import PairInput
from .own_pair_model import own_pair_model


def ATLOP_v1(
    name: str,
    one_mention_per_entity: bool = False,
    marker: str = "*",
    window: int = 512,
    hidden_size: int = 768,
    block_size: int = 64,
    chunk_size: int = 512,
    max_batch_pieces: int = 4096,
    mixed_precision: bool = False,
    tokenizer_config: Optional[Dict[str, Any]] = None,
    transformer_config: Optional[Dict[str, Any]] = None,
) -> Model[PairInput, Floats2d]:
    """Create the architecture ``spacy_bioie.ATLOP.v1`` (Zhou et al., AAAI 2021).

    It maps documents and their candidate pairs to logits of shape (pairs, predicates): a
    predicate's logit minus that of the threshold class TH, so that the probability .5 is the
    adaptive threshold. It learns with the loss ``spacy_bioie.AdaptiveThreshold.v1``.

    A document is encoded as a whole, with markers around its mentions. An entity is log(sum(exp))
    over the states of its mentions' start markers; a pair adds the states of what both of its
    entities attend to in the encoder's last layer. Pairs of mentions of the same two entities
    have the same logits. A document longer than a window becomes windows that overlap by about
    half, in which states and attentions are averaged; nothing is truncated.

    name: a folder, a name on a model hub, or ``package:`` with a folder inside an installed
        Python package. Not needed any more once the pipeline is saved.
    one_mention_per_entity: each mention is an entity of its own, whatever its concept.
    marker: stands before and behind each mention; becomes a piece of the vocabulary, where it is
        none.
    window: word pieces of a window, special tokens and markers included; at most what the
        encoder takes.
    hidden_size: width of the head and tail layers. block_size: of the blocks of the bilinear
        layer, which has hidden_size * block_size inputs.
    chunk_size: so many pairs are computed at a time. In training, a batch with more of them keeps
        nothing of a chunk but computes it again for the gradient.
    max_batch_pieces: padded word pieces of one pass through the encoder. In training, a batch
        with more of them keeps nothing of a pass but computes it again for the gradient.
    mixed_precision: run the encoder in bfloat16 where the hardware has instructions for it.
    tokenizer_config, transformer_config: settings that replace those of the tokenizer, which has
        to be a fast one, and those in the encoder's own config.

    Raises ValueError where a setting is out of its range.
    """
    settings = AtlopSettings(
        name=name,
        one_mention_per_entity=one_mention_per_entity,
        marker=marker,
        window=window,
        hidden_size=hidden_size,
        block_size=block_size,
        chunk_size=chunk_size,
        max_batch_pieces=max_batch_pieces,
        mixed_precision=mixed_precision,
        tokenizer_config=dict(tokenizer_config or {}),
        transformer_config=dict(transformer_config or {}),
    )
    settings.check()
    return own_pair_model("atlop", "ATLOP", AtlopModule(settings))
