"""Self-alignment of a name encoder on the synonyms of a knowledge base (SapBERT; Liu et al. 2021).

Names of one concept come to lie close together, names of different concepts apart. A batch is made
of pairs of synonyms; of all pairs inside of it those count that are hard: a synonym that lies
farther off than some name of another concept, or by less than a margin nearer, and the other way
round. Their loss is multi-similarity (Wang et al. 2019, equation 15).
"""

import time
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Sequence, Union
from zlib import crc32

import numpy
from spacy.vocab import Vocab

from ..annotation import SPANS_KEY
from ..kb.building import open_sources, with_main_ids
from ..kb.concepts import Concept
from ..kb.findings import Findings
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.merging import merge_by_id
from ..kb.name_encoders import load_encoder, pooled_names
from ..kb.pooling_file import POOLINGS
from ..kb.sources import Filters
from ..kb.storage import META_FILE
from ..kb.training_names import TrainingNames, read_training_names
from .encoder_steps import (
    StepSettings,
    check_output,
    checkpoint_of,
    run_steps,
    save_encoder,
    summary,
)
from .synonym_pairs import Kinship, Names, make_names, split_pairs

DEFAULTS = StepSettings(learn_rate=2e-5)


def adapt_names(
    sources: Iterable[Union[str, Path, Concept]],
    output: Union[str, Path],
    encoder: str,
    *,
    form: Optional[str] = None,
    filters: Optional[Filters] = None,
    mentions: Union[TrainingNames, Iterable[Union[str, Path]]] = (),
    spans_key: str = SPANS_KEY,
    pooling: str = "cls",
    layers: int = 0,
    max_length: int = 64,
    batch_size: int = 128,
    epochs: int = 1,
    max_steps: int = 0,
    max_pairs: int = 50,
    margin: float = 0.2,
    alpha: float = 1.0,
    beta: float = 60.0,
    base: float = 0.5,
    held_out: float = 0.02,
    max_batch_pieces: int = 4096,
    settings: StepSettings = DEFAULTS,
) -> Dict[str, Any]:
    """Train an encoder on the synonyms of concepts, and save it with its tokenizer.

    sources: files of concepts, or folders, as ``build_knowledge_base`` reads them, folders of
        knowledge bases, or concepts. ``form`` and ``filters`` are for the files.
    output: folder to write; one that holds an encoder is replaced when training is over.
    encoder: a folder, a name on the model hub, or ``package:PYTHON_PACKAGE/FOLDER``.
    form, filters, mentions, spans_key: see ``build_knowledge_base``. What training mentions call a
        concept is a synonym, too.
    pooling: ``cls`` or ``mean``. It is saved beside the encoder, where ``TransformerNameEncoder``
        finds it.
    layers: only so many of the encoder's, the first ones, are kept and trained; 0 keeps all. Names
        are short, and fewer layers read them in less time.
    max_length: word pieces of a name, the rest is cut off.
    batch_size: pairs in a step.
    epochs: times that all pairs are seen. max_steps: steps at most, 0 for all.
    max_pairs: of one concept; where it has more, so many are drawn.
    margin, alpha, beta, base: see ``multi_similarity_loss``. The defaults are SapBERT's.
    held_out: part of the concepts (1,000 at most) whose names are not seen in training.
    max_batch_pieces: padded word pieces of one pass through the encoder.
    settings: how it learns. A checkpoint is the file ``OUTPUT.checkpoint``.

    RETURNS: counts, the mean loss of each twentieth of the training, and of the held-out names with
    a synonym the part whose nearest other held-out name is one of these, before and after.
    Raises ValueError for a setting out of its range and where no concept has two names, and as
    ``build_knowledge_base`` and ``run_steps`` do.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is '{pooling}': expected one of {list(POOLINGS)}.")
    if min(batch_size, max_pairs, max_batch_pieces) < 1 or max_length < 3:
        raise ValueError(
            f"batch_size is {batch_size}, max_pairs {max_pairs}, max_batch_pieces "
            f"{max_batch_pieces}, max_length {max_length}: expected at least 1, 1, 1 and 3."
        )
    if min(epochs, max_steps) < 0 or not (epochs or max_steps) or not 0.0 <= held_out < 1.0:
        raise ValueError(
            f"epochs is {epochs}, max_steps {max_steps}, held_out {held_out}: expected epochs or "
            "max_steps above 0, and a part from 0 to below 1."
        )
    if alpha <= 0 or beta <= 0:
        raise ValueError(f"alpha is {alpha} and beta {beta}: expected them above 0.")
    settings.check()
    output = check_output(output)
    mixed = settings.mixed_precision
    model = NameModel(encoder, pooling, max_length, max_batch_pieces, mixed, layers=layers)
    if not isinstance(mentions, TrainingNames):
        mentions = read_training_names(mentions, spans_key)
    names = _read_names(sources, form, filters or Filters(), mentions, settings.progress)
    split = split_pairs(names, max_pairs, held_out, settings.seed)
    pairs = split.pairs
    per_epoch = -(-len(pairs) // batch_size)
    n_steps = min(filter(None, (epochs * per_epoch, max_steps)))
    kin = Kinship(names)

    def loss_of_step(step: int) -> Iterator[Any]:
        epoch, place = divmod(step, per_epoch)
        order = numpy.random.default_rng([settings.seed, epoch]).permutation(len(pairs))
        batch = pairs[order[place * batch_size : (place + 1) * batch_size]]
        concept, first, second = batch.T
        rows = numpy.concatenate([first, second])
        positives, negatives = kin.masks(rows, numpy.concatenate([concept, concept]))
        vectors = model.vectors([names.texts[i] for i in rows])
        yield multi_similarity_loss(
            vectors, positives, negatives, alpha=alpha, beta=beta, base=base, margin=margin
        )

    begin = time.perf_counter()
    before = nearest_name_accuracy(model, names, split.held_out)
    losses = run_steps(
        model.transformer,
        loss_of_step,
        n_steps,
        settings,
        checkpoint=checkpoint_of(output),
        identity={
            **{"encoder": encoder, "layers": layers, "pooling": pooling, "max_length": max_length},
            **{"batch_size": batch_size, "margin": margin, "alpha": alpha, "beta": beta},
            **{"base": base, "learn_rate": settings.learn_rate, "warmup": settings.warmup},
            **{"weight_decay": settings.weight_decay, "seed": settings.seed},
            "pairs": f"{len(pairs)} ({crc32(pairs.tobytes()):08x})",
            "names": f"{len(names.texts)} ({crc32('|'.join(names.texts).encode('utf8')):08x})",
        },
        desc="Aligning names",
    )
    after = nearest_name_accuracy(model, names, split.held_out)
    save_encoder(output, model.transformer, model.tokenizer, pooling)
    return {
        "concepts": len(names.concepts),
        "names": len(names.texts),
        "pairs": len(pairs),
        "held_out_concepts": len(split.held_out),
        "steps": len(losses),
        "pooling": pooling,
        "losses": summary(losses),
        "nearest_is_synonym_before": before,
        "nearest_is_synonym_after": after,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def multi_similarity_loss(
    vectors: Any,
    positives: Any,
    negatives: Any,
    *,
    alpha: float = 1.0,
    beta: float = 60.0,
    base: float = 0.5,
    margin: float = 0.2,
) -> Any:
    """The loss of the hard pairs among some names.

    vectors: a tensor (names, width) of rows of length 1.
    positives, negatives: bool, (names, names): pairs of one concept and of different ones.
    alpha, beta: weight of the similarities of positives and of negatives.
    base: the similarity that positives should exceed and negatives fall below.
    margin: a positive counts if some negative is nearer to the same name, or by less than this
        farther off (Euclidean distance of the vectors); a negative if some positive is farther, or
        by less than this nearer.

    RETURNS: their mean over all names, (); zero with a gradient of zeros where no pair is hard.
    """
    import torch

    vectors = vectors.float()
    positives = torch.as_tensor(positives, device=vectors.device)
    negatives = torch.as_tensor(negatives, device=vectors.device)
    similarity = vectors @ vectors.T
    with torch.no_grad():
        distance = (2.0 - 2.0 * similarity).clamp(min=0.0).sqrt()
        nearest = distance.masked_fill(~negatives, float("inf")).amin(dim=1, keepdim=True)
        farthest = distance.masked_fill(~positives, float("-inf")).amax(dim=1, keepdim=True)
        positives = positives & (distance + margin >= nearest)
        negatives = negatives & (distance - margin <= farthest)
    pull = _log_sum(-alpha * (similarity - base), positives) / alpha
    push = _log_sum(beta * (similarity - base), negatives) / beta
    return (pull + push).mean()


class NameModel:
    """The transformer that is trained, and how its vectors are made."""

    def __init__(
        self,
        name: str,
        pooling: str,
        max_length: int,
        max_batch_pieces: int,
        mixed: bool,
        *,
        layers: int = 0,
    ):
        from thinc.util import get_torch_default_device

        from ..models.windows import count_positions

        self.tokenizer, transformer = load_encoder(name, layers)
        self.transformer = transformer.to(get_torch_default_device())
        self.pooling = pooling
        self.max_length = min(max_length, count_positions(transformer) or max_length)
        self.max_batch_pieces = max_batch_pieces
        self.mixed = mixed

    def vectors(self, texts: Sequence[str]) -> Any:
        """Vectors of length 1, in passes of names of like length: a tensor (names, width)."""
        import torch

        vectors = pooled_names(
            self.transformer,
            self.tokenizer,
            texts,
            pooling=self.pooling,
            max_length=self.max_length,
            max_batch_pieces=self.max_batch_pieces,
            mixed_precision=self.mixed,
        )
        return torch.nn.functional.normalize(vectors, dim=1)


def nearest_name_accuracy(
    model: NameModel, names: Names, held_out: Sequence[int], batch_size: int = 256
) -> Optional[float]:
    """Of the names of some concepts, the part whose nearest other name is of the same concept.

    None without concepts.
    """
    import torch

    if not held_out:
        return None
    owners = numpy.concatenate([numpy.full(len(names.concepts[i]), i) for i in held_out])
    rows = numpy.concatenate([names.concepts[i] for i in held_out])
    texts = [names.texts[i] for i in rows]
    was_training = model.transformer.training
    model.transformer.eval()
    with torch.no_grad():
        parts = range(0, len(texts), batch_size)
        vectors = torch.cat([model.vectors(texts[i : i + batch_size]) for i in parts]).float()
        nearest = []
        for i in parts:
            similarity = vectors[i : i + batch_size] @ vectors.T
            similarity[range(len(similarity)), range(i, i + len(similarity))] = -2.0
            nearest.append(similarity.argmax(dim=1).cpu().numpy())
    model.transformer.train(was_training)
    found = owners[numpy.concatenate(nearest)] == owners
    return round(float(found.mean()), 4)


def _read_names(
    sources: Iterable[Union[str, Path, Concept]],
    form: Optional[str],
    filters: Filters,
    mentions: TrainingNames,
    progress: bool,
) -> Names:
    findings = Findings()
    opened = open_sources(map(_saved_concepts, sources), form, filters, findings, progress)
    merged = merge_by_id(opened, findings)
    texts = with_main_ids(mentions, list(merged.concepts.values())).texts
    names = {concept_id: concept.names for concept_id, concept in merged.concepts.items()}
    for concept_id, counts in sorted(texts.items()):
        names[concept_id] = (*names.get(concept_id, ()), *sorted(counts))
    return make_names(names.values())


def _saved_concepts(
    source: Union[str, Path, Concept],
) -> Union[str, Path, Concept, Iterable[Concept]]:
    """The concepts of the folder of a knowledge base; another source as it is."""
    if isinstance(source, Concept) or not (Path(source) / META_FILE).is_file():
        return source
    kb = FaissKnowledgeBase(Vocab()).from_disk(source)
    return (kb.tables.concept(row) for row in range(len(kb)))


def _log_sum(values: Any, mask: Any) -> Any:
    """log(1 + sum(exp(values))) over those of a row that count: (rows,)."""
    import torch

    values = values.masked_fill(~mask, float("-inf"))
    return torch.logsumexp(torch.nn.functional.pad(values, (1, 0)), dim=1)
