"""The tables of ``spans.py`` in the README: means over seeds, and paired bootstraps over documents.

Counts of a document are summed over the seeds of a system (and documents of all folds stand side
by side), so that the difference of two systems is that of their figures over all seeds.
"""

import math
import statistics
from collections import defaultdict
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy

BASES = ("tagger", "tagger_labels")  # the first that a table has
RESAMPLES = 2000
# what was expected of ours at least: on dev of GutBrainIE, and above the best peer
EXPECTED = {"single": 0.76, "ensemble": 0.78}
EXPECTED_GAIN = 0.02
# what stands beside strict figures: GutBrainIE's rules, or in other corpora those of tokens
OFFICIAL = {
    "official 2025 micro": "official-2025_micro_f",
    "official 2025 macro": "official-2025_macro_f",
}
TOKENS = {
    "token accuracy": "token_accuracy",
    "token macro-F1": "token_macro_f",
    "token micro-F1 without O": "token_entity_micro_f",
}
BESIDE = {"gutbrainie": OFFICIAL, "bionne_en": OFFICIAL}
ALPHA_RATE = 0.01  # of AdaBioBERT, the highest of a schedule that is half of it on average
Result = Dict[str, Any]
Counts = Dict[str, Dict[str, numpy.ndarray]]


class Table(NamedTuple):
    """A paragraph and the table below it."""

    text: str
    head: List[str]
    rows: List[List[str]]


def span_tables(results: Sequence[Result]) -> Iterator[Table]:
    """The tables of each corpus and each cut of it."""
    groups: Dict[Tuple, List[Result]] = defaultdict(list)
    for result in results:
        config = result["config"]
        folds = config["fold"][1]
        groups[config["corpus"], config["cut_to_documents"], config["steps"], folds].append(result)
    for (corpus, cut, steps, folds), members in groups.items():
        by_name: Dict[str, List[Result]] = defaultdict(list)
        for result in members:
            by_name[result["config"]["name"]].append(result)
        config = members[0]["config"]
        where = f"{folds} folds of platinum and gold" if folds else "dev"
        cut_text = f"cut to {cut} documents, " if cut else ""
        text = (
            f"`{corpus}`, {where}: {cut_text}{config['documents']['train']} training documents, "
            f"{steps} updates of 16 documents for all, checkpoint by "
            f"{config['documents']['held_out']} held-out documents"
        )
        if corpus not in BESIDE:
            text += (
                "; a document is ten sentences in succession where the corpus does not name any, "
                "and figures of tokens, O among them, are those that AdaBioBERT reports"
            )
        yield main_table(by_name, text)
        yield label_table(by_name, f"`{corpus}`, {where}: strict F1 of each label")
        if any(result["details"].get("alpha") for result in members):
            text = f"`{corpus}`, {where}: the learned alpha over training"
            yield alpha_table(by_name, text, steps)


def main_table(by_name: Dict[str, List[Result]], text: str) -> Table:
    base = next((name for name in BASES if name in by_name), BASES[0])
    corpus = next(iter(by_name.values()))[0]["config"]["corpus"]
    beside = BESIDE.get(corpus, TOKENS)
    head = ["system", "seeds", "P", "R", "strict micro-F1", "sd", "macro-F1", *beside]
    head += [f"difference to `{base}`, same seeds", "held out", "steps a second"]
    head += ["documents a second", "minutes", "GB training", "GB inference"]
    rows = []
    for name, found in ordered(by_name):
        means = {key: mean(found, key) for key in found[0]["metrics"]}
        micro = [result["metrics"]["strict_micro_f"] for result in found]
        row = [f"{found[0]['system']} (`{name}`)", seeds(found)]
        row += [number(means[f"strict_{key}"]) for key in ("micro_p", "micro_r", "micro_f")]
        row.append(number(statistics.stdev(micro)) if len(micro) > 1 else "-")
        row += [number(means[key]) for key in ("strict_macro_f", *beside.values())]
        row.append(difference(by_name, name, base))
        row.append(number(means["held_out_strict_micro_f"]))
        row += [number(means.get(key), 2) for key in ("steps_per_second", "documents_per_second")]
        row.append(number(statistics.mean(result["seconds"] for result in found) / 60, 1))
        gigabytes = (means.get("training_peak_mb"), means.get("inference_peak_mb"))
        row += [number(None if mb is None else mb / 1024, 1) for mb in gigabytes]
        rows.append(row)
    return Table(f"{text}. {verdict(by_name)}", head, rows)


