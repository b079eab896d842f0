"""A reranker that reads each mention in its context together with each of its best candidates."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

import numpy
import srsly
import torch
from thinc.util import get_torch_default_device
from tqdm import tqdm

from .candidate_reranker import CandidateRows, Reranker, check_features, group_cross_entropy
from .cross_encoder_module import CrossEncoderModule, CrossEncoderSettings
from .own_encoder_layer import pack_parts, unpack_parts

GRAD_CLIP = 1.0  # the largest L2 norm of all gradients


def CandidateCrossEncoder_v1(
    name: str,
    n_rerank: int = 5,
    fields: Optional[List[str]] = None,
    context_pieces: int = 64,
    candidate_pieces: int = 32,
    batch_pieces: int = 4096,
    epochs: int = 3,
    batch_size: int = 16,
    learn_rate: float = 2e-5,
    head_learn_rate: float = 5e-4,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    dropout: float = 0.1,
    mixed_precision: bool = False,
    seed: int = 0,
    progress: bool = True,
    tokenizer_config: Optional[Dict[str, Any]] = None,
    transformer_config: Optional[Dict[str, Any]] = None,
) -> Reranker:
    """Create ``spacy_bioie.CandidateCrossEncoder.v1``: a reranker with an encoder of its own.

    The encoder reads ``[CLS] before [M] mention [/M] after [SEP] name ; types [SEP]`` for each of
    the best candidates of a mention, as EeyoreLee did at BioNNE-L 2025 with markers of that kind.
    The state of the first piece joins the features that ``spacy_bioie.CandidateReranker.v1``
    reads, and a head makes one score of both. "No link" is a choice whose second text is empty.
    The loss is that of the other reranker: a softmax over the choices of a mention. EeyoreLee's
    judged each candidate for itself. The cost grows with the number of mentions times
    ``n_rerank`` + 1.

    name: a folder, a name on a model hub, or ``package:`` with a folder inside an installed
        Python package. It is read where the reranker is fitted, anew each time, and not needed
        any more once the pipeline is saved.
    n_rerank: so many candidates of a mention are read, the best by the scores that the linker has
        without a reranker. The others keep their order below. While it is fitted the right
        candidate is read in any case.
    fields: what is read of a concept, of "name" (the preferred one), "synonyms", "types" and
        "definition"; ["name", "types"] by default.
    context_pieces: word pieces of text around a mention, on both sides together.
    candidate_pieces: word pieces of a candidate's text, and of the mention.
    batch_pieces: padded word pieces of one pass through the encoder. Memory grows with it, in
        training too, and hardly with the number of candidates.
    epochs, batch_size: of mentions.
    learn_rate, head_learn_rate: the highest ones, of the encoder and of the head. They are reached
        after the part ``warmup`` of all steps, and fall to zero at the last.
    weight_decay: of matrices. dropout: before the scores, in training.
    mixed_precision: run the encoder in bfloat16 where the hardware has instructions for it.
    seed: of all that is drawn. progress: show a bar on standard error while it is fitted.
    tokenizer_config, transformer_config: settings that replace those of the tokenizer, which has
        to be a fast one, and those in the encoder's own config.

    Raises ValueError where a setting is out of its range.
    """
    settings = CrossEncoderSettings(
        name=name,
        n_rerank=n_rerank,
        fields=list(("name", "types") if fields is None else fields),
        context_pieces=context_pieces,
        candidate_pieces=candidate_pieces,
        batch_pieces=batch_pieces,
        epochs=epochs,
        batch_size=batch_size,
        learn_rate=learn_rate,
        head_learn_rate=head_learn_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        dropout=dropout,
        mixed_precision=mixed_precision,
        seed=seed,
        progress=progress,
        tokenizer_config=dict(tokenizer_config or {}),
        transformer_config=dict(transformer_config or {}),
    )
    settings.check()
    return CandidateCrossEncoder(settings)


class CandidateCrossEncoder(Reranker):
    """See ``CandidateCrossEncoder_v1``. module: None until it is fitted or loaded."""

    def __init__(self, settings: CrossEncoderSettings):
        self.settings = settings
        self.module: Optional[CrossEncoderModule] = None

    @property
    def is_fitted(self) -> bool:
        return self.module is not None

    def fit(self, rows: CandidateRows, gold: numpy.ndarray) -> float:
        """Learn which rows are right, from the pretrained encoder on.

        Raises ValueError where the encoder cannot be read or used, no mention has a candidate, or
        scores become infinite; what was learned before then stays.
        """
        read = rows_to_read(rows, self.settings.n_rerank, gold)
        if not len(read):
            raise ValueError(
                "CandidateCrossEncoder: no mention has a candidate, expected some to learn from."
            )
        device = get_torch_default_device()
        with _seeded(self.settings.seed, device):
            module = CrossEncoderModule(self.settings)
            module.load(rows.features.shape[1])
            module.head.standardize(rows.features[read])
            _, groups = numpy.unique(rows.groups[read], return_inverse=True)
            loss = _train(module.to(device), rows, read, groups, gold[read])
        self.module = module.eval()
        return loss

    def scores(self, rows: CandidateRows) -> numpy.ndarray:
        """The score of each row: float64, (rows,).

        -inf for candidates that are not read, and 0 for "no link" of mentions without candidates.
        Raises ValueError where nothing has been learned, or from other features.
        """
        if self.module is None:
            raise ValueError(
                "CandidateCrossEncoder: the reranker has not been fitted, initialize or load the "
                "pipeline first."
            )
        check_features(rows, self.module.n_features)
        out = numpy.where(rows.concepts < 0, 0.0, -numpy.inf)
        read = rows_to_read(rows, self.settings.n_rerank)
        if len(read):
            with torch.no_grad():
                found = self.module(self.module.prepare(rows, read))
            out[read] = found.double().cpu().numpy()
        return out

    def to_bytes(self) -> bytes:
        """Weights, encoder and tokenizer included."""
        stored: Dict[str, Any] = {}
        if self.module is not None:
            stored = pack_parts(self.module, "head")
        return srsly.msgpack_dumps({"candidate_cross_encoder": stored})

    def from_bytes(self, data: bytes) -> "CandidateCrossEncoder":
        """Take over what ``to_bytes`` gave. Raises ValueError where it is of another reranker."""
        stored = srsly.msgpack_loads(data)
        if not isinstance(stored, dict) or "candidate_cross_encoder" not in stored:
            raise ValueError(
                "CandidateCrossEncoder: expected what this reranker was saved as, got something "
                "else. Expected the config with which the pipeline was saved."
            )
        stored = stored["candidate_cross_encoder"]
        self.module = None
        if stored:
            module = CrossEncoderModule(self.settings)
            unpack_parts(module, "head", stored)
            self.module = module.to(get_torch_default_device()).eval()
        return self


def rows_to_read(
    rows: CandidateRows, n: int, gold: Optional[numpy.ndarray] = None
) -> numpy.ndarray:
    """The n best candidates of each mention, and "no link" of mentions with candidates.

    gold: bool, (rows,): right candidates go before all others.
    RETURNS: rows, int64, sorted by mention.
    """
    scores = numpy.round(rows.scores, 5)
    if gold is not None:
        scores = numpy.where(gold, numpy.inf, scores)
    candidates = numpy.flatnonzero(rows.concepts >= 0)
    keys = (rows.concepts[candidates], -scores[candidates], rows.groups[candidates])
    order = candidates[numpy.lexsort(keys)]
    mentions = rows.groups[order]
    best = order[numpy.arange(len(order)) - numpy.searchsorted(mentions, mentions) < n]
    none = numpy.flatnonzero((rows.concepts < 0) & numpy.isin(rows.groups, mentions))
    read = numpy.concatenate([best, none])
    return read[numpy.argsort(rows.groups[read], kind="stable")]


def _train(
    module: CrossEncoderModule,
    rows: CandidateRows,
    read: numpy.ndarray,
    groups: numpy.ndarray,
    gold: numpy.ndarray,
) -> float:
    """AdamW, a batch of mentions at a time. RETURNS: the mean loss of the last epoch.

    read: int64, (n,): the rows that are read. groups: int64, (n,), ascending from 0, and gold:
    bool, (n,): the mention of each, and whether it is right.
    """
    own = module.settings
    inputs = module.prepare(rows, read)
    n = int(groups[-1]) + 1
    starts = numpy.searchsorted(groups, numpy.arange(n + 1))
    per_epoch = -(-n // own.batch_size)
    n_steps = own.epochs * per_epoch
    optimizer = _make_optimizer(module)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, n_steps, int(own.warmup * n_steps))
    )
    rng = numpy.random.default_rng(own.seed)
    module.train()
    losses: List[float] = []
    with tqdm(
        total=n_steps, desc="Fitting the reranker", unit="step", disable=not own.progress
    ) as bar:
        for step in range(n_steps):
            place = step % per_epoch
            if not place:
                order = rng.permutation(n)
            part = order[place * own.batch_size : (place + 1) * own.batch_size]
            chosen = numpy.concatenate([numpy.arange(starts[g], starts[g + 1]) for g in part])
            within = numpy.repeat(numpy.arange(len(part)), starts[part + 1] - starts[part])
            scores = module(inputs.select(chosen))
            found = scores.detach().double().cpu().numpy()
            if not numpy.isfinite(found).all():
                raise ValueError(
                    f"CandidateCrossEncoder: the scores of step {step + 1} are {found.max()}, "
                    "expected numbers; a lower learn_rate or no mixed_precision may help."
                )
            loss, d_scores = group_cross_entropy(found, within, gold[chosen])
            scores.backward(torch.from_numpy(d_scores).to(scores.device))
            torch.nn.utils.clip_grad_norm_(module.parameters(), GRAD_CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            losses.append(loss)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
    return float(numpy.mean(losses[-per_epoch:]))


def _make_optimizer(module: CrossEncoderModule) -> torch.optim.AdamW:
    own = module.settings
    groups: List[Dict[str, Any]] = []
    for part, rate in ((module.encoder, own.learn_rate), (module.head, own.head_learn_rate)):
        for decays in (True, False):
            learning = [p for p in part.parameters() if (p.dim() > 1) is decays]
            decay = own.weight_decay if decays else 0.0
            groups.append({"params": learning, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def _rate(step: int, n_steps: int, warmup: int) -> float:
    """The part of the highest learning rate that counts in a step, from 0 on."""
    if step < warmup:
        return (step + 1) / warmup
    return (n_steps - step) / (n_steps - warmup)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from this seed, and leave the generators of torch as they were."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
