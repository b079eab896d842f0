"""The tables of ``relations.py`` in the README: means over seeds, paired bootstraps over documents.

Counts of a document are summed over the seeds of a system, so that the difference of two systems
is that of their figures over all seeds.
"""

from collections import defaultdict
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy
from spans_report import Table, mean, number, seeds

LEVELS = ("bt", "tt", "tm")
INPUTS = {
    "gold": "gold mentions",
    "gut_instincts": "mentions that Gut-Instincts found (rows of stored predictions: theirs)",
    "own": "mentions that a trained pipeline of ours found",
}
READINGS = ("tuned", "per_predicate", "own_level", "half", "argmax")
ROLES = ("fixed", "peer", "ours", "ensemble", "ablation")
OURS = ("ours", "ensemble")
OF_ABLATIONS = "pairs_frozen"
CROSS_ENCODER = "lyx_cross_encoder"
FASTER = 20
# micro-F1 of ours on Gut-Instincts' mentions at least, and what it is above each peer
EXPECTED = {"bt": 0.72, "tt": 0.70, "tm": 0.47}
EXPECTED_GAIN = 0.02
RESAMPLES = 2000
_TWO = ("gold", "gut_instincts")
Result = Dict[str, Any]
Systems = Dict[str, List[Result]]


def relation_tables(results: Sequence[Result]) -> Iterator[Table]:
    """The tables of each corpus."""
    corpora: Dict[str, Systems] = defaultdict(lambda: defaultdict(list))
    for result in results:
        corpora[result["config"]["corpus"]][result["config"]["key"]].append(result)
    for corpus, systems in corpora.items():
        ordered = sorted(systems.items(), key=lambda item: ROLES.index(_role(item[1])))
        systems = dict(ordered)
        if corpus == "gutbrainie":
            main = {key: found for key, found in systems.items() if _role(found) != "ablation"}
            for name in INPUTS:
                yield from input_table(main, name)
            yield from difference_table(main)
            yield from stratum_tables(main)
            yield from reading_table(main)
            yield from ablation_table(systems)
        else:
            yield concept_table(systems, corpus)
        yield from cost_table(systems, corpus)


def input_table(systems: Systems, name: str) -> Iterator[Table]:
    """Strict figures over one input, and those of thresholds for each level by itself."""
    head = ["system", "seeds"]
    head += [f"{level.upper()} {figure}" for level in LEVELS for figure in ("P", "R", "F1")]
    head += ["own threshold: BT", "TT", "official 2025: BT", "TT", "TM"]
    rows = []
    for key, found in systems.items():
        prefix = _prefix(found, name)
        if mean(found, f"{prefix}_bt_micro_f") is None:
            continue
        keys = [f"{prefix}_{level}_micro_{f}" for level in LEVELS for f in ("p", "r", "f")]
        keys += [f"{prefix}_own_level_{level}_micro_f" for level in LEVELS[:2]]
        keys += [f"{prefix}_{level}_2025_micro_f" for level in LEVELS]
        rows.append([_title(key, found), seeds(found) or "-", *(_mean(found, k) for k in keys)])
    if rows:
        yield Table(
            f"GutBrainIE's dev, {INPUTS[name]}: relations as sets in which every prediction "
            "counts.",
            head,
            rows,
        )


def difference_table(systems: Systems) -> Iterator[Table]:
    """Ours less each peer on Gut-Instincts' mentions, and what was expected of it."""
    ours = [key for key, found in systems.items() if _role(found) in OURS]
    peers = [key for key, found in systems.items() if _role(found) in ("peer", "fixed")]
    rows = []
    for key in ours:
        for peer in peers:
            cells = [difference(systems[key], systems[peer], level) for level in LEVELS]
            if set(cells) != {"-"}:
                rows.append([f"`{key}`", f"`{peer}`", *cells])
    if rows:
        yield Table(
            "Ours less others on the mentions that Gut-Instincts found, micro-F1 with the 95 % "
            "interval and the two-sided p of a paired bootstrap over documents. "
            + verdict(systems),
            ["ours", "less", *(level.upper() for level in LEVELS)],
            rows,
        )


