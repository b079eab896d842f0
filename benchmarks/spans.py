"""Span recognition: published recipes, spaCy's own components and our heads over one encoder.

    python benchmarks/spans.py --data FOLDER --work FOLDER [--systems A,B] [--seeds 11,17,42]

``--corpus`` is GutBrainIE, BioNNE-L or one of the eight in IOB form that AdaBioBERT was measured
on, each with systems of its own. A queue of runs: one whose result exists is left out (``--again``
for it too), and a model that lies complete in the work folder, of the same config, is not trained
again. ``--documents`` and ``--steps`` cut training for all alike; results of a cut have names of
their own. ``--folds N`` scores parts of platinum and gold in turn, in place of dev.
``BIOIE_RESULTS`` in the environment is another folder for the results.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import results
import spans_data
from mention_encoder import describe_encoder, describe_sources, prepare_encoder
from results import write_result
from spans_systems import BASE_STEPS, ENCODER, SYSTEMS, System, describe_settings, make_config
from word_vectors import prepare_vectors

FOLDER = Path(__file__).resolve().parent
DEFAULT_SYSTEMS = {"gutbrainie": list(SYSTEMS), "bionne_en": ["stock_spancat", "tagger_labels"]}
DEFAULT_SYSTEMS["bionne_en"] += ["pointer", "pointer_8"]
# AdaBioBERT's loss, and its sound variants
MIXES = [
    "adaptive_sequence",
    "adaptive",
    "mix_fixed",
    "mix_bounded",
    "mix_uncertainty",
    "mix_gradnorm",
]
MIXES = ["tagger", *(f"tagger_{mix}" for mix in MIXES), "stock_ner"]
DEFAULT_SYSTEMS.update(dict.fromkeys(spans_data.IOB, MIXES))
# eight epochs of GutBrainIE as in our config, thirty of the few documents of BioNNE-L; the others
# learn as long as GutBrainIE
DEFAULT_STEPS = {**dict.fromkeys(spans_data.CORPORA, BASE_STEPS), "bionne_en": 121}
PASSES = 3


class Run(NamedTuple):
    """One row of one seed; an ensemble has the seeds of its members."""

    name: str
    seeds: List[int]
    part: spans_data.Part
    steps: int

    @property
    def system(self) -> System:
        return SYSTEMS[self.name]

    @property
    def cut(self) -> str:
        steps = "" if self.steps == DEFAULT_STEPS[self.part.corpus] else f"_{self.steps}steps"
        return self.part.name + steps

    @property
    def result(self) -> str:
        return f"spans_{self.cut}_{self.name}_seed" + "_".join(map(str, self.seeds))

    def folder(self, work: Path) -> Path:
        """Where its model lies."""
        return work / "models" / self.cut / f"{self.name}_seed{self.seeds[0]}"

    def trained(self) -> "Run":
        """The run whose model this is; itself, but for what is added to another one."""
        return self._replace(name=self.system.base) if self.system.base else self

    def members(self) -> List["Run"]:
        """The runs that an ensemble is made of; of a single system the one that is trained."""
        if not self.system.members:
            return [self.trained()]
        if len(self.system.members) == 1:
            return [self._replace(name=self.system.members[0], seeds=[s]) for s in self.seeds]
        return [self._replace(name=name) for name in self.system.members]


class Inputs(NamedTuple):
    """What systems read beside the documents.

    paths: names of parameters of ``make_config`` and their values.
    sources: the files that these are made of.
    details: how, for the config of a result.
    """

    paths: Dict[str, Any]
    sources: Dict[str, Dict[str, Any]]
    details: Dict[str, Any]


def prepare_inputs(systems: Sequence[System], work: Path, options: Any) -> Inputs:
    """Make what any of the systems reads, unless it is there."""
    inputs = Inputs({"encoder": options.encoder}, {}, {})
    if any(system.names for system in systems):
        inputs.paths["names"], sources = spans_data.prepare_names(options.data, work)
        inputs.sources.update(sources)
    if any(system.mentions for system in systems):
        encoder, made = prepare_encoder(options.data, work, options.encoder, options.gpu_id)
        inputs.paths["encoder"] = str(encoder)
        inputs.sources.update(describe_sources(made))
        inputs.details["encoder_before"] = describe_encoder(made)
    if any(system.vectors for system in systems):
        inputs.paths["vectors"], made = prepare_vectors(options.data, work)
        inputs.sources.update(made.pop("sources"))
        inputs.details["vectors_before"] = made
    return inputs


def make_queue(
    systems: Sequence[str], seeds: Sequence[int], parts: Sequence[spans_data.Part], steps: int
) -> List[Run]:
    """All systems of the first seed, then of the second; ensembles at the end."""
    runs = []
    for part in parts:
        single = [name for name in systems if not SYSTEMS[name].members]
        runs += [Run(name, [seed], part, steps) for seed in seeds for name in single]
    for part in parts:
        for name in systems:
            if SYSTEMS[name].members:
                several = len(SYSTEMS[name].members) == 1
                runs.append(Run(name, list(seeds) if several else [seeds[0]], part, steps))
    return runs


def measured(cost: Path, *arguments: str) -> None:
    """Run a command of ``spans_run.py``; its seconds and peak memory go to ``cost``."""
    script = [sys.executable, str(FOLDER / "spans_run.py"), *arguments]
    subprocess.run([sys.executable, str(FOLDER / "measure.py"), str(cost), *script], check=True)


def train(run: Run, work: Path, files: spans_data.Files, options: Any) -> Dict[str, Any]:
    """Train a model unless it is there, and return what that cost."""
    folder = run.folder(work)
    config, cost, log = folder / "config.cfg", folder / "cost.json", folder / "log.json"
    source = files.train if run.system.silver else files.best
    paths = prepare_inputs([run.system], work, options).paths
    made = make_config(run.system, run.steps, run.seeds[0], source, files.held_out, **paths)
    complete = cost.is_file() and config.read_text("utf8") == made.to_str()
    if not complete:
        cost.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(made.to_str(), encoding="utf8")
        measured(cost, "train", str(config), str(folder), str(log), str(options.gpu_id))
        shutil.rmtree(folder / "model-last")
    found = {path.stem: json.loads(path.read_text("utf8")) for path in (cost, log)}
    return {**found["log"], **found["cost"]}


def evaluate(
    members: Sequence[Path],
    method: str,
    files: spans_data.Files,
    folder: Path,
    gpu_id: int,
    added: Sequence[str] = (),
    train: Optional[Path] = None,
) -> Dict[str, Any]:
    """Score and time a model, or an ensemble, in a process of its own.

    added: components that are added to it, see ``System``, and know of the documents ``train``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"members": [str(path / "model-best") for path in members], "method": method}
    spec.update(added=list(added), train=str(train or files.train))
    spec.update(test=str(files.test), held_out=str(files.held_out), gpu_id=gpu_id, passes=PASSES)
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf8")
    out, cost = folder / "scores.json", folder / "evaluation_cost.json"
    measured(cost, "evaluate", str(folder / "spec.json"), str(out))
    found = json.loads(out.read_text("utf8"))
    found["peak_memory_mb"] = json.loads(cost.read_text("utf8"))["peak_memory_mb"]
    return found


