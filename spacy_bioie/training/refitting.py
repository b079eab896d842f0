"""A tuned pipeline is trained once more, on the documents that it was tuned on as well."""

import sys
from io import StringIO
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, List, Mapping, Optional, Union

from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_model, registry, resolve_dot_names
from thinc.api import Config

from .copy_thresholds import chosen_settings, copy_thresholds
from .saved_pipeline import check_replaceable, folder_to_replace
from .training_corpus import training_corpus
from .update_counter import UPDATES

REFITTED = "refitted"  # in the meta of what has seen the documents that it was tuned on
_TOTAL = ("optimizer", "learn_rate", "total_steps")
# What a refit sets itself
_LENGTH = ("max_epochs", "max_steps", "patience", "eval_frequency")


def refit(
    pipeline: Union[str, Path],
    corpus: Union[str, Path],
    output: Union[str, Path],
    *,
    updates: int = 0,
    documents: int = 0,
    overrides: Optional[Mapping[str, Any]] = None,
    use_gpu: int = -1,
    progress: bool = False,
) -> Dict[str, Any]:
    """Train the config of a pipeline from the beginning on all documents, as many epochs as it had.

    The number of updates, and the total of a falling learning rate, are those of as many epochs
    over all documents, whatever the batcher makes of each epoch (``spacy_bioie.TierStages.v1``).
    The last model is taken: thresholds, temperatures and "performance" are those of the
    pipeline, see ``copy_thresholds``. The config's corpus for evaluation is scored after the first
    update alone, because ``spacy train`` does; this decides nothing.

    Frozen components are taken from the pipeline. All others begin as their config says: one that
    had been taken from elsewhere and trained further cannot be refitted so, since a saved config
    does not tell it from the others.

    pipeline: name or folder of a checkpoint that was tuned on held-out documents.
    corpus: file of all documents (.spacy).
    output: folder for the new pipeline, which replaces a pipeline that is there when it is
        complete.
    updates: that the pipeline had; by default what its meta says, which the callback
        ``spacy_bioie.count_updates.v1`` writes.
    documents: that it was trained on, where the corpus that its config names is not there any more:
        then the number of updates grows with that of documents.
    overrides: settings of the config, "section.setting" -> value, such as the knowledge base of all
        documents; but not of the training corpus, nor of the length of training.
    use_gpu: number of the GPU that spaCy has been set to, or -1 for the CPU.
    progress: show what ``spacy train`` shows.

    RETURNS: "documents" and "updates", "documents_before" and "updates_before", and the
        "thresholds" of each component. The new pipeline's meta has the counts as "refitted".
    Raises OSError or ValueError where something cannot be read, trained or written, where it is not
    known how long the pipeline was trained, and as ``chosen_settings``.
    """
    output = Path(output)
    check_replaceable(output)
    tuned = load_model(pipeline)
    config = tuned.config.copy()
    before = updates or tuned.meta.get(UPDATES, 0)
    if not isinstance(before, int) or before < 1:
        raise ValueError(
            f"Pipeline '{pipeline}': its meta does not say how many updates it had. Expected a "
            "config with [training.before_update] @callbacks = spacy_bioie.count_updates.v1, or "
            "the number of updates."
        )
    if config["training"]["max_epochs"] == -1:
        raise ValueError("max_epochs is -1: expected a corpus that is not streamed, but counted.")
    own = [] if documents else _read(tuned, config)
    documents_before = documents or len(own)
    _check_overrides(config, overrides or {})
    text = config.to_str(interpolate=False)
    config = Config().from_str(text, overrides=dict(overrides or {}), interpolate=False)
    training_corpus(config)["path"] = str(corpus)
    everything = _read(tuned, config)
    counts = {"documents_before": documents_before, "documents": len(everything)}
    if not all(counts.values()):
        raise ValueError(f"Expected documents in both training corpora, got {counts}.")
    ratio = len(everything) / documents if documents else 0.0
    n_updates = _lengthen(config, before, own, everything, ratio)
    for name in config.interpolate()["training"]["frozen_components"]:
        config["components"][name] = {"source": str(pipeline)}
    nlp = init_nlp(config, use_gpu=use_gpu)
    chosen_settings(tuned, nlp)  # what cannot be copied is known before the training
    del tuned, own, everything  # from the GPU, and from memory
    out, err = (sys.stdout, sys.stderr) if progress else (StringIO(), StringIO())
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        train(nlp, Path(scratch), use_gpu=use_gpu, stdout=out, stderr=err)
        refitted = load_model(Path(scratch) / "model-last")
    counts = {**counts, "updates_before": before, "updates": n_updates}
    thresholds = copy_thresholds(load_model(pipeline), refitted)
    refitted.meta.update({UPDATES: n_updates, REFITTED: counts})
    with folder_to_replace(output) as folder:
        refitted.to_disk(folder)
    return {**counts, "thresholds": thresholds}


