"""Relation scores from an encoder that reads each candidate pair in an input of its own."""

from typing import Any, Dict, Literal, Optional

from thinc.api import Model
from thinc.types import Floats2d

from .candidates import PairInput
from .marker_module import MarkerModule, MarkerSettings
from .own_pair_model import own_pair_model


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
    return own_pair_model("marker_classifier", "MarkerClassifier", MarkerModule(settings))
