"""Relation scores by ATLOP, with an encoder of its own over documents with marked mentions."""

from io import BytesIO
from typing import Any, Callable, Dict, List, Optional, Tuple

import srsly
import torch
from spacy.tokens import Doc
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs, Floats2d

from .atlop_module import AtlopInput, AtlopModule, AtlopSettings
from .candidates import PairCandidates

PairInput = Tuple[List[Doc], PairCandidates]


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
    scorer: Model = PyTorchWrapper_v3(
        AtlopModule(settings),
        convert_inputs=_convert_inputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )
    return Model(
        "atlop",
        forward,
        init=init,
        layers=[scorer],
        refs={"scorer": scorer},
        dims={"nO": None},
    )


def init(model: Model, X: Optional[PairInput] = None, Y: Any = None) -> None:
    """Read the encoder, if there is none yet, and size the scorer by the predicates of ``X``.

    Raises ValueError where the encoder cannot be read or used.
    """
    if X is None:
        raise ValueError(
            "ATLOP: predicates are unknown. Expected example documents with their candidate pairs "
            "to initialize with."
        )
    _, candidates = X
    shim: Any = model.get_ref("scorer").shims[0]
    device = shim.device  # the default one while there are no parameters
    module: AtlopModule = shim._model
    module.build(candidates.n_predicates)
    module.to(device)
    model.set_dim("nO", candidates.n_predicates, force=True)


def forward(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], PairInput]]:
    docs, candidates = X
    scorer = model.get_ref("scorer")
    module: AtlopModule = scorer.shims[0]._model
    if not module.n_predicates:
        raise ValueError("ATLOP: the model has no parameters yet, initialize or load it first.")
    if not len(candidates.pairs):
        return model.ops.alloc2f(0, module.n_predicates), lambda d_logits: X
    logits, backprop_scorer = scorer(module.prepare(docs, candidates), is_train)

    def backprop(d_logits: Floats2d) -> PairInput:
        backprop_scorer(d_logits)
        return X

    return logits, backprop


def _convert_inputs(
    model: Model, X: AtlopInput, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], None]]:
    # plain arrays, no gradient goes back to them
    return ArgsKwargs(args=(X,), kwargs={}), lambda d_inputs: None


def _serialize(module: AtlopModule) -> bytes:
    stored: Dict[str, Any] = {
        "n_predicates": module.n_predicates,
        "encoder": module.encoder.to_bytes(),
    }
    if module.n_predicates:
        buffer = BytesIO()
        torch.save(module.pair_head.state_dict(), buffer)
        stored["pair_head"] = buffer.getvalue()
    return srsly.msgpack_dumps(stored)


def _deserialize(module: AtlopModule, data: bytes, device: torch.device) -> AtlopModule:
    stored = srsly.msgpack_loads(data)
    module.encoder.from_bytes(stored["encoder"])
    if stored["n_predicates"]:
        module.build(stored["n_predicates"])
        state = torch.load(BytesIO(stored["pair_head"]), map_location="cpu", weights_only=True)
        module.pair_head.load_state_dict(state)
    return module.to(device)
