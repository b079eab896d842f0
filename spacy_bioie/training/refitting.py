"""A tuned pipeline is trained once more, on the documents that it was tuned on as well."""

import shutil
import sys
from io import StringIO
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_model, registry, resolve_dot_names
from thinc.api import Config

from .copy_thresholds import copy_thresholds
from .saved_pipeline import check_replaceable, folder_to_replace
from .training_corpus import training_corpus
from .update_counter import UPDATES

_TOTAL = ("optimizer", "learn_rate", "total_steps")


def refit(
    pipeline: Union[str, Path],
    corpus: Union[str, Path],
    output: Union[str, Path],
    *,
    updates: int = 0,
    overrides: Optional[Mapping[str, Any]] = None,
    use_gpu: int = -1,
    progress: bool = False,
) -> Dict[str, Any]:
    """Train the config of a pipeline from the beginning on all documents, as many epochs as it had.

    The number of updates, and the total of a falling learning rate, grow with the number of
    documents. Nothing is evaluated, and the last model is taken: thresholds, temperatures and
    "performance" are those of the pipeline, see ``copy_thresholds``.

    pipeline: name or folder of a checkpoint that was tuned on held-out documents. Its config is
        used, and the training corpus that it names is counted.
    corpus: file of all documents (.spacy).
    output: folder for the new pipeline, which replaces a pipeline that is there when it is
        complete. Until then ``OUTPUT.training`` holds what is trained.
    updates: that the pipeline had; by default what its meta says, which the callback
        ``spacy_bioie.count_updates.v1`` writes.
    overrides: settings of the config, "section.setting" -> value, such as the knowledge base of all
        documents.
    use_gpu: number of the GPU that spaCy has been set to, or -1 for the CPU.
    progress: show what ``spacy train`` shows.

    RETURNS: "documents" and "updates", "documents_before" and "updates_before", and the
        "thresholds" of each component.
    Raises OSError or ValueError where something cannot be read, trained or written, where it is not
    known how long the pipeline was trained, and as ``copy_thresholds``.
    """
    output = Path(output)
    check_replaceable(output)
    tuned = load_model(pipeline)
    before = updates or tuned.meta.get(UPDATES, 0)
    if not isinstance(before, int) or before < 1:
        raise ValueError(
            f"Pipeline '{pipeline}': its meta does not say how many updates it had. Expected a "
            "config with [training.before_update] @callbacks = spacy_bioie.count_updates.v1, or "
            "the number of updates."
        )
    text = tuned.config.to_str(interpolate=False)
    config = Config().from_str(text, overrides=dict(overrides or {}), interpolate=False)
    documents = {"documents_before": _count(tuned, config)}
    training_corpus(config)["path"] = str(corpus)
    documents["documents"] = _count(tuned, config)
    if not all(documents.values()):
        raise ValueError(f"Expected documents in both training corpora, got {documents}.")
    growth = documents["documents"] / documents["documents_before"]
    n_updates = max(2, round(before * growth))  # a last step of 0 would mean no end
    training: Any = config["training"]
    training.update(max_epochs=0, max_steps=n_updates - 1, patience=0, eval_frequency=n_updates)
    _scale_total(training, growth)
    scratch = output.with_name(f"{output.name}.training")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was broken off
    scratch.mkdir(parents=True)
    out, err = (sys.stdout, sys.stderr) if progress else (StringIO(), StringIO())
    train(init_nlp(config, use_gpu=use_gpu), scratch, use_gpu=use_gpu, stdout=out, stderr=err)
    refitted = load_model(scratch / "model-last")
    thresholds = copy_thresholds(tuned, refitted)
    refitted.meta[UPDATES] = n_updates
    with folder_to_replace(output) as folder:
        refitted.to_disk(folder)
    shutil.rmtree(scratch)
    return {
        **documents,
        "updates_before": before,
        "updates": n_updates,
        "thresholds": thresholds,
    }


def _count(nlp: Language, config: Config) -> int:
    """The number of training documents that a config names."""
    settings = config.interpolate()
    names = registry.resolve(settings["training"], schema=ConfigSchemaTraining)  # type: ignore[arg-type]
    (corpus,) = resolve_dot_names(settings, [names["train_corpus"]])
    return sum(1 for _ in corpus(nlp))


def _scale_total(training: Dict[str, Any], growth: float) -> None:
    """Lengthen the schedule of the learning rate, if it has an end."""
    *sections, key = _TOTAL
    block: Any = training
    for name in sections:
        block = block.get(name) if isinstance(block, dict) else None
    if isinstance(block, dict) and isinstance(block.get(key), int):
        block[key] = round(block[key] * growth)
