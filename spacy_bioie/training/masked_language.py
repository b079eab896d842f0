"""Training of an encoder on raw text of its domain, by masked pieces (Devlin et al. 2019; for
domains Gururangan et al. 2020; Graphwise at GutBrainIE 2025)."""

import math
import random
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Union
from zlib import crc32

import numpy

from .encoder_steps import (
    StepSettings,
    check_output,
    checkpoint_of,
    run_steps,
    save_encoder,
    summary,
)
from .packing import Masked, Rows, mask, pack, passes, read_pieces
from .raw_texts import read_raw_texts, text_files

DEFAULTS = StepSettings(learn_rate=5e-5)
MOST_HELD_OUT = 2000
_EVALUATION = 2**31  # apart from the number of any step


def adapt_encoder(
    texts: Union[str, Path, Sequence[Union[str, Path]]],
    output: Union[str, Path],
    encoder: str,
    *,
    window: int = 512,
    batch_size: int = 32,
    max_batch_pieces: int = 4096,
    epochs: int = 1,
    max_steps: int = 0,
    mask_part: float = 0.15,
    held_out: float = 0.02,
    lora_rank: int = 0,
    settings: StepSettings = DEFAULTS,
) -> Dict[str, Any]:
    """Train an encoder to tell masked pieces of raw text, and save it with its tokenizer.

    A class of encoders that has a head for masked text is saved with it, so that it can be trained
    further; ``AutoModel`` reads the encoder alone. Where the checkpoint has no weights of a head
    (sentence encoders such as MiniLM, ELECTRA's discriminators, T5), it is drawn at random and tied
    to the embeddings; what perplexity falls by is then mostly what the head learns.

    texts: files or folders, see ``read_raw_texts``. Documents are joined and cut into windows;
        nothing of them is left out.
    output: folder to write; one that holds an encoder is replaced when training is over.
    encoder: a folder, a name on the model hub, or ``package:PYTHON_PACKAGE/FOLDER``.
    window: word pieces of a window, at most what the model takes.
    batch_size: windows in a step. max_batch_pieces: padded word pieces of one pass, a step may have
        several.
    epochs: times that all windows are seen. max_steps: steps at most, 0 for all.
    mask_part: of the pieces that is masked.
    held_out: part of the documents (2,000 at most) that perplexity is measured on; 0 for none.
    lora_rank: above 0, only low-rank additions to the attention matrices learn, and the head; they
        are added to the matrices at the end.
    settings: how it learns. A checkpoint is the file ``OUTPUT.checkpoint``.

    RETURNS: counts, the mean loss of each twentieth of the training, and the perplexity of the
    masked pieces of the held-out documents before and after.
    Raises ValueError for a setting out of its range, and where there is no text, ImportError for
    LoRA without ``peft``; FormatError and OSError as ``read_raw_texts``; and as ``run_steps``.
    """
    import torch
    from thinc.util import get_torch_default_device

    from ..models.lora import add_lora, merge_lora
    from ..models.windows import count_positions
    from .masked_encoder import load_masked_encoder, mask_piece

    if min(window, batch_size, max_batch_pieces) < 1 or lora_rank < 0:
        raise ValueError(
            f"window is {window}, batch_size {batch_size}, max_batch_pieces {max_batch_pieces}, "
            f"lora_rank {lora_rank}: expected at least 1, 1, 1 and 0."
        )
    if min(epochs, max_steps) < 0 or not (epochs or max_steps):
        raise ValueError(
            f"epochs is {epochs} and max_steps {max_steps}: expected one of them above 0."
        )
    if not 0.0 < mask_part < 1.0 or not 0.0 <= held_out < 1.0:
        raise ValueError(
            f"mask_part is {mask_part} and held_out {held_out}: expected parts below 1, mask_part "
            "above 0."
        )
    settings.check()
    output = check_output(output)
    files = text_files([texts] if isinstance(texts, (str, Path)) else texts)
    torch.manual_seed(settings.seed)  # of a fresh head
    model, tokenizer = load_masked_encoder(encoder)
    documents = _read(files, tokenizer, settings.progress)
    split = split_documents(documents, held_out, settings.seed)
    bounds = (window, count_positions(model.encoder), tokenizer.model_max_length)
    window = min(bound for bound in bounds if bound > 0)
    rows = pack(split.training, tokenizer, window)
    device = get_torch_default_device()
    hider = _Hider(tokenizer, mask_piece(tokenizer), mask_part)
    if lora_rank:
        add_lora(model.encoder, lora_rank)
    model.to(device)
    per_epoch = -(-len(rows.ids) // batch_size)
    n_steps = min(filter(None, (epochs * per_epoch, max_steps)))

    def loss_of_step(step: int) -> Iterator[Any]:
        epoch, place = divmod(step, per_epoch)
        order = numpy.random.default_rng([settings.seed, epoch]).permutation(len(rows.ids))
        batch = rows.take(order[place * batch_size : (place + 1) * batch_size])
        masked = hider.hide(batch, settings.seed, step)
        n_masked = int(masked.chosen.sum())
        for part in passes(batch, max_batch_pieces):
            yield _loss(model, batch, masked, part, device, settings.mixed_precision) / n_masked

    def perplexity() -> Optional[float]:
        if not split.held_out:
            return None
        apart = pack(split.held_out, tokenizer, window)
        masked = hider.hide(apart, settings.seed, _EVALUATION)
        model.eval()
        with torch.no_grad():
            total = sum(
                float(_loss(model, apart, masked, part, device, settings.mixed_precision))
                for part in passes(apart, max_batch_pieces)
            )
        return round(math.exp(total / int(masked.chosen.sum())), 3)

    begin = time.perf_counter()
    before = perplexity()
    losses = run_steps(
        model,
        loss_of_step,
        n_steps,
        settings,
        checkpoint=checkpoint_of(output),
        identity={
            **{"encoder": encoder, "window": window, "batch_size": batch_size},
            **{"mask_part": mask_part, "lora_rank": lora_rank, "seed": settings.seed},
            **{"learn_rate": settings.learn_rate, "warmup": settings.warmup},
            "weight_decay": settings.weight_decay,
            "windows": f"{len(rows.ids)} ({crc32(rows.ids.tobytes()):08x})",
        },
        desc="Adapting the encoder",
    )
    merge_lora(model.encoder)
    after = perplexity()
    save_encoder(output, model, tokenizer)
    return {
        "documents": len(documents),
        "held_out_documents": len(split.held_out),
        "pieces": int(rows.text.sum()),
        "window": window,
        "windows": len(rows.ids),
        "steps": len(losses),
        "fresh_head": model.fresh_head,
        "losses": summary(losses),
        "perplexity_before": before,
        "perplexity_after": after,
        "seconds": round(time.perf_counter() - begin, 1),
    }


class Split(NamedTuple):
    """Documents, int32 arrays of word pieces, to train on and to measure on."""

    training: List[numpy.ndarray]
    held_out: List[numpy.ndarray]


def split_documents(documents: List[numpy.ndarray], held_out: float, seed: int) -> Split:
    """Hold out a part of the documents, at least one, if it is above 0.

    Raises ValueError where none is left to train on.
    """
    n_held = min(max(1, round(held_out * len(documents))), MOST_HELD_OUT) if held_out else 0
    if len(documents) <= n_held:
        raise ValueError(
            f"There are {len(documents)} documents with text, of which {n_held} are held out: "
            "expected more of them. held_out=0 holds out none."
        )
    apart = set(random.Random(seed).sample(range(len(documents)), n_held))
    return Split(
        [pieces for i, pieces in enumerate(documents) if i not in apart],
        [pieces for i, pieces in enumerate(documents) if i in apart],
    )


class _Hider:
    """Masks the pieces of windows: the same ones for the same seed and step."""

    def __init__(self, tokenizer: Any, mask_id: int, part: float):
        self.mask_id = mask_id
        self.part = part
        special = numpy.isin(numpy.arange(len(tokenizer)), tokenizer.all_special_ids)
        self.words = numpy.flatnonzero(~special)

    def hide(self, rows: Rows, seed: int, step: int) -> Masked:
        generator = numpy.random.default_rng([seed, step])
        return mask(rows, generator, self.part, self.mask_id, self.words)


def _loss(model: Any, rows: Rows, masked: Masked, part: slice, device: Any, mixed: bool) -> Any:
    """The summed cross-entropy of the masked pieces of some rows."""
    import torch

    from ..models.half_precision import half_precision

    chosen = torch.as_tensor(masked.chosen[part], device=device)
    inputs = torch.as_tensor(masked.inputs[part], device=device)
    attention = torch.as_tensor(rows.attention[part].astype("int64"), device=device)
    gold = torch.as_tensor(rows.ids[part][masked.chosen[part]], device=device).long()
    with half_precision(device, mixed):
        scores = model(inputs, attention, chosen)
    return torch.nn.functional.cross_entropy(scores.float(), gold, reduction="sum")


def _read(files: List[Path], tokenizer: Any, progress: bool) -> List[numpy.ndarray]:
    from tqdm import tqdm

    with tqdm(
        desc="Reading texts",
        total=sum(file.stat().st_size for file in files),
        unit="B",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        texts = (text for file in files for text in read_raw_texts(file, bar.update))
        return list(read_pieces(tokenizer, texts))
