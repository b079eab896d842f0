"""Record what one run of the workflow ``gutbrainie`` reached on GutBrainIE's dev documents.

    python benchmarks/gutbrainie.py --gutbrainie FOLDER --concepts FILE --seed 11

``python -m spacy project run gutbrainie`` calls it at its end, with the variables of the project.
It scores the final pipeline over gold and over predicted input, linking also by its parts, and the
submission files by the official rules of both years; it takes the seconds and memory of both
trainings from ``metrics/``.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, Optional

import spacy
from results import describe_files, write_result
from spacy.training import Corpus
from spacy.util import load_config

from spacy_bioie.prediction import predict
from spacy_bioie.scoring.files import evaluate_files
from spacy_bioie.scoring.link_stages import evaluate_linking

CORPUS = "gutbrainie"
HELD_OUT = Path(__file__).resolve().parents[1] / "assets" / "splits" / "gutbrainie_held_out.txt"
# What says which checkpoint was the best one
CHECKPOINT = ("spans_sc_f", "nel_gold_acc1", "rel_gold_tm_micro_f")
# Of the training that chose, and of the one on all documents
COSTS = ("training_cost.json", "refit_cost.json")
TRAIN = "Annotations/Train/{0}_quality/json_format/train_{0}.json"
SUBMISSIONS = {
    "2025": {
        "ner": "T61_ner",
        "bt": "T621_binary_tag",
        "tt": "T622_ternary_tag",
        "tm": "T623_ternary_mention",
    },
    "2026": {
        "ner": "T611_ner",
        "nerd": "T612_nerd",
        "m-re": "T621_mention_level",
        "c-re": "T622_concept_level",
    },
}


def score_pipeline(nlp: Any, path: Path) -> Dict[str, Optional[float]]:
    """Figures of the components over gold and predicted mentions, linking by its parts."""
    examples = list(Corpus(path)(nlp))
    scores = nlp.evaluate(examples)
    kept = ("nel_gold_", "rel_gold_", "rel_pred_", "ner_", "nerd_")
    figures = {
        key: value
        for key, value in scores.items()
        if key.startswith(kept) and (value is None or isinstance(value, float))
    }
    for example, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples), strict=True):
        example.predicted = doc  # with the output of the encoder, which the context needs
    linked = evaluate_linking(nlp.get_pipe("faiss_entity_linker"), examples)
    figures.update({f"linking_{key}": value for key, value in linked.items()})
    return figures


def score_submissions(nlp: Any, dev: Path, out: Path) -> Dict[str, Optional[float]]:
    """Micro and macro F1 of the submission files, by official and strict rules."""
    figures = {}
    for year, tasks in SUBMISSIONS.items():
        predict(nlp, dev, out / year, format=f"gutbrainie-{year}")  # type: ignore[arg-type]
        for task, stem in tasks.items():
            for rules in (f"official-{year}", "strict"):
                report = evaluate_files(dev, out / year / f"{stem}.json", task, rules, resamples=0)
                name = f"submission_{task}_{rules}"
                figures[f"{name}_micro_f"] = report["averages"]["micro_f"]
                figures[f"{name}_macro_f"] = report["averages"]["macro_f"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gutbrainie", type=Path, required=True)
    parser.add_argument("--concepts", type=Path, required=True)
    parser.add_argument("--config", default="minilm_cpu")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--root", type=Path, default=Path("."), help="folder of the project's run")
    parser.add_argument("--name", help="name of the file in results/")
    parser.add_argument("--adapt-layers", type=int, help="layers of the encoder of names")
    parser.add_argument("--adapt-steps", type=int, help="updates of the encoder of names")
    parser.add_argument("--note", help="what differs from the workflow, for the table")
    arguments = parser.parse_args()
    root = arguments.root
    nlp = spacy.load(root / "training" / CORPUS / "model-final")
    dev = arguments.gutbrainie / "Annotations/Dev/json_format/dev.json"
    metrics = score_pipeline(nlp, root / "corpus" / CORPUS / "dev.spacy")
    metrics.update(score_submissions(nlp, dev, root / "annotated" / CORPUS))
    costs = [json.loads((root / "metrics" / CORPUS / name).read_text("utf8")) for name in COSTS]
    # of the refitted pipeline it says nothing of epochs
    tuned = load_config(root / "training" / CORPUS / "model-tuned" / "config.cfg")
    training = tuned["training"]
    batcher = training["batcher"]
    performance = nlp.meta["performance"]
    checkpoint = {name: performance.get(name) for name in CHECKPOINT} if performance else {}
    path = write_result(
        arguments.name or f"gutbrainie_{arguments.config}_seed{arguments.seed}",
        benchmark="gutbrainie",
        system=f"spacy_bioie {arguments.config}",
        metrics=metrics,
        data=describe_files(
            [
                *(arguments.gutbrainie / TRAIN.format(t) for t in ("platinum", "gold", "silver")),
                dev,
                arguments.concepts,
                HELD_OUT,
            ]
        ),
        config={
            "file": f"configs/{arguments.config}.cfg",
            "encoder": nlp.config.get("vars", {}).get("encoder"),
            "max_epochs": training["max_epochs"],
            **({"epochs_of_all_tiers": batcher["epochs"]} if "epochs" in batcher else {}),
            "batch_documents": batcher.get("batcher", batcher)["size"],
            "held_out": HELD_OUT.name,
            "refitted_updates": nlp.meta.get("updates"),
            **({"checkpoint_on_held_out": checkpoint} if checkpoint else {}),  # of no ensemble
            "relation_threshold": nlp.get_pipe("relation_extractor").cfg["threshold"],
            "adapt_layers": arguments.adapt_layers,
            "adapt_steps": arguments.adapt_steps,
            **({"note": arguments.note} if arguments.note else {}),
        },
        seeds=[arguments.seed],
        seconds=sum(cost["seconds"] for cost in costs),
        peak_memory_mb=max(cost["peak_memory_mb"] for cost in costs),
    )
    print(json.dumps(metrics, indent=2))
    print(path.name)


if __name__ == "__main__":
    main()