def _read(nlp: Language, config: Config) -> List[Example]:
    """The training documents that a config names."""
    settings = config.interpolate()
    training: Any = registry.resolve(settings["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(settings, [training["train_corpus"]])
    return list(corpus(nlp))


def _epoch_sizes(config: Config, examples: List[Example]) -> Iterator[int]:
    """How many batches each epoch has, from the first on, without an end.

    Raises ValueError for an epoch without any.
    """
    settings = config.interpolate()["training"]
    batch: Any = registry.resolve({"batcher": settings["batcher"]})["batcher"]  # in its first epoch
    for epoch in count(1):
        size = sum(1 for _ in batch(examples))
        if not size:
            raise ValueError(f"Epoch {epoch} has no batch: expected documents in each.")
        yield size


def _n_epochs(sizes: Iterator[int], updates: int) -> float:
    """How many epochs so many updates are."""
    for epoch, size in enumerate(sizes):
        if updates <= size:
            return epoch + updates / size
        updates -= size
    raise AssertionError("sizes have no end")


def _n_updates(sizes: Iterator[int], epochs: float) -> int:
    """How many updates so many epochs are."""
    whole = int(epochs)
    return sum(islice(sizes, whole)) + round((epochs - whole) * next(sizes))


def _check_overrides(config: Config, overrides: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that would be replaced, or mean something else."""
    corpus = f"{config['training']['train_corpus']}.path"
    own = {corpus, *(f"training.{name}" for name in _LENGTH)}
    own.add(training_corpus(config)["path"].strip("${}"))  # the variable that it stands for
    wrong: List[str] = sorted(own & set(overrides))
    if wrong:
        raise ValueError(
            f"{wrong} cannot be overridden: the training corpus is an argument, and the length of "
            "training follows from the pipeline and the number of documents."
        )


def _lengthen(
    config: Config,
    before: int,
    own: List[Example],
    everything: List[Example],
    ratio: float = 0.0,
) -> int:
    """Set the length of training, and the end of the schedule of the learning rate, if it has one.

    before: updates over the documents ``own``.
    ratio: of the numbers of documents, to count by where it is above 0.
    RETURNS: how many updates over all documents these are.
    """

    def lengthen(n: int) -> int:
        if ratio:
            return round(n * ratio)
        epochs = _n_epochs(_epoch_sizes(config, own), n)
        return _n_updates(_epoch_sizes(config, everything), epochs)

    n_updates = max(2, lengthen(before))  # a last step of 0 would mean no end
    values: Any = config.interpolate()["training"]
    block: Any = config["training"]
    block.update(zip(_LENGTH, (0, n_updates - 1, 0, n_updates), strict=True))
    *sections, key = _TOTAL
    for name in sections:
        if not isinstance(block, dict) or name not in block:
            return n_updates
        block, values = block[name], values[name]
    if isinstance(values, dict) and isinstance(values.get(key), int):
        block[key] = lengthen(values[key])
    return n_updates
