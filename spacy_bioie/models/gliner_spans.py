"""Span recognition by GLiNER (Zaratiana et al. 2024), which reads the labels beside the text."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import torch
from spacy.tokens import Doc
from thinc.api import Model
from torch import Tensor

from .forking import limit_threads_after_fork
from .gliner_files import GlinerSettings, import_gliner
from .gliner_module import GlinerInput, GlinerModule, gliner_layer
from .pointer_head import Overlap, PointerHead, PointerScores, gold_cells
from .pointer_losses import GoldSpans, weighted_mean
from .sized_modules import build_parameters, built_module
from .span_head import LABELS, SPAN_HEAD, TEMPERATURE, GoldBatch, temperature_of


def GLiNER_v1(
    name: str,
    prompts: Optional[Dict[str, str]] = None,
    max_width: int = 12,
    hidden_size: int = 512,
    dropout: float = 0.4,
    focal_alpha: float = -1.0,
    focal_gamma: float = 0.0,
    overlap: Overlap = "nested",
    min_score: float = 0.5,
    window: int = 512,
    max_batch_pieces: int = 4096,
    mixed_precision: bool = False,
) -> Model[List[Doc], PointerScores]:
    """Create the architecture ``spacy_bioie.GLiNER.v1``, which needs the package ``gliner``.

    An encoder of its own reads all labels and then the words; a span's score is the product of
    its vector with that of a label. So a pretrained GLiNER knows labels that it was not trained
    with: a pipeline that is initialized with labels finds their mentions before any training.
    No span leaves its section. Model, collator and loss are the package's; what is found may
    overlap as in ``spacy_bioie.SpanPointer.v1``.

    name: of a saved GLiNER, one that reads labels and text with one encoder and scores spans, or
        of an encoder from which a new one is made: a folder, a name on a model hub, or
        ``package:`` with a folder inside an installed Python package. Not needed any more once the
        pipeline is saved. The package runs code that comes with an encoder on a hub.
    prompts: label -> what is read in its place, such as a name for an abbreviation.
    max_width: widest span in words, that is tokens without white space. Time and memory grow with
        words x max_width. Where the weights of a saved GLiNER depend on it, it has to be theirs.
    hidden_size, dropout: of a new GLiNER; a saved one keeps its own.
    focal_alpha, focal_gamma: of the focal loss; -1 and 0 make it binary cross-entropy.
    overlap: "any", "nested" (``flat_ner=False`` and ``multi_label=True`` in ``gliner``) or "flat".
    min_score: spans with a lower probability are no candidates.
    window: word pieces that are read at once, labels and special tokens included; at most what the
        encoder takes, and no more of the text than the ``max_len`` of a saved GLiNER. Longer
        sections are read in windows that overlap by half, so that nothing is truncated.
    max_batch_pieces: padded word pieces of one pass. In training, a batch that needs several
        passes computes each again for its gradient, so that memory grows with one pass.
    mixed_precision: compute in bfloat16 where the hardware has instructions for it.

    Raises ValueError where a setting is out of its range.
    """
    for setting, size in (
        ("max_width", max_width),
        ("hidden_size", hidden_size),
        ("window", window),
        ("max_batch_pieces", max_batch_pieces),
    ):
        if size < 1:
            raise ValueError(f"GLiNER: {setting} is {size}, expected 1 or more.")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"GLiNER: dropout is {dropout}, expected at least 0 and below 1.")
    if focal_alpha > 1.0 or focal_gamma < 0.0:
        raise ValueError(
            f"GLiNER: focal_alpha is {focal_alpha} and focal_gamma is {focal_gamma}, expected at "
            "most 1 (below 0: not used) and at least 0."
        )
    if overlap not in ("any", "nested", "flat"):
        raise ValueError(f"GLiNER: overlap is {overlap!r}, expected 'any', 'nested' or 'flat'.")
    if not 0.0 < min_score <= 1.0:
        raise ValueError(f"GLiNER: min_score is {min_score}, expected a probability above 0.")
    limit_threads_after_fork()
    settings = GlinerSettings(
        name=name,
        prompts=dict(prompts or {}),
        max_width=max_width,
        hidden_size=hidden_size,
        dropout=dropout,
        window=window,
        max_batch_pieces=max_batch_pieces,
        mixed_precision=mixed_precision,
    )
    layer = gliner_layer(GlinerModule(settings))
    return Model(
        "gliner",
        forward,
        init=init,
        layers=[layer],
        refs={"head": layer},
        dims={"nO": None},
        attrs={
            SPAN_HEAD: GlinerHead(max_width, overlap, min_score, focal_alpha, focal_gamma),
            TEMPERATURE: 1.0,
            LABELS: [],
        },
    )


class GlinerHead(PointerHead):
    """The focal loss of ``gliner``; decoding as for the span pointer."""

    def __init__(
        self, max_width: int, overlap: Overlap, min_score: float, alpha: float, gamma: float
    ):
        super().__init__(max_width, "bce", overlap, min_score)
        self.alpha = alpha
        self.gamma = gamma

    def prepare(self, model: Model, batches: Iterable[GoldBatch]) -> int:
        """Count the mentions that cannot be learned; nothing is set."""
        lost = 0
        for docs, gold in batches:
            _, kept = gold_cells(self.sequences(docs), gold, self.max_width)
            lost += sum(int((~mask).sum()) for mask in kept)
        return lost

    def mean_loss(self, scores: Tensor, gold: GoldSpans) -> Tensor:
        """Summed over spans and labels and divided by the number of words, as the other losses."""
        import_gliner()
        from gliner.modeling.loss_functions import focal_loss_with_logits

        target = torch.zeros_like(scores)
        target[gold.cells] = 1.0
        weights = gold.doc_weights[:, None, None].expand(scores.shape).contiguous()
        weights[gold.cells] *= gold.label_weights[gold.cells[2]]
        read = scores.isfinite()
        losses = focal_loss_with_logits(
            scores[read], target[read], alpha=self.alpha, gamma=self.gamma
        )
        return weighted_mean((losses * weights[read]).sum(), gold.doc_weights)


def init(model: Model, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Read the model, if there is none yet; the labels have to be set before.

    Raises ValueError where they are not, where ``prompts`` names another label or is the same for
    two, and as ``GlinerModule.build``.
    """
    layer = model.get_ref("head")
    labels, prompts = model.attrs[LABELS], layer.shims[0]._model.settings.prompts
    if not labels:
        raise ValueError(
            "spacy_bioie.GLiNER.v1 does not know the labels: expected its attribute 'labels' to be "
            "set, as a nested_spancat does."
        )
    unknown = sorted(set(prompts) - set(labels))
    if unknown:
        raise ValueError(
            f"GLiNER: prompts are set for {unknown}, which are no labels. Expected some of "
            f"{list(labels)}."
        )
    read = [prompts.get(label, label) for label in labels]
    if len(set(read)) < len(read):
        raise ValueError(f"GLiNER: two labels are read alike, expected each its own: {read}.")
    build_parameters(layer, read)


def forward(
    model: Model, docs: List[Doc], is_train: bool
) -> Tuple[PointerScores, Callable[[PointerScores], List[Doc]]]:
    layer = model.get_ref("head")
    built_module(layer, "GLiNER")
    head = model.attrs[SPAN_HEAD]
    temperature = temperature_of(model)
    words = head.sequences(docs)
    if not len(words.token_rows):
        none = model.ops.alloc3f(0, head.max_width, model.get_dim("nO"))
        return PointerScores(words, none, temperature), lambda d_scores: docs
    texts = [token.text for doc in docs for token in doc if not token.is_space]
    logits, backprop_layer = layer(GlinerInput(texts, words.lengths), is_train)

    def backprop(d_scores: PointerScores) -> List[Doc]:
        backprop_layer(d_scores.logits)
        return docs

    return PointerScores(words, logits, temperature), backprop
