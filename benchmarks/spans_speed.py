"""Time and memory of our heads against spaCy's own, by turns on one machine.

    python benchmarks/spans_speed.py --data FOLDER --work FOLDER

Takes the options of ``spans.py``, which has to have trained the four models for the first seed.
Each turn is a process that trains a few updates from the start, and one that runs the trained
model; figures are medians of several turns. Growth of memory is the peak less what was resident
before the first update, or document. The head's seconds are those of the last component alone.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import spans
import spans_data
from results import write_result
from spans_systems import SYSTEMS, make_config

COMPARED = {"tagger": "stock_ner", "pointer_8": "stock_spancat"}
NAMES = [name for pair in COMPARED.items() for name in pair]
TURNS = 3
UPDATES = 16


def turn(run: spans.Run, work: Path, files: spans_data.Files, options: Any) -> Dict[str, float]:
    """The figures of one system, once."""
    folder = work / "speed" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(
        run.system, UPDATES, run.seeds[0], files.train, files.held_out, options.encoder
    )
    config["training"]["eval_frequency"] = 2 * UPDATES  # after the first update alone
    (folder / "config.cfg").write_text(config.to_str(), encoding="utf8")
    arguments = [str(folder / "config.cfg"), str(folder), str(folder / "log.json")]
    spans.measured(folder / "cost.json", "train", *arguments, str(options.gpu_id))
    log, cost = (json.loads((folder / f"{n}.json").read_text("utf8")) for n in ("log", "cost"))
    found = spans.evaluate([run.folder(work)], "", files, folder / "scores", options.gpu_id)
    metrics = found["metrics"]
    return {
        "steps_per_second": log["steps_per_second"],
        "training_peak_mb": cost["peak_memory_mb"],
        "training_growth_mb": cost["peak_memory_mb"] - log["training_resident_before_mb"],
        "documents_per_second": metrics["documents_per_second"],
        "head_seconds": metrics["head_seconds"],
        "inference_peak_mb": found["peak_memory_mb"],
        "inference_growth_mb": found["peak_memory_mb"] - metrics["inference_resident_before_mb"],
    }


def ratios(figures: Dict[str, Dict[str, float]]) -> Dict[str, float]:
    """Time and memory of ours in those of its peer."""
    found = {}
    for name, peer in COMPARED.items():
        for key in figures[name]:
            ours, theirs = figures[name][key], figures[peer][key]
            if key.endswith("_per_second"):
                ours, theirs = theirs, ours
            what = {"steps_per_second": "training_time", "documents_per_second": "inference_time"}
            found[f"{name}/{peer} {what.get(key, key.removesuffix('_mb'))}"] = ours / theirs
    return found


def main(arguments: Optional[Sequence[str]] = None) -> None:
    options = spans.parse(arguments)
    part = spans_data.Part(options.corpus, options.documents)
    files = spans_data.prepare(options.data, options.work, part)
    runs = [spans.Run(name, options.seeds[:1], part, options.steps) for name in NAMES]
    missing = [r.result for r in runs if not (r.folder(options.work) / "cost.json").is_file()]
    if missing:
        raise SystemExit(f"Train these with spans.py first: {', '.join(missing)}")
    start = time.perf_counter()
    turns: Dict[str, List[Dict[str, float]]] = {name: [] for name in NAMES}
    for i in range(TURNS):
        for run in runs:
            print(f"turn {i + 1}/{TURNS}: {run.name}", flush=True)
            turns[run.name].append(turn(run, options.work, files, options))
    figures = {
        name: {key: statistics.median(found[key] for found in of_name) for key in of_name[0]}
        for name, of_name in turns.items()
    }
    metrics = {f"{name} {k}": value for name, of in figures.items() for k, value in of.items()}
    path = write_result(
        f"spans_speed_{runs[0].cut}",
        benchmark="spans_speed",
        system="spacy_bioie and spaCy",
        metrics={**metrics, **ratios(figures)},
        data=files.sources,
        config={
            "names": {name: SYSTEMS[name].title for name in NAMES},
            "compared": COMPARED,
            "turns": TURNS,
            "updates": UPDATES,
            "documents": files.documents,
            "steps": options.steps,
        },
        seeds=options.seeds[:1],
        seconds=time.perf_counter() - start,
        peak_memory_mb=max(value for key, value in metrics.items() if "peak" in key),
    )
    print(json.dumps(ratios(figures), indent=2))
    print(path.name)


if __name__ == "__main__":
    main()