def verdict(systems: Systems) -> str:
    """Whether each of ours reached what was expected; peers count with the better one of their
    thresholds: as published, or chosen for each level."""
    said = []
    peers = [found for found in systems.values() if _role(found) == "peer"]
    for key, found in systems.items():
        if _role(found) not in OURS:
            continue
        values = {level: mean(found, f"gut_instincts_{level}_micro_f") for level in LEVELS}
        short = [
            f"{level.upper()} {value:.3f}, expected {EXPECTED[level]:.2f}"
            for level, value in values.items()
            if value is not None and value < EXPECTED[level]
        ]
        for level, value in values.items():
            others = [
                mean(peer, f"gut_instincts_{reading}{level}_micro_f")
                for peer in peers
                for reading in ("", "own_level_")
            ]
            best = max((other for other in others if other is not None), default=None)
            if value is not None and best is not None and value - best < EXPECTED_GAIN:
                short.append(f"{level.upper()} {value - best:+.3f} to the best peer")
        expected = "all that was expected" if not short else f"short: {'; '.join(short)}"
        said.append(f"`{key}`: {expected}.")
    return " ".join(said)


def stratum_tables(systems: Systems) -> Iterator[Table]:
    """F1 by the distance of the mentions and by predicate, over gold mentions."""
    tables = {
        key: [r["details"]["tables"]["gold"] for r in found if r["details"].get("tables")]
        for key, found in systems.items()
    }
    tables = {key: found for key, found in tables.items() if found}
    for table, text in (("distance", "the distance of the mentions"), ("predicate", "predicate")):
        gold = {
            row: values["gold"]
            for found in tables.values()
            for row, values in found[0][table].items()
            if values["gold"]
        }
        rows = []
        for row, n in gold.items():
            cells = []
            for found in tables.values():
                cells.append(number(numpy.mean([_f1(t[table], row) for t in found]), 3))
            rows.append([row, str(n), *cells])
        if rows:
            yield Table(
                f"GutBrainIE's dev, gold mentions: F1 of relations between the same mentions, by "
                f"{text}.",
                ["", "gold", *(f"`{key}`" for key in tables)],
                rows,
            )


def reading_table(systems: Systems) -> Iterator[Table]:
    """TM of the same trained models, with thresholds that are chosen in other ways."""
    rows = [
        [f"`{key}`", *(_mean(found, f"{name}_{r}_tm_micro_f") for name, r in _cells())]
        for key, found in systems.items()
        if _role(found) != "fixed"
    ]
    if rows:
        yield Table(
            "TM micro-F1 of the same models by the way thresholds are chosen (see "
            "`relations_figures.py`). `argmax` is Gut-Instincts' own way, `half` ATLOP's.",
            ["", *(f"{name}, {reading}" for name, reading in _cells())],
            rows,
        )


def ablation_table(systems: Systems) -> Iterator[Table]:
    base = systems.get(OF_ABLATIONS)
    if base is None or not any(_role(found) == "ablation" for found in systems.values()):
        return
    rows = []
    for key, found in systems.items():
        if key == OF_ABLATIONS or _role(found) == "ablation":
            keys = [f"{n}_{level}_micro_f" for n in ("gold", "gut_instincts") for level in LEVELS]
            alike = [result for result in base if result["seeds"] in [r["seeds"] for r in found]]
            less = ["-" if found is base else difference(found, alike, "tm", n) for n in _TWO]
            rows.append([_title(key, found), seeds(found), *(_mean(found, k) for k in keys), *less])
    names = [f"{name}, {level.upper()}" for name in _TWO for level in LEVELS]
    yield Table(
        f"Ablations of `{OF_ABLATIONS}`: one thing changed in each; micro-F1, and TM less that of "
        f"`{OF_ABLATIONS}` with the same seeds.",
        ["", "seeds", *names, *(f"{name}, TM less" for name in _TWO)],
        rows,
    )


def concept_table(systems: Systems, corpus: str) -> Table:
    keys = [f"gold_c_micro_{figure}" for figure in "prf"]
    keys += [f"gold_{reading}_c_micro_f" for reading in ("per_predicate", "half")]
    rows = [
        [_title(key, found), seeds(found) or "-", *(_mean(found, k) for k in keys)]
        for key, found in systems.items()
    ]
    documents = next(iter(systems.values()))[0]["config"]["documents"]
    text = f"`{corpus}`, dev ({documents['dev']} documents), gold mentions: relations of concepts."
    head = ["system", "seeds", "P", "R", "F1", "per_predicate: F1", "half: F1"]
    return Table(text, head, rows)


