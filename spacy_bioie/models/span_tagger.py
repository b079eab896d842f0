"""Span recognition by tagging words, over one chain of tags or one for each label."""

from typing import Any, Callable, List, Optional, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .flat_vectors import flat_vectors, width_of
from .forking import limit_threads_after_fork
from .listener import watch_gradient
from .losses import CrfLikelihood, TokenCrossEntropy
from .sized_modules import built_module
from .span_head import SPAN_HEAD, TEMPERATURE, temperature_of
from .tag_schemes import N_ROLES, Scheme
from .tagger_head import TaggerHead, TagScores
from .tagger_module import (
    Chains,
    Decoder,
    TaggerInput,
    TaggerModule,
    TaggerSettings,
    tagger_layer,
    tagger_module,
)


def SpanTagger_v1(
    tok2vec: Model[List[Doc], List[Floats2d]],
    chains: Chains = "joint",
    decoder: Decoder = "crf",
    hidden_size: int = 0,
    dropout: float = 0.1,
    max_length: int = 1024,
    n_layers: int = 1,
    lstm_size: int = 0,
    scheme: Scheme = "BIO",
    loss: Any = None,
) -> Model[List[Doc], TagScores]:
    """Create the architecture ``spacy_bioie.SpanTagger.v1``.

    tok2vec: one vector for each token.
    chains: "joint", one chain of tags over all labels, so that spans never overlap; or
        "per_label", a chain for each label, so that spans of different labels may overlap.
    decoder: "argmax", each word's best tag; or "crf", a linear-chain conditional random field with
        start, end and transition scores, one for each chain, in which illegal steps are barred,
        decoded with Viterbi.
    hidden_size: width of the hidden layers with GELU before the tag scores; 0 for none.
    dropout: of the word vectors and of the hidden layers, in training.
    max_length: longest sequence in words. Each section of a document is one sequence; a longer
        one is cut, after the end of a sentence where there is one.
    n_layers: number of hidden layers.
    lstm_size: width of each direction of an LSTM over the word vectors, which comes first, with
        GELU after it; 0 for none.
    scheme: "BIO", or "BIOES" with tags of their own for the last word of a span and for a span of
        one word.
    loss: one of ``spacy_bioie.models.losses``; by default the cross-entropy of each word's tag
        for "argmax", and the CRF's likelihood per word for "crf".

    The model's attribute "temperature" (1 by default, saved with the model) divides the scores
    before they become probabilities.

    Raises ValueError where a setting has none of these values, or where loss and decoder do not
    go together.
    """
    for name, value, known in (
        ("chains", chains, ("joint", "per_label")),
        ("decoder", decoder, ("argmax", "crf")),
        ("scheme", scheme, tuple(N_ROLES)),
    ):
        if value not in known:
            raise ValueError(
                f"SpanTagger: {name} is {value!r}, expected '{known[0]}' or '{known[1]}'."
            )
    for name, size, least in (
        ("hidden_size", hidden_size, 0),
        ("lstm_size", lstm_size, 0),
        ("n_layers", n_layers, 1),
        ("max_length", max_length, 2),
    ):
        if size < least:
            raise ValueError(f"SpanTagger: {name} is {size}, expected {least} or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"SpanTagger: dropout is {dropout}, expected at least 0 and below 1.")
    if loss is None:
        loss = CrfLikelihood("token") if decoder == "crf" else TokenCrossEntropy()
    if loss.uses_crf != (decoder == "crf"):
        raise ValueError(
            f"SpanTagger: the loss {type(loss).__name__} does not go with the decoder "
            f"'{decoder}'. Expected TokenCrossEntropy for 'argmax', and for 'crf' CrfLikelihood or "
            "AdaptiveMix, which train its transitions."
        )
    limit_threads_after_fork()
    tok2vec = watch_gradient(tok2vec)
    settings = TaggerSettings(
        chains, decoder, scheme, lstm_size, hidden_size, n_layers, dropout, loss.initial
    )
    head = tagger_layer(TaggerModule(settings))
    return Model(
        "span_tagger",
        forward,
        init=init,
        layers=[tok2vec, head],
        refs={"tok2vec": tok2vec, "head": head},
        dims={"nO": None},
        attrs={
            SPAN_HEAD: TaggerHead(chains, decoder, scheme, loss, max_length),
            TEMPERATURE: 1.0,
        },
    )


def init(model: Model, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Size the head by the vectors of ``tok2vec`` and by the dimension ``nO``, the labels."""
    width = width_of(model, X, "SpanTagger")
    tagger_module(model.get_ref("head")).build(width, model.get_dim("nO"))


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[TagScores, Callable[[TagScores], List[Doc]]]:
    head = model.get_ref("head")
    module: TaggerModule = built_module(head, "SpanTagger")
    temperature = temperature_of(model)
    words = model.attrs[SPAN_HEAD].sequences(docs)
    flat, backprop_tokens = flat_vectors(model, docs, module.width, is_train)
    rows = model.ops.asarray1i(words.token_rows)
    (emissions, *rest), backprop_head = head(TaggerInput(flat[rows], words.lengths), is_train)
    n_crf = 3 if module.settings.decoder == "crf" else 0

    def backprop(d_scores: TagScores) -> List[Doc]:
        d_words = backprop_head((d_scores.emissions, *d_scores.crf, *d_scores.learned))
        d_flat = model.ops.xp.zeros_like(flat)
        d_flat[rows] = d_words
        return backprop_tokens(d_flat)

    crf, learned = tuple(rest[:n_crf]), tuple(rest[n_crf:])
    scores = TagScores(words, module.n_labels, emissions, crf, learned, temperature)
    return scores, backprop
