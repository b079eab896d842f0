"""Span recognition by scoring spans: each span up to a width, for each label on its own."""

from typing import Any, Callable, List, Optional, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .flat_vectors import flat_vectors, width_of
from .forking import limit_threads_after_fork
from .listener import watch_gradient
from .pointer_head import Overlap, PointerHead, PointerScores, room
from .pointer_losses import PointerLoss
from .pointer_module import PointerInput, PointerModule, pointer_layer, pointer_module
from .sized_modules import built_module
from .span_head import SPAN_HEAD, TEMPERATURE, temperature_of


def SpanPointer_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    max_width: int = 16,
    hidden_size: int = 128,
    rank: int = 64,
    dropout: float = 0.1,
    loss: PointerLoss = "bce",
    overlap: Overlap = "any",
    min_score: float = 0.5,
    chunk_size: int = 16384,
) -> Model[List[Doc], PointerScores]:
    """Create the architecture ``spacy_bioie.SpanPointer.v1``.

    It scores each span up to a width for each label on its own, so that spans of one label may
    nest too; see ``pointer_module.PointerModule``. No span leaves its section. The model's
    attribute "temperature" (1 by default, saved with the model) divides the scores before they
    become probabilities.

    tok2vec: one vector for each token.
    max_width: widest span in words, that is tokens without white space. Time and memory grow with
        words x max_width x labels.
    hidden_size: width of the layer with GELU before the starts and that before the ends.
    rank: factors of the product of start and end.
    dropout: of the word vectors and of the hidden layers, in training.
    loss: "bce", binary cross-entropy; or "zlpr", the loss of Global Pointer, in which the
        mentions of a label weigh as much as the many spans that are none.
    overlap: which spans may be found together: "any"; "nested", where spans that cross the better
        one are left out; or "flat", where all are that overlap the better one.
    min_score: spans with a lower probability are no candidates: the component's thresholds can
        only leave out more. A low one leaves a search of thresholds more to choose from.
    chunk_size: so many spans are computed at a time. In training, a batch with more of them keeps
        no products but computes them again for the gradient, one chunk at a time; memory grows
        with the number of spans by little more than their scores.

    Raises ValueError where a setting has none of these values.
    """
    for name, size in (
        ("max_width", max_width),
        ("hidden_size", hidden_size),
        ("rank", rank),
        ("chunk_size", chunk_size),
    ):
        if size < 1:
            raise ValueError(f"SpanPointer: {name} is {size}, expected 1 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"SpanPointer: dropout is {dropout}, expected at least 0 and below 1.")
    if loss not in ("bce", "zlpr"):
        raise ValueError(f"SpanPointer: loss is {loss!r}, expected 'bce' or 'zlpr'.")
    if overlap not in ("any", "nested", "flat"):
        raise ValueError(
            f"SpanPointer: overlap is {overlap!r}, expected 'any', 'nested' or 'flat'."
        )
    if not 0.0 < min_score <= 1.0:
        raise ValueError(f"SpanPointer: min_score is {min_score}, expected a probability above 0.")
    limit_threads_after_fork()
    tok2vec = watch_gradient(tok2vec)
    head = pointer_layer(PointerModule(max_width, hidden_size, rank, dropout, chunk_size))
    return Model(
        "span_pointer",
        forward,
        init=init,
        layers=[tok2vec, head],
        refs={"tok2vec": tok2vec, "head": head},
        dims={"nO": None},
        attrs={
            SPAN_HEAD: PointerHead(max_width, loss, overlap, min_score),
            TEMPERATURE: 1.0,
        },
    )


def init(model: Model, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Size the head by the vectors of ``tok2vec`` and by the dimension ``nO``, the labels."""
    width = width_of(model, X, "SpanPointer")
    pointer_module(model.get_ref("head")).build(width, model.get_dim("nO"))


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[PointerScores, Callable[[PointerScores], List[Doc]]]:
    head = model.get_ref("head")
    module: PointerModule = built_module(head, "SpanPointer")
    temperature = temperature_of(model)
    words = model.attrs[SPAN_HEAD].sequences(docs)
    flat, backprop_tokens = flat_vectors(model, docs, module.width, is_train)
    rows = model.ops.asarray1i(words.token_rows)
    logits, backprop_head = head(PointerInput(flat[rows], room(words)), is_train)

    def backprop(d_scores: PointerScores) -> List[Doc]:
        d_flat = model.ops.xp.zeros_like(flat)
        d_flat[rows] = backprop_head(d_scores.logits)
        return backprop_tokens(d_flat)

    return PointerScores(words, logits, temperature), backprop
