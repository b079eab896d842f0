"""Relation scores from an encoder that reads each candidate pair in an input of its own."""

from io import BytesIO
from typing import Any, Callable, Dict, Literal, Optional, Tuple

import srsly
import torch
from thinc.api import Model, PyTorchWrapper_v3
from thinc.types import ArgsKwargs, Floats2d

from .marker_module import MarkerInput, MarkerModule, MarkerSettings
from .pair_classifier import PairInput


def MarkerClassifier_v1(
    name: str,
    form: Literal["markers", "cross_encoder"] = "markers",
    max_length: int = 512,
    batch_pieces: int = 4096,
    hidden_size: int = 0,
    dropout: float = 0.1,
    type_constraint: bool = True,
    mixed_precision: bool = False,
    tokenizer_config: Optional[Dict[str, Any]] = None,
    transformer_config: Optional[Dict[str, Any]] = None,
) -> Model[PairInput, Floats2d]:
    """Create the architecture ``spacy_bioie.MarkerClassifier.v1``.

    It maps documents and their candidate pairs to logits of shape (pairs, predicates). An encoder
    of its own reads each pair by itself, so the cost grows with the number of pairs; the settings
    ``negatives`` and ``max_distance`` of ``relation_extractor`` keep it in bounds.

    name: a folder, a name on a model hub, or ``package:`` with a folder inside an installed
        Python package. Not needed any more once the pipeline is saved.
    form: "markers" reads the text with a marker before and after the head and the tail, and
        scores all predicates from the vectors of the markers before them, as Gut-Instincts did
        at GutBrainIE 2025. They truncated texts; here a text that is too long is cut to what is
        near the mentions, see ``pair_windows.choose_text``.
        "cross_encoder" reads head, predicate and tail, then the sentences from one mention to
        the other, and scores this predicate from the vector of the first piece, as LYX_DMIIP_FDU
        did there.
    max_length: word pieces of an input; at most what the encoder takes.
    batch_pieces: padded word pieces of one pass through the encoder. Memory grows with it, in
        training too, and hardly with the number of pairs.
    hidden_size: of a hidden layer before the scores; 0 for none.
    dropout: of the vectors and of the hidden layer, in training.
    type_constraint: score only the predicates that are legal for the labels of a pair. Others get
        a logit that no threshold lets through, and a cross-encoder does not read them.
    mixed_precision: run the encoder in bfloat16 where the hardware has instructions for it.
    tokenizer_config, transformer_config: settings that replace those of the tokenizer, which has
        to be a fast one, and those in the encoder's own config.

    Raises ValueError where a setting is out of its range.
    """
    settings = MarkerSettings(
        name=name,
        form=form,
        max_length=max_length,
        batch_pieces=batch_pieces,
        hidden_size=hidden_size,
        dropout=dropout,
        type_constraint=type_constraint,
        mixed_precision=mixed_precision,
        tokenizer_config=dict(tokenizer_config or {}),
        transformer_config=dict(transformer_config or {}),
    )
    settings.check()
    scorer: Model = PyTorchWrapper_v3(
        MarkerModule(settings),
        convert_inputs=_convert_inputs,
        serialize_model=_serialize,
        deserialize_model=_deserialize,
    )
    return Model(
        "marker_classifier",
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
            "MarkerClassifier: predicates are unknown. Expected example documents with their "
            "candidate pairs to initialize with."
        )
    _, candidates = X
    shim: Any = model.get_ref("scorer").shims[0]
    device = shim.device  # the default one while there are no parameters
    module: MarkerModule = shim._model
    module.build(candidates.n_predicates, candidates.predicates)
    module.to(device)
    model.set_dim("nO", candidates.n_predicates, force=True)


def forward(
    model: Model, X: PairInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], PairInput]]:
    docs, candidates = X
    scorer = model.get_ref("scorer")
    module: MarkerModule = scorer.shims[0]._model
    if not module.n_predicates:
        raise ValueError(
            "MarkerClassifier: the model has no parameters yet, initialize or load it first."
        )
    if not len(candidates.pairs):
        return model.ops.alloc2f(0, module.n_predicates), lambda d_logits: X
    logits, backprop_scorer = scorer(module.prepare(docs, candidates), is_train)

    def backprop(d_logits: Floats2d) -> PairInput:
        backprop_scorer(d_logits)
        return X

    return logits, backprop


def _convert_inputs(
    model: Model, X: MarkerInput, is_train: bool
) -> Tuple[ArgsKwargs, Callable[[ArgsKwargs], None]]:
    # plain arrays, no gradient goes back to them
    return ArgsKwargs(args=(X,), kwargs={}), lambda d_inputs: None


def _serialize(module: MarkerModule) -> bytes:
    stored: Dict[str, Any] = {
        "n_predicates": module.n_predicates,
        "predicates": module.predicates,
        "encoder": module.encoder.to_bytes(),
    }
    if module.n_predicates:
        buffer = BytesIO()
        torch.save(module.pair_head.state_dict(), buffer)
        stored["pair_head"] = buffer.getvalue()
    return srsly.msgpack_dumps(stored)


def _deserialize(module: MarkerModule, data: bytes, device: torch.device) -> MarkerModule:
    stored = srsly.msgpack_loads(data)
    module.encoder.from_bytes(stored["encoder"])
    if stored["n_predicates"]:
        module.build(stored["n_predicates"], stored["predicates"])
        state = torch.load(BytesIO(stored["pair_head"]), map_location="cpu", weights_only=True)
        module.pair_head.load_state_dict(state)
    return module.to(device)
