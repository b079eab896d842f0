"""Training of an encoder on the mentions of several corpora, each with a head of its own.

What is annotated differs from corpus to corpus: a head for each lets them share an encoder without
calling a mention that one of them leaves out wrong (BERN2, Sung et al. 2022; several corpora in one
tagger: AIONER, HunFlair2).
"""

import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple, Union
from zlib import crc32

import numpy

from ..annotation import SPANS_KEY
from ..kb.name_encoders import load_encoder
from .encoder_steps import (
    StepSettings,
    check_output,
    checkpoint_of,
    run_steps,
    save_encoder,
    summary,
)
from .masked_language import Split, split_documents
from .packing import passes
from .tagged_pieces import NO_TAG, OUTSIDE, TaggedRows, pack_tagged, read_tagged

DEFAULTS = StepSettings(learn_rate=5e-5)


def adapt_mentions(
    corpora: Sequence[Union[str, Path]],
    output: Union[str, Path],
    encoder: str,
    *,
    spans_key: str = SPANS_KEY,
    window: int = 256,
    batch_size: int = 16,
    max_batch_pieces: int = 4096,
    epochs: int = 1,
    max_steps: int = 0,
    held_out: float = 0.02,
    settings: StepSettings = DEFAULTS,
) -> Dict[str, Any]:
    """Train an encoder to tag the mentions of corpora, and save it with its tokenizer.

    Over each corpus lies a linear layer with cross-entropy over the tags of word pieces; these
    heads are thrown away. A step is of one corpus; all windows of all corpora are seen in an epoch.

    corpora: .spacy files with mentions in ``doc.spans[spans_key]``.
    output: folder to write; one that holds an encoder is replaced when training is over.
    encoder: a folder, a name on the model hub, or ``package:PYTHON_PACKAGE/FOLDER``.
    window: word pieces of a window, at most what the model takes. Documents are joined and cut into
        windows; nothing of them is left out.
    batch_size: windows in a step. max_batch_pieces: padded word pieces of one pass, a step may have
        several.
    epochs: times that all windows are seen. max_steps: steps at most, 0 for all.
    held_out: part of the documents of each corpus that is measured on; 0 for none.
    settings: how it learns. A checkpoint is the file ``OUTPUT.checkpoint``.

    RETURNS: counts, the mean loss of each twentieth of the training, and for each corpus its labels
    and the micro-F1 of the tags of held-out pieces that are in a mention, "piece_f1".
    Raises ValueError for a setting out of its range, an encoder without a fast tokenizer and a
    corpus without mentions; FormatError and OSError as ``read_docbin``; and as ``run_steps``.
    """
    import torch
    from thinc.util import get_torch_default_device

    from ..models.windows import count_positions

    if min(window, batch_size, max_batch_pieces) < 1 or not corpora:
        raise ValueError(
            f"window is {window}, batch_size {batch_size}, max_batch_pieces {max_batch_pieces}, "
            f"corpora {list(corpora)}: expected at least 1, 1, 1 and one corpus."
        )
    if min(epochs, max_steps) < 0 or not (epochs or max_steps) or not 0.0 <= held_out < 1.0:
        raise ValueError(
            f"epochs is {epochs}, max_steps {max_steps}, held_out {held_out}: expected epochs or "
            "max_steps above 0, and a part from 0 to below 1."
        )
    settings.check()
    output = check_output(output)
    tokenizer, transformer = load_encoder(encoder)
    if not tokenizer.is_fast:
        raise ValueError(
            f"The encoder '{encoder}' has no fast tokenizer: expected one, since only these say "
            "where their pieces stand."
        )
    bounds = (window, count_positions(transformer), tokenizer.model_max_length)
    window = min(bound for bound in bounds if bound > 0)
    found = [read_tagged(path, tokenizer, spans_key) for path in corpora]
    splits = [
        _split(path, corpus.documents, held_out, settings.seed)
        for path, corpus in zip(corpora, found, strict=True)
    ]
    training = [pack_tagged(split.training, tokenizer, window) for split in splits]
    torch.manual_seed(settings.seed)  # of the heads
    device = get_torch_default_device()
    model = _tagger(transformer, [2 * len(corpus.labels) + 1 for corpus in found]).to(device)
    per_epoch = len(_batches(training, batch_size, settings.seed, 0))
    n_steps = min(filter(None, (epochs * per_epoch, max_steps)))

    def scores(corpus: int, tagged: TaggedRows, part: slice) -> Any:
        from ..models.half_precision import half_precision

        ids = torch.as_tensor(tagged.rows.ids[part].astype("int64"), device=device)
        attention = torch.as_tensor(tagged.rows.attention[part].astype("int64"), device=device)
        with half_precision(device, settings.mixed_precision):
            hidden = model["encoder"](input_ids=ids, attention_mask=attention).last_hidden_state
            return model["heads"][corpus](hidden).float()

    def loss_of_step(step: int) -> Iterator[Any]:
        epoch, place = divmod(step, per_epoch)
        corpus, rows = _batches(training, batch_size, settings.seed, epoch)[place]
        batch = training[corpus].take(rows)
        n = int(batch.rows.text.sum())
        for part in passes(batch.rows, max_batch_pieces):
            gold = torch.as_tensor(batch.tags[part], device=device)
            yield (
                torch.nn.functional.cross_entropy(
                    scores(corpus, batch, part).flatten(0, 1),
                    gold.flatten(),
                    ignore_index=NO_TAG,
                    reduction="sum",
                )
                / n
            )

    def piece_f1(corpus: int) -> float:
        apart = pack_tagged(splits[corpus].held_out, tokenizer, window)
        with torch.no_grad():
            parts = passes(apart.rows, max_batch_pieces)
            tags = numpy.concatenate(
                [scores(corpus, apart, part).argmax(dim=2).cpu().numpy() for part in parts]
            )
        text = apart.rows.text
        right = (tags == apart.tags) & (apart.tags != OUTSIDE) & text
        marked = sum(int((x[text] != OUTSIDE).sum()) for x in (tags, apart.tags))
        return round(2 * float(right.sum()) / marked, 4) if marked else 0.0

    begin = time.perf_counter()
    losses = run_steps(
        model,
        loss_of_step,
        n_steps,
        settings,
        checkpoint=checkpoint_of(output),
        identity={
            **{"encoder": encoder, "window": window, "batch_size": batch_size},
            **{"learn_rate": settings.learn_rate, "warmup": settings.warmup},
            **{"weight_decay": settings.weight_decay, "seed": settings.seed},
            "windows": " ".join(
                f"{len(t.rows.ids)} ({crc32(t.rows.ids.tobytes() + t.tags.tobytes()):08x})"
                for t in training
            ),
        },
        desc="Adapting to mentions",
    )
    model.eval()
    figures = [
        {
            "corpus": str(path),
            "documents": len(corpus.documents),
            "held_out_documents": len(split.held_out),
            "mentions": corpus.n_mentions,
            "labels": corpus.labels,
            "piece_f1": piece_f1(i) if split.held_out else None,
        }
        for i, (path, corpus, split) in enumerate(zip(corpora, found, splits, strict=True))
    ]
    save_encoder(output, model["encoder"], tokenizer)
    return {
        "corpora": figures,
        "pieces": sum(int(tagged.rows.text.sum()) for tagged in training),
        "window": window,
        "windows": sum(len(tagged.rows.ids) for tagged in training),
        "steps": len(losses),
        "losses": summary(losses),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _split(
    path: Union[str, Path], documents: List[numpy.ndarray], held_out: float, seed: int
) -> Split:
    try:
        return split_documents(documents, held_out, seed)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None


def _tagger(transformer: Any, n_tags: Sequence[int]) -> Any:
    """The transformer and a linear layer for each corpus."""
    from torch import nn

    width = int(transformer.config.hidden_size)
    heads = nn.ModuleList(nn.Linear(width, n) for n in n_tags)
    return nn.ModuleDict({"encoder": transformer, "heads": heads})


def _batches(
    training: Sequence[TaggedRows], batch_size: int, seed: int, epoch: int
) -> List[Tuple[int, numpy.ndarray]]:
    """The batches of an epoch in order: a corpus, and rows of it."""
    generator = numpy.random.default_rng([seed, epoch])
    batches = []
    for corpus, tagged in enumerate(training):
        order = generator.permutation(len(tagged.rows.ids))
        batches += [
            (corpus, order[begin : begin + batch_size])
            for begin in range(0, len(order), batch_size)
        ]
    return [batches[i] for i in generator.permutation(len(batches))]
