"""Write ``benchmarks/README.md`` from the results: ``python benchmarks/readme.py``."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

from results import FOLDER, read_results

PATH = Path(__file__).resolve().parent / "README.md"

INTRODUCTION = """# Benchmarks

Made by `python benchmarks/readme.py` from the files of `results/`; each file names the data with
hashes, the seeds, the versions, the hardware, and the seconds and memory of the run.

| script | what it shows | command |
|---|---|---|
| `gutbrainie.py` | what training on GutBrainIE reaches on dev | \
`python -m spacy project run gutbrainie` |
| `pipeline_overhead.py` | the whole pipeline against its encoder's bare forward pass | \
`python benchmarks/pipeline_overhead.py PIPELINE ARTICLES.json --name NAME` |
"""

GUTBRAINIE = [
    ("Mentions, strict, micro-F1", "ner_strict_micro_f"),
    ("Mentions, official 2025, micro-F1 (submission file)", "submission_ner_official-2025_micro_f"),
    ("Mentions, official 2025, macro-F1 (submission file)", "submission_ner_official-2025_macro_f"),
    ("Mentions, official 2026, micro-F1 (submission file)", "submission_ner_official-2026_micro_f"),
    ("Links of gold mentions, Acc@1", "nel_gold_acc1"),
    ("Links of gold mentions, Acc@5", "nel_gold_acc5"),
    ("- dictionary alone, Acc@1", "linking_dictionary_acc1"),
    ("- search alone, Acc@1", "linking_search_acc1"),
    ("- whole linker, names unseen in training, Acc@1", "linking_linker_unseen_names_acc1"),
    ("- whole linker, concepts unseen in training, Acc@1", "linking_linker_unseen_concepts_acc1"),
    ("Mentions and links, official 2026, micro-F1", "submission_nerd_official-2026_micro_f"),
    ("Relations on gold mentions, BT, strict micro-F1", "rel_gold_bt_micro_f"),
    ("Relations on gold mentions, TT, strict micro-F1", "rel_gold_tt_micro_f"),
    ("Relations on gold mentions, TM, strict micro-F1", "rel_gold_tm_micro_f"),
    ("Relations on predicted mentions, BT, strict micro-F1", "rel_pred_bt_micro_f"),
    ("Relations on predicted mentions, TT, strict micro-F1", "rel_pred_tt_micro_f"),
    ("Relations on predicted mentions, TM, strict micro-F1", "rel_pred_tm_micro_f"),
    ("BT, official 2025, micro-F1 (submission file)", "submission_bt_official-2025_micro_f"),
    ("TT, official 2025, micro-F1 (submission file)", "submission_tt_official-2025_micro_f"),
    ("TM, official 2025, micro-F1 (submission file)", "submission_tm_official-2025_micro_f"),
    ("M-RE, official 2026, micro-F1 (submission file)", "submission_m-re_official-2026_micro_f"),
    ("C-RE, official 2026, micro-F1 (submission file)", "submission_c-re_official-2026_micro_f"),
]

# What was expected of the workflow at least.
EXPECTED = {
    "ner_strict_micro_f": 0.70,
    "nel_gold_acc1": 0.82,
    "nel_gold_acc5": 0.92,
    "rel_gold_bt_micro_f": 0.68,
    "rel_gold_tt_micro_f": 0.65,
    "rel_gold_tm_micro_f": 0.48,
}


def gutbrainie(results: List[Dict[str, Any]]) -> List[str]:
    """Figures on GutBrainIE's dev documents, a column for each run."""
    lines = ["", "## GutBrainIE, dev (40 documents)", ""]
    lines += [
        "Checkpoint and threshold were chosen on the documents held out of platinum and gold, the "
        "weights of silver and of the relations' loss, the name weights and the averaging of "
        "thresholds by cross-validation or held-out documents of the same two. Only the number of "
        "epochs, 8, goes back to dev figures of an earlier version. One seed: with 40 documents "
        "differences of .02 are noise.",
        "",
    ]
    heads = [_system(result) for result in results]
    lines += _table(
        ["figure", *heads],
        [[label, *(_figure(r["metrics"].get(key)) for r in results)] for label, key in GUTBRAINIE],
    )
    for result in results:
        hardware = result["hardware"]
        lines += [
            "",
            f"{_system(result)}: commit `{result['commit'][:10]}`, trained in "
            f"{result['seconds'] / 60:.0f} minutes on {hardware['gpu'] or hardware['cpu']} "
            f"({hardware['cores']} cores), {result['peak_memory_mb'] / 1024:.1f} GB at the peak; "
            "threshold of relations "
            f"{result['config']['relation_threshold']:.2f}, chosen on held-out documents. "
            + _short(result["metrics"]),
        ]
    return lines


def _short(metrics: Dict[str, Any]) -> str:
    """Which of the figures that were expected at least were not reached."""
    names = {key: label for label, key in GUTBRAINIE}
    short = [
        f"{names[key]}: {metrics[key]:.3f}, expected {least:.2f}"
        for key, least in EXPECTED.items()
        if metrics[key] < least
    ]
    if not short:
        return "All figures that were expected were reached."
    return f"Short of what was expected: {'; '.join(short)}."


def overhead(results: List[Dict[str, Any]]) -> List[str]:
    """Cost of the whole pipeline and of its parts."""
    lines = ["", "## Pipeline against bare encoder", ""]
    for result in results:
        metrics, config = result["metrics"], result["config"]
        lines += [
            f"`{result['system']}`, {config['threads']} threads, medians of {config['runs']} runs, "
            f"{result['peak_memory_mb'] / 1024:.1f} GB at the peak. The pipeline takes "
            f"{metrics['ratio_to_bare_encoder_first']:.2f} times as long as the bare encoder where "
            f"all names of mentions are new, {metrics['ratio_to_bare_encoder_again']:.2f} times "
            "where they are known.",
            "",
        ]
        lines += _table(
            ["", "documents a second"],
            [
                [name, f"{metrics[f'docs_per_second_{key}']:.1f}"]
                for name, key in (
                    ("bare encoder", "bare"),
                    ("pipeline, new names", "first"),
                    ("pipeline, known names", "again"),
                )
            ],
        )
        lines.append("")
        parts = {k[8:]: v for k, v in metrics.items() if k.startswith("seconds_")}
        lines += _table(
            ["part", "seconds for all documents"], [[k, f"{v:.3f}"] for k, v in parts.items()]
        )
    return lines


def _system(result: Dict[str, Any]) -> str:
    seeds = ", ".join(map(str, result["seeds"]))
    return f"{result['system']}, {result['config']['max_epochs']} epochs, seed {seeds}"


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def main() -> None:
    lines = [INTRODUCTION.rstrip()]
    for benchmark, section in (("gutbrainie", gutbrainie), ("pipeline_overhead", overhead)):
        results = read_results(benchmark)
        if results:
            lines += section(results)
    PATH.write_text("\n".join(lines) + "\n", encoding="utf8")
    print(f"{PATH.name}: made from {len(list(FOLDER.glob('*.json')))} results")


if __name__ == "__main__":
    main()
