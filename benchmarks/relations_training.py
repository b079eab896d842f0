"""Trainings of ``relations.py``: by ``spacy train``, from the configs of ``configs/``.

A system names what it has otherwise than its config. The output of a frozen encoder is computed
once for each document: a callback puts a store before the frozen component ``transformer``, which
annotates in training, so that the saved pipeline is one without any of this.
"""

import hashlib
import json
import resource
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from relations_data import Corpus
from spacy import registry
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training.initialize import init_nlp
from spacy.util import load_config, load_model_from_config, minibatch, set_dot_to_object
from thinc.api import Config

from spacy_bioie.training.saved_pipeline import folder_to_replace

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
NAME = "relation_extractor"
ENCODER = "transformer"
RELATIONS = ("biomedical_sentencizer", ENCODER, NAME)  # the components that relations need


@dataclass(frozen=True)
class System:
    """What is trained.

    role: "ours", "ablation", "peer", "ensemble" or "fixed" (predictions that others made).
    config: a file of configs/. keep: of its components only these; all by default.
    epochs: 0 for a model that is only initialized. changes: dotted names of settings -> values.
    frozen: the encoder stays as it is. mentions: it is that of ``mention_encoder.prepare_encoder``.
    every_pair: any predicate between any two labels.
    reading: how scores are read, see ``relations_figures``.
    members: of an ensemble, the systems whose probabilities are averaged; of those that are trained
        one for each seed.
    """

    title: str
    role: str
    config: str = "minilm_cpu"
    keep: Tuple[str, ...] = ()
    epochs: int = 0
    changes: Dict[str, Any] = field(default_factory=dict)
    frozen: bool = False
    mentions: bool = False
    every_pair: bool = False
    reading: str = "tuned"
    members: Tuple[str, ...] = ()


class Cost:
    """Seconds, seconds of all threads together, and the peak of the memory of a block of code."""

    def __enter__(self) -> "Cost":
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (Linux)
        except OSError:
            pass
        self.begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: Any) -> None:
        self.seconds = time.perf_counter() - self.begin[0]
        self.cpu_seconds = time.process_time() - self.begin[1]
        self.peak_memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def figures(self, prefix: str) -> Dict[str, float]:
        names = ("seconds", "cpu_seconds", "peak_memory_mb")
        return {f"{prefix}_{name}": getattr(self, name) for name in names}


def make_config(
    system: System, corpus: Corpus, work: Path, *, encoder: str, seed: int, steps: int = 0
) -> Config:
    """The config of a training.

    encoder: name of the pretrained encoder. steps: updates; 0 for those of the epochs.
    """
    config = load_config(CONFIGS / f"{system.config}.cfg")
    kept = [n for n in config["nlp"]["pipeline"] if not system.keep or n in system.keep]
    config["nlp"]["pipeline"] = kept
    training, initialize = config["training"], config["initialize"]
    config["components"] = {name: config["components"][name] for name in kept}
    initialize["components"] = {n: v for n, v in initialize["components"].items() if n in kept}
    training["annotating_components"] = [n for n in training["annotating_components"] if n in kept]
    schema = corpus.schema(system.every_pair)
    if schema is None:
        del initialize["components"][NAME]
        # relations of concepts hold between all of their mentions: many in each document
        config["components"][NAME]["max_gold_relations"] = None
    else:
        config["paths"]["schema"] = str(schema)
    if corpus.symmetric:
        scorer = {"@scorers": "spacy_bioie.relation_scorer.v1", "symmetric": [*corpus.symmetric]}
        config["components"][NAME]["scorer"] = scorer
    config["paths"].update(train=str(corpus.path("train")), dev=str(corpus.path("check")))
    config["vars"]["encoder"] = encoder
    config["system"]["seed"] = seed
    for name, value in system.changes.items():
        set_dot_to_object(config, name, value)
    rate = training["optimizer"]["learn_rate"]
    batches = -(-corpus.counts()["train"] // training["batcher"]["size"])
    total = steps or max(system.epochs, 1) * batches
    rate["warmup_steps"] = round(total * rate["warmup_steps"] / rate["total_steps"])
    rate["total_steps"] = total
    # the last model is taken: no checkpoint is chosen, and one document scored, at the begin
    training.update(max_epochs=0, max_steps=total, eval_frequency=total + 1)
    training["score_weights"] = {f"rel_gold_{corpus.target}_micro_f": 1.0}
    if system.frozen:
        folder = _save_encoder(config, work, encoder)
        config["components"][ENCODER] = {"source": str(folder)}
        training["frozen_components"] = [ENCODER]
        training["annotating_components"].append(ENCODER)
        initialize["after_init"] = {"@callbacks": "relations_benchmark.store_encoder_output.v1"}
    return config


def trained(
    name: str, config: Config, system: System, corpus: Corpus, work: Path, gpu_id: int = -1
) -> Tuple[Path, Dict[str, Any]]:
    """The folder of the trained pipeline, and what its training cost.

    It is made unless the work folder has one of the same config and as many documents.
    """
    text = config.to_str(interpolate=False).replace(str(work), "")
    text += json.dumps(corpus.counts())
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    folder = work / "models" / f"{name}_{digest}"
    if not folder.is_dir():
        scratch = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        config.to_disk(scratch / "config.cfg", interpolate=False)
        out = scratch / "model-last"
        with Cost() as cost:
            if system.epochs:
                train(scratch / "config.cfg", scratch, use_gpu=gpu_id)
            else:
                init_nlp(config, use_gpu=gpu_id).to_disk(out)
        steps = config["training"]["max_steps"] if system.epochs else 0
        spent = {"train_steps": steps, **cost.figures("train")}
        (out / "cost.json").write_text(json.dumps(spent), encoding="utf8")
        out.rename(folder)  # last: it is complete
        shutil.rmtree(scratch)
    return folder, json.loads((folder / "cost.json").read_text(encoding="utf8"))


def _save_encoder(config: Config, work: Path, encoder: str) -> Path:
    """The folder of a pipeline with nothing but the pretrained encoder."""
    block = config["components"][ENCODER]
    alone = Config({"nlp": dict(config["nlp"], pipeline=[ENCODER]), "vars": config["vars"]})
    alone["components"] = {ENCODER: block}
    text = alone.interpolate().to_str()
    folder = work / "encoder" / hashlib.sha256(text.encode()).hexdigest()[:8]
    if not folder.is_dir():
        nlp = load_model_from_config(alone, auto_fill=True)
        nlp.initialize()
        with folder_to_replace(folder) as new:
            nlp.to_disk(new)
    return folder


@registry.callbacks("relations_benchmark.store_encoder_output.v1")
def make_store() -> Any:
    return store_encoder_output


def store_encoder_output(nlp: Language) -> None:
    """Keep what the encoder says of each text, for the documents of all epochs."""
    encoder: Any = nlp.get_pipe(ENCODER)
    compute, known = encoder.pipe, {}

    def pipe(stream: Iterable[Doc], *, batch_size: int = 128, **options: Any) -> Iterator[Doc]:
        for batch in minibatch(stream, batch_size):
            docs: List[Doc] = list(batch)
            for doc in compute([doc for doc in docs if doc.text not in known]):
                known[doc.text] = doc._.trf_data
            for doc in docs:
                doc._.trf_data = known[doc.text]
            yield from docs

    encoder.pipe = pipe
