"""What ``spans.py`` runs in processes of its own, so that peak memory is that of one system.

``train CONFIG OUTPUT LOG GPU`` trains a config as ``spacy train`` does; ``evaluate SPEC OUTPUT``
scores a trained pipeline, or an ensemble of several, and takes its time.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import spacy
from spacy.cli.train import train as spacy_train
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from tqdm import tqdm

from spacy_bioie.annotation import META_KEY, Mention, set_mentions
from spacy_bioie.formats.docbin import read_docbin
from spacy_bioie.scoring.rules import TASKS, CountTable, count_items, precision_recall_f1
from spacy_bioie.scoring.spans import span_items
from spacy_bioie.scoring.tokens import score_tokens
from spacy_bioie.training.ensembling import join_scores, join_spans
from spacy_bioie.training.weight_averaging import average_saved_pipelines

STEP_LOG = "spans_benchmark.StepLog.v1"
PASSES = 3
RULES = ("strict", "official-2025")
ALPHAS = 20  # values of a learned alpha that are kept, and the last one


def train(config: Path, output: Path, log: Path, gpu_id: int = -1) -> None:
    """Train a config, and write what each update took to ``log``."""
    logger = {"training.logger.@loggers": STEP_LOG, "training.logger.path": str(log)}
    spacy_train(config, output, use_gpu=gpu_id, overrides=logger)


@registry.loggers(STEP_LOG)
def step_log(path: str, progress_bar: bool = True) -> Callable:
    """A logger that writes time, memory, scores and a learned alpha when training has ended."""

    def setup(nlp: Language, stdout: Any, stderr: Any) -> Tuple[Callable, Callable]:
        training = nlp.config["training"]
        weighed = [name for name, weight in training["score_weights"].items() if weight]
        bar = tqdm(total=training["max_steps"] + 1, unit="step", disable=not progress_bar)
        before, started = resident_mb(), (time.perf_counter(), time.process_time())
        last = started[0]
        updates: List[float] = []  # seconds of updates without an evaluation
        alphas: List[List[float]] = []
        checkpoints: List[Dict[str, float]] = []
        steps = 0

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            nonlocal last, steps
            now = time.perf_counter()
            if info is None:
                updates.append(now - last)
            else:
                score = {name: info["other_scores"].get(name, 0.0) for name in weighed}
                checkpoints.append({"step": info["step"], **score})
                bar.set_postfix(score)
            alpha = learned_alpha(nlp)
            if alpha is not None:
                alphas.append([steps, round(alpha, 4)])
            steps += 1
            bar.update()
            last = now

        def finalize() -> None:
            bar.close()
            every = max(1, len(alphas) // ALPHAS)
            figures = {
                "updates": steps,
                "steps_per_second": len(updates) / sum(updates) if updates else None,
                "training_seconds": last - started[0],
                "training_cpu_seconds": time.process_time() - started[1],
                "training_resident_before_mb": before,
                "checkpoints": checkpoints,
                "alpha": [*alphas[:-1:every], *alphas[-1:]],
            }
            Path(path).write_text(json.dumps(figures), encoding="utf8")

        return log_step, finalize

    return setup


def learned_alpha(nlp: Language) -> Optional[float]:
    if not nlp.has_pipe("nested_spancat"):
        return None
    component: Any = nlp.get_pipe("nested_spancat")
    read = getattr(component.head, "learned_values", None)
    return read(component.model).get("alpha") if read else None


def evaluate(spec: Path, output: Path) -> None:
    """Score and time what ``spec`` names.

    spec: JSON with "members" (folders of pipelines), "method" (of an ensemble, or empty), "added"
        (components, initialized with the documents of the file "train"), "test" and "held_out"
        (files), "gpu_id" and "passes" (over the test documents, for time).
    """
    settings = json.loads(spec.read_text("utf8"))
    if settings["gpu_id"] >= 0:
        spacy.require_gpu(settings["gpu_id"])
    nlp = load(settings["members"], settings["method"])
    add_components(nlp, settings["added"], settings["train"])
    gold = {name: list(read_docbin(settings[name], nlp.vocab)) for name in ("test", "held_out")}
    before = resident_mb()
    texts = [doc.text for doc in gold["test"]]
    predicted, metrics = timed(nlp, texts, settings["passes"], settings["added"])
    metrics["inference_resident_before_mb"] = before
    for rules in RULES:
        averages = count(gold["test"], predicted, rules).averages()
        metrics.update({f"{rules}_{name}": value for name, value in averages.items()})
    metrics.update(token_figures(gold["test"], predicted))
    table = count(gold["test"], predicted, "strict")
    per_label = precision_recall_f1(table.totals)[:, 2]
    for (label,), value, present in zip(table.classes, per_label, table.in_gold, strict=True):
        if present:
            metrics[f"strict_f {label}"] = float(value)
    found = [as_mentions(doc) for doc in nlp.pipe(doc.text for doc in gold["held_out"])]
    metrics["held_out_strict_micro_f"] = count(gold["held_out"], found, "strict").averages()[
        "micro_f"
    ]
    metrics["mentions_found"] = int(table.totals[:, :2].sum())
    result = {"metrics": metrics, "counts": sparse_counts(table, gold["test"])}
    output.write_text(json.dumps(result), encoding="utf8")


def load(members: Sequence[str], method: str) -> Language:
    """One pipeline, or an ensemble of several."""
    if method == "weights":
        return average_saved_pipelines(members)
    pipelines = [spacy.load(member) for member in members]
    if not method:
        return pipelines[0]
    if method == "spans":
        return join_spans(pipelines, names=members)
    return join_scores(pipelines, method, names=members)


def add_components(nlp: Language, names: Sequence[str], train: str) -> None:
    """Let these follow what finds mentions; those that need to know of mentions learn of them."""
    for name in names:
        added: Any = nlp.add_pipe(name)
        if hasattr(added, "initialize"):
            examples = [Example(doc, doc) for doc in read_docbin(train, nlp.vocab)]
            added.initialize(lambda examples=examples: examples, nlp=nlp)


def timed(
    nlp: Language, texts: List[str], passes: int, added: Sequence[str]
) -> Tuple[List[Doc], Dict[str, Any]]:
    """The predicted documents, and how long they took: the whole pipeline, and its head.

    added: components that the head, the last one but for these, does without.
    """
    list(nlp.pipe(texts[: nlp.batch_size]))
    seconds, cpu = [], time.process_time()
    for _ in range(passes):
        start = time.perf_counter()
        docs = list(nlp.pipe(texts))
        seconds.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / passes
    heads = []
    for _ in range(passes):
        parts = [nlp.make_doc(text) for text in texts]
        head = 0.0
        for name, component in nlp.pipeline:
            start = time.perf_counter()
            parts = list(component.pipe(parts, batch_size=nlp.batch_size))
            head = head if name in added else time.perf_counter() - start
        heads.append(head)
    middle = passes // 2
    return [as_mentions(doc) for doc in docs], {
        "documents_per_second": len(texts) / sorted(seconds)[middle],
        "inference_cpu_seconds": cpu,
        "head_seconds": sorted(heads)[middle],
    }


def as_mentions(doc: Doc) -> Doc:
    """The entities of spaCy's ``ner`` as mentions, where nothing else has found any."""
    if "sc" not in doc.spans:
        entities = [Mention(ent.start, ent.end, ent.label_) for ent in doc.ents]
        set_mentions(doc, "sc", entities)
    return doc