def verdict(by_name: Dict[str, List[Result]]) -> str:
    """The best of ours by held-out documents against the best peers on the documents scored."""
    said = []
    for which, ours, peers in (
        ("single", ("ours", "ablation"), ("peer",)),
        ("ensemble", ("ensemble",), ("peer", "peer ensemble")),
    ):
        own, others = (names_of(by_name, kinds) for kinds in (ours, peers))
        if not own or not others:
            continue
        best = max(own, key=lambda name: mean(by_name[name], "held_out_strict_micro_f") or 0.0)
        peer = max(others, key=lambda name: mean(by_name[name], "strict_micro_f") or 0.0)
        value = number(mean(by_name[best], "strict_micro_f"))
        config = by_name[best][0]["config"]
        expected = f"the gain was expected to be {EXPECTED_GAIN:.2f} or more"
        if config["corpus"] == "gutbrainie" and not config["fold"][1]:
            expected += f", and F1 {EXPECTED[which]:.2f}"
        said.append(
            f"The best {which} of ours by held-out documents is `{best}` with {value}; the best "
            f"peer on the scored documents themselves is `{peer}`, difference "
            f"{difference(by_name, best, peer)}; {expected}."
        )
    return " ".join(said)


def label_table(by_name: Dict[str, List[Result]], text: str) -> Table:
    keys = {key for found in by_name.values() for result in found for key in result["metrics"]}
    labels = sorted(key for key in keys if key.startswith("strict_f "))
    rows = [
        [f"`{name}`", *(number(mean(found, label), 3) for label in labels)]
        for name, found in ordered(by_name)
    ]
    return Table(f"{text}.", ["", *(label.removeprefix("strict_f ") for label in labels)], rows)


def alpha_table(by_name: Dict[str, List[Result]], text: str, steps: int) -> Table:
    """Where the alpha of each run went, and in how many of the pairs of values kept it rose."""
    end = 1 / (1 + math.exp(-ALPHA_RATE * steps / 2))
    text += (
        f". An alpha that each update raised by the whole of its rate, and so by the number of "
        f"updates alone, would end at about {end:.3f}; one that each lowered, at {1 - end:.3f}"
    )
    rows = []
    for name, found in ordered(by_name):
        for result in found:
            alpha = result["details"].get("alpha")
            if alpha:
                picked = [alpha[round(i * (len(alpha) - 1) / 4)] for i in range(5)]
                cells = [number(value, 3) for _, value in picked]
                values = [value for _, value in alpha]
                rises = sum(a < b for a, b in zip(values, values[1:], strict=False))
                cells.append(f"{rises} of {len(values) - 1}")
                rows.append([f"`{name}`, seed {result['seeds'][0]}", *cells])
    return Table(f"{text}.", ["", "start", "1/4", "1/2", "3/4", "end", "rises"], rows)


def pooled(results: Sequence[Result]) -> Counts:
    """Document -> label -> hits, false and missed mentions, summed over seeds."""
    total: Counts = {}
    for result in results:
        for document, labels in result["details"]["counts"].items():
            row = total.setdefault(document, {})
            for label, numbers in labels.items():
                found = numpy.asarray([int(n) for n in numbers.split("/")])
                row[label] = row.get(label, 0) + found
    return total