def cost_table(systems: Systems, corpus: str) -> Iterator[Table]:
    """Time and memory of training and of prediction over gold mentions, the encoder included."""
    head = ["", "updates", "training, minutes", "CPU minutes", "GB", "pairs", "documents a second"]
    head += ["CPU seconds a document", "GB of prediction"]
    rows = []
    per_second = {}
    for key, found in systems.items():
        documents = found[0]["config"]["documents"]["dev"]
        rate = mean(found, "predict_docs_per_second")
        if rate is None:
            continue
        cpu = (mean(found, "predict_cpu_seconds") or 0.0) / documents
        per_second[key] = 1 / cpu if cpu else 0.0
        row = [f"`{key}`", number(mean(found, "train_steps"), 0)]
        for name in ("train_seconds", "train_cpu_seconds"):
            spent = mean(found, name)
            row.append(number(None if spent is None else spent / 60, 1))
        for name in ("train_peak_memory_mb", "predict_peak_memory_mb"):
            held = mean(found, name)
            row.append(number(None if held is None else held / 1024, 1))
        row[-1:-1] = [number(mean(found, "predict_pairs"), 0), number(rate, 2), number(cpu, 2)]
        rows.append(row)
    if not rows:
        return
    faster = ""
    if CROSS_ENCODER in per_second:
        faster = "Documents by CPU time in those of the cross-encoder: " + ", ".join(
            f"`{key}` {value / per_second[CROSS_ENCODER]:.0f}"
            for key, value in per_second.items()
            if _role(systems[key]) in OURS
        )
        faster += f"; expected {FASTER} or more."
    cut = [key for key in per_second if systems[key][0]["config"]["cut_to_steps"]]
    shortened = f"Trainings cut short: {', '.join(f'`{key}`' for key in cut)}." if cut else ""
    hardware = next(iter(systems.values()))[0]["hardware"]
    text = f"`{corpus}`: cost on {hardware['gpu'] or hardware['cpu']}. {faster} {shortened}".strip()
    yield Table(text, head, rows)


def difference(
    found: Sequence[Result], others: Sequence[Result], level: str, name: str = "gut_instincts"
) -> str:
    """Micro-F1 of one system less that of another, with its interval and p-value."""
    counts = [pooled(side, level, name) for side in (found, others)]
    if not all(len(side) for side in counts) or len(counts[0]) != len(counts[1]):
        return "-"
    from spacy_bioie.scoring.bootstrap import paired_table_bootstrap
    from spacy_bioie.scoring.rules import CountTable

    a, b = (CountTable([("",)], side[:, None], every_prediction=True) for side in counts)
    value = paired_table_bootstrap(a, b, RESAMPLES)["micro_f"]
    return f"{value.difference:+.4f} [{value.low:+.4f}, {value.high:+.4f}], {value.p_value:.3f}"


def pooled(results: Sequence[Result], level: str, name: str) -> numpy.ndarray:
    """The counts of each document, summed over seeds: int64, (documents, 3), or (0, 3)."""
    prefix = _prefix(results, name)
    lines = [result["details"]["counts"].get(prefix, {}).get(level) for result in results]
    counts = [read_counts(line) for line in lines if line]
    return sum(counts) if counts else numpy.zeros((0, 3), dtype="int64")  # type: ignore[return-value]


def write_counts(counts: numpy.ndarray) -> str:
    """Hits, false ones and missed ones of each document in one line."""
    return " ".join("/".join(map(str, row)) for row in counts.tolist())


def read_counts(line: str) -> numpy.ndarray:
    """RETURNS: int64, (documents, 3)."""
    return numpy.asarray([row.split("/") for row in line.split()], dtype="int64").reshape((-1, 3))


def _prefix(found: Sequence[Result], name: str) -> str:
    """What the figures of a system over an input begin with."""
    return "stored" if _role(found) == "fixed" and name == "gut_instincts" else name


def _f1(rows: Dict[str, Dict[str, float]], row: str) -> float:
    return rows[row]["f"] if row in rows else 0.0


def _cells() -> List[Tuple[str, str]]:
    return [(name, reading) for name in _TWO for reading in READINGS]


def _mean(found: Sequence[Result], key: str) -> str:
    return number(mean(found, key))


def _role(found: Sequence[Result]) -> str:
    return str(found[0]["config"]["role"])


def _title(key: str, found: Sequence[Result]) -> str:
    return f"{found[0]['system']} (`{key}`)"