def count(gold: Sequence[Doc], predicted: Sequence[Doc], rules: str) -> CountTable:
    items = [[span_items(doc) for doc in docs] for docs in (gold, predicted)]
    return count_items(*items, TASKS["ner"], rules)


def token_figures(gold: Sequence[Doc], predicted: Sequence[Doc]) -> Dict[str, Optional[float]]:
    """Scores of the gold documents' tokens: "token_accuracy" and the others."""
    examples = [Example(*docs) for docs in zip(predicted, gold, strict=True)]
    return {key.removeprefix("ner_"): value for key, value in score_tokens(examples).items()}


def sparse_counts(table: CountTable, docs: Sequence[Doc]) -> Dict[str, Dict[str, str]]:
    """Document -> label -> "hits/false/missed", where there are any."""
    counts: Dict[str, Dict[str, str]] = {}
    for doc, row in zip(docs, table.counts.tolist(), strict=True):
        counts[str(doc.user_data[META_KEY]["id"])] = {
            label: "/".join(map(str, numbers))
            for (label,), numbers in zip(table.classes, row, strict=True)
            if any(numbers)
        }
    return counts


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text("utf8").split()[1])
    return pages * 4096 / 2**20


def main(arguments: Sequence[str]) -> None:
    command, *rest = arguments
    if command == "train":
        config, output, log, gpu_id = rest
        train(Path(config), Path(output), Path(log), int(gpu_id))
    else:
        spec, output = rest
        evaluate(Path(spec), Path(output))


if __name__ == "__main__":
    main(sys.argv[1:])