def of_same_seeds(by_name: Dict[str, List[Result]], *names: str) -> List[List[Result]]:
    """The results of two systems with the seeds that both have; an ensemble has its members'."""
    found = [by_name.get(name, []) for name in names]
    seeds = [{seed for result in results for seed in result["seeds"]} for results in found]
    shared = seeds[0] & seeds[1]
    return [[r for r in results if shared.issuperset(r["seeds"])] for results in found]


def difference(by_name: Dict[str, List[Result]], name: str, other: str) -> str:
    """Micro-F1 of one system less that of another, with its interval and p-value."""
    pair = of_same_seeds(by_name, name, other)
    counts = {key: pooled(found) for key, found in zip((name, other), pair, strict=True)}
    if name == other or not all(pair) or set(counts[name]) != set(counts[other]):
        return "-"
    from spacy_bioie.scoring.bootstrap import paired_table_bootstrap
    from spacy_bioie.scoring.rules import CountTable

    documents = sorted(counts[name])
    tables = []
    for system in (name, other):
        found = counts[system]
        labels = sorted({label for row in found.values() for label in row})
        table = numpy.zeros((len(documents), len(labels), 3), dtype="int64")
        for i, document in enumerate(documents):
            for label, numbers in found[document].items():
                table[i, labels.index(label)] = numbers
        tables.append(CountTable([(label,) for label in labels], table, every_prediction=True))
    found = paired_table_bootstrap(tables[0], tables[1], RESAMPLES)["micro_f"]
    return f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}], {found.p_value:.3f}"


def ordered(by_name: Dict[str, List[Result]]) -> List[Tuple[str, List[Result]]]:
    """Peers, ours, ablations, ensembles; each in the order of its figure."""
    kinds = ["peer", "ours", "ablation", "peer ensemble", "ensemble"]
    return sorted(
        by_name.items(),
        key=lambda item: (
            kinds.index(item[1][0]["config"]["kind"]),
            -(mean(item[1], "strict_micro_f") or 0.0),
        ),
    )


def names_of(by_name: Dict[str, List[Result]], kinds: Sequence[str]) -> List[str]:
    return [name for name, found in by_name.items() if found[0]["config"]["kind"] in kinds]


def seeds(results: Sequence[Result]) -> str:
    groups = dict.fromkeys("+".join(map(str, result["seeds"])) for result in results)
    return ", ".join(groups)


def mean(results: Sequence[Result], key: str) -> Optional[float]:
    found = [result["metrics"].get(key) for result in results]
    values = [value for value in found if value is not None]
    return statistics.mean(values) if values else None


def number(value: Optional[float], digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def speed_tables(results: Sequence[Result]) -> Iterator[Table]:
    """Figures of ``spans_speed.py``, a row for each system and one for each ratio."""
    for result in results:
        metrics, config = result["metrics"], result["config"]
        keys = list(dict.fromkeys(k.split(" ")[1] for k in metrics if "/" not in k))
        rows = [
            [title, *(number(metrics[f"{name} {key}"], 2) for key in keys)]
            for name, title in config["names"].items()
        ]
        hardware = result["hardware"]
        yield Table(
            f"Medians of {config['turns']} turns of {config['updates']} updates and of the scored "
            f"documents, on {hardware['gpu'] or hardware['cpu']}.",
            ["", *(key.replace("_", " ") for key in keys)],
            rows,
        )
        kinds = list(dict.fromkeys(k.split(" ")[1] for k in metrics if "/" in k))
        rows = [
            [f"`{name}` / `{peer}`", *(number(metrics[f"{name}/{peer} {k}"], 2) for k in kinds)]
            for name, peer in config["compared"].items()
        ]
        yield Table(
            "Ours in those of spaCy's. Expected: inference of the tagger at most 1.1; time and "
            "memory of the pointer at most 0.5.",
            ["", *(kind.replace("_", " ") for kind in kinds)],
            rows,
        )
