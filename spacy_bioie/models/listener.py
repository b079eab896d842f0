"""Token vectors from the shared encoder."""

import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model, chain, reduce_mean
from thinc.types import Floats2d, Ragged

from .forking import limit_threads_after_fork
from .gradient_watch import GradientWatch
from .token_vectors import token_vectors

LISTENER = "spacy_bioie.TransformerListener.v1"
OWN_ENCODER = "spacy_bioie.Tok2VecTransformer.v1"


def TransformerListener_v1(
    pooling: Optional[Model[Ragged, Floats2d]] = None,
    grad_factor: float = 1.0,
    upstream: str = "*",
) -> Model[List[Doc], List[Floats2d]]:
    """Listen to a transformer component; one vector for each token.

    A token in two windows takes the vectors of its pieces from the window in which it lies
    farther from the edge, where its context is better, and sends its gradient there alone. A
    token without pieces (blanks) has zeros.

    pooling (Model[Ragged, Floats2d]): From the vectors of a token's pieces to one vector; their
        mean by default.
    grad_factor (float): Factor on the gradient that goes to the encoder; 0 freezes it with
        respect to this component.
    upstream (str): Name of the transformer component, or "*" for any.
    """
    from .transformer_listener import AddableTransformerListener  # needs spacy-transformers

    limit_threads_after_fork()
    listener = AddableTransformerListener(upstream_name=upstream)
    model: Model = chain(listener, token_vectors(pooling or reduce_mean(), grad_factor))
    model.set_ref("listener", listener)
    return model


def Tok2VecTransformer_v1(
    name: str,
    tokenizer_config: dict = {"use_fast": True},  # noqa: B006
    transformer_config: dict = {},  # noqa: B006
    mixed_precision: bool = False,
    grad_scaler_config: dict = {},  # noqa: B006
    window: int = 512,
    max_batch_pieces: int = 4096,
    pooling: Optional[Model[Ragged, Floats2d]] = None,
    grad_factor: float = 1.0,
    average_windows: bool = False,
    lora_rank: int = 0,
) -> Model[List[Doc], List[Floats2d]]:
    """An encoder that belongs to one component: what ``nlp.replace_listeners`` leaves.

    The settings of ``spacy_bioie.TransformerModel.v1`` and of its listener in one.
    average_windows (bool): Average over the windows of a token, as the listener of
        spacy-transformers does.
    """
    from spacy_transformers.layers import trfs2arrays

    from .windows import TransformerModel_v1

    encoder = TransformerModel_v1(
        name,
        tokenizer_config,
        transformer_config,
        mixed_precision,
        grad_scaler_config,
        window,
        max_batch_pieces,
        lora_rank,
    )
    own = encoder_of_its_own(encoder)
    vectors = trfs2arrays if average_windows else token_vectors
    model: Model = chain(own, vectors(pooling or reduce_mean(), grad_factor))
    model.set_ref("listener", own)
    return model


def encoder_of_its_own(encoder: Model) -> Model:
    """What stands in a component in place of its listener (``attrs["replace_listener"]``)."""
    from spacy_transformers.layers import split_trf_batch

    # No other component's gradient can get lost in it.
    encoder.attrs["is_shared"] = False
    return chain(encoder, split_trf_batch())


def encoder_of_its_own_config(encoder_config: dict, listener_config: dict) -> dict:
    """The config to go with it (``attrs["replace_listener_cfg"]``)."""
    # spaCy gives the layer around it, where there is one
    for section, key in listener_sections({"": listener_config}):
        listener_config = section[key]
        break
    config = {**encoder_config, "@architectures": OWN_ENCODER}
    for key in ("pooling", "grad_factor"):
        if key in listener_config:
            config[key] = listener_config[key]
    config["average_windows"] = listener_config.get("@architectures") != LISTENER
    return config


def listener_sections(config: Dict[str, Any]) -> Iterator[Tuple[Dict[str, Any], str]]:
    """Where in a config there are listeners: the section around each, and its key there."""
    for key, value in config.items():
        if isinstance(value, dict):
            if "Listener" in str(value.get("@architectures", "")):
                yield config, key
            else:
                yield from listener_sections(value)


class WatchedTok2VecListener(Tok2VecListener):
    """spaCy's listener, which notices when it is the last one and does not send its gradient.

    ``spacy_bioie.TransformerModel.v1`` notices that by itself; spaCy's tok2vec layers do not.
    """

    def __init__(self, upstream_name: str, width: int) -> None:
        super().__init__(upstream_name, width)
        self.gradient_watch = GradientWatch("tok2vec" if upstream_name == "*" else upstream_name)

    def receive(self, batch_id: int, outputs: List[Floats2d], backprop: Callable) -> None:
        # The component Tok2Vec calls this in each update, also where the listener's component is
        # frozen. The callback that goes on to the encoder is for the last listener alone, and
        # only its name tells it from that of the others.
        if backprop.__name__ == "backprop" and any(len(vectors) for vectors in outputs):
            self.gradient_watch.next_batch()
            self.gradient_watch.hand_out()
            backprop = self._watched(backprop)
        super().receive(batch_id, outputs, backprop)

    def _watched(self, backprop: Callable) -> Callable:
        def send(d_vectors: List[Floats2d]) -> Any:
            self.gradient_watch.receive()
            return backprop(d_vectors)

        return send


def watch_gradient(tok2vec: Model) -> Model:
    """Put a ``WatchedTok2VecListener`` in the place of spaCy's; other layers stay as they are."""
    if type(tok2vec) is not Tok2VecListener:
        return tok2vec
    return WatchedTok2VecListener(tok2vec.upstream_name, tok2vec.get_dim("nO"))


def require_encoder_output(model: Model, docs: Sequence[Doc], component: str) -> None:
    """Check that documents carry what the listeners in a model read.

    Without this, spaCy's listeners predict from zeros where it is missing.

    Raises ValueError, with the name of the component and the begin of the document, for a
    document with text whose encoder output is missing.
    """
    for listener in _listeners(model):
        transformer = not isinstance(listener, Tok2VecListener)
        for doc in docs:
            if _has_output(doc, transformer) or not doc.text.strip():
                continue
            where = "doc._.trf_data" if transformer else "doc.tensor"
            upstream: Any = listener
            name = upstream.upstream_name
            encoder = ("transformer" if transformer else "tok2vec") if name == "*" else name
            text = " ".join(doc.text.split())
            raise ValueError(
                f"Component '{component}' listens to '{encoder}', but the document "
                f"'{text[:60]}' carries no output of it ({where} is empty). Run the documents "
                f"through a pipeline in which '{encoder}' is enabled and stands before "
                f"'{component}'; put 'doc_cleaner' at the end; in training, name '{encoder}' in "
                "training.annotating_components as well."
            )


def _listeners(model: Model) -> Iterator[Model]:
    # Without the module of spacy-transformers there can be no listener of it.
    module = sys.modules.get("spacy_transformers.layers.listener")
    kinds: Any = (Tok2VecListener, module.TransformerListener) if module else Tok2VecListener
    for node in model.walk():
        if isinstance(node, kinds):
            yield node


def _has_output(doc: Doc, transformer: bool) -> bool:
    if transformer:
        data = doc._.trf_data if doc.has_extension("trf_data") else None
        return data is not None and "last_hidden_state" in data.model_output
    return doc.tensor is not None and doc.tensor.size > 0