def carry_out(run: Run, work: Path, files: spans_data.Files, options: Any) -> Path:
    """Train where that is needed, evaluate, and write the result."""
    system = run.system
    if system.members:
        missing = [m.result for m in run.members() if not (m.folder(work) / "cost.json").is_file()]
        if missing:
            raise FileNotFoundError(f"its members are not trained: {', '.join(missing)}")
        costs = [json.loads((m.folder(work) / "cost.json").read_text()) for m in run.members()]
        training: Dict[str, Any] = {"seconds": sum(cost["seconds"] for cost in costs)}
        folder = work / "models" / run.cut / f"{run.name}_ensemble"
    else:
        training = train(run.trained(), work, files, options)
        folder = run.folder(work)
    members = [member.folder(work) for member in run.members()]
    silver = all(member.system.silver for member in run.members())
    learned = files.train if silver else files.best
    found = evaluate(members, system.method, files, folder, options.gpu_id, system.added, learned)
    inputs = prepare_inputs([member.system for member in run.members()], work, options)
    metrics = {**found["metrics"], "inference_peak_mb": found["peak_memory_mb"]}
    details = {"counts": found["counts"]}
    if not system.members:
        metrics["training_peak_mb"] = training["peak_memory_mb"]
        for key in ("steps_per_second", "training_seconds", "training_cpu_seconds"):
            metrics[key] = training[key]
        details.update(checkpoints=training["checkpoints"], alpha=training["alpha"])
    return write_result(
        run.result,
        benchmark="spans",
        system=system.title,
        metrics=metrics,
        data={**files.sources, **inputs.sources},
        config={
            "corpus": run.part.corpus,
            "name": run.name,
            "kind": system.kind,
            "base": "configs/spans_only.cfg",
            "differs": describe_settings(run.trained().system.differs(run.steps)),
            "added": list(system.added),
            "silver": silver,
            "members": [[m.name, *m.seeds] for m in run.members()] if system.members else [],
            "method": system.method,
            "documents": files.documents,
            "cut_to_documents": run.part.documents,
            "steps": run.steps,
            "fold": [run.part.fold, run.part.folds],
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "encoder": options.encoder,
            **inputs.details,
        },
        seeds=run.seeds,
        seconds=training["seconds"],
        peak_memory_mb=metrics.get("training_peak_mb", found["peak_memory_mb"]),
        details=details,
    )


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of all corpora")
    parser.add_argument("--work", type=Path, required=True, help="folder of corpora and models")
    parser.add_argument("--corpus", choices=spans_data.CORPORA, default="gutbrainie")
    parser.add_argument("--systems", help="names with commas; by default all of the corpus")
    parser.add_argument("--seeds", default="11,17,42")
    parser.add_argument("--documents", type=int, help="at most so many are learned from")
    parser.add_argument("--steps", type=int, help="updates of all systems")
    parser.add_argument("--folds", type=int, default=0, help="score folds in place of dev")
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--gpu-id", type=int, default=-1)
    parser.add_argument("--again", action="store_true", help="also where a result exists")
    options = parser.parse_args(arguments)
    options.systems = options.systems.split(",") if options.systems else None
    options.systems = options.systems or DEFAULT_SYSTEMS[options.corpus]
    unknown = sorted(set(options.systems) - set(SYSTEMS))
    if unknown:
        parser.error(f"unknown systems {', '.join(unknown)}: expected some of {', '.join(SYSTEMS)}")
    bases = [SYSTEMS[SYSTEMS[name].base or name] for name in options.systems]
    if options.corpus != "gutbrainie" and any(base.mentions or base.vectors for base in bases):
        parser.error("what has been learned from other corpora is for gutbrainie alone")
    options.steps = DEFAULT_STEPS[options.corpus] if options.steps is None else options.steps
    options.work = options.work.resolve()  # configs name files of it
    options.seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.steps < 2 or options.folds == 1 or options.folds < 0:
        parser.error("expected at least 2 steps, and no folds or at least 2")
    return options


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """RETURNS: the number of runs that failed."""
    options = parse(arguments)
    folds = range(1, options.folds + 1) if options.folds else [0]
    parts = [
        spans_data.Part(options.corpus, options.documents, fold, options.folds) for fold in folds
    ]
    try:
        files = {part: spans_data.prepare(options.data, options.work, part) for part in parts}
    except FileNotFoundError as error:
        sys.exit(str(error))
    queue = make_queue(options.systems, options.seeds, parts, options.steps)
    queue = [
        r for r in queue if options.again or not (results.FOLDER / f"{r.result}.json").exists()
    ]
    failed = 0
    for i, run in enumerate(queue, 1):
        print(f"{i}/{len(queue)} {run.result}", flush=True)
        try:
            path = carry_out(run, options.work, files[run.part], options)
        except (OSError, ValueError, ImportError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"  left out: {error}", flush=True)
            continue
        metrics = json.loads(path.read_text("utf8"))["metrics"]
        print(f"  strict micro-F1 {metrics['strict_micro_f']:.4f}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
