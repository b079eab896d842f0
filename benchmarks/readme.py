"""Write ``benchmarks/README.md`` from the results: ``python benchmarks/readme.py``."""

import ast
import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Sequence

from relations_report import relation_tables
from results import FOLDER, read_results
from spans_report import Table, span_tables, speed_tables

SCRIPTS = Path(__file__).resolve().parent
PATH = FOLDER.parent / "README.md"

INTRODUCTION = """# Benchmarks

Made by `python benchmarks/readme.py` from the files of `results/`; each file names the data with
hashes, the seeds, the versions, the hardware, and the seconds and memory of the run.

"""

# A script that a workflow calls
COMMANDS = {"gutbrainie": "python -m spacy project run gutbrainie"}

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
    ("- gold concept among the first 20 candidates", "linking_candidates_recall20"),
    ("- whole linker, Acc@1 where it is a candidate", "linking_disambiguation_acc1"),
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
        "Checkpoint and threshold were chosen on documents held out of platinum and gold, the "
        "weights of silver and of the relations' loss, the name weights, the features of the "
        "reranker and the averaging of thresholds by cross-validation or held-out documents of the "
        "same two. Three choices go back to dev figures: the number of epochs, 8, to those of an "
        "earlier version; that the mixed documents, not 30 of platinum, are held out, to the "
        "figures below; and the one-standard-error rule for the threshold of relations, to those "
        "of earlier runs, whose best thresholds of held-out documents were too high for dev, which "
        "is annotated more densely (four such rules were compared on dev; the run with the best "
        "threshold of held-out documents stands beside it). So relations on gold mentions reach "
        "what was expected of them only by a rule that dev has chosen; without it BT and TT do "
        "not. The run with 30 platinum documents held out is older: it has neither that rule nor "
        "the adapted name encoder. "
        "One seed: with 40 documents differences of .02 are noise.",
        "",
    ]
    heads = [_system(result) for result in results]
    lines += _table(
        ["figure", *heads],
        [
            [label, *(_figure(r["metrics"].get(key)) for r in results)]
            for label, key in GUTBRAINIE
            if any(key in r["metrics"] for r in results)
        ],
    )
    for result in results:
        hardware = result["hardware"]
        lines += [
            "",
            f"{_system(result)}: commit `{_commit(result)}`, trained in "
            f"{result['seconds'] / 60:.0f} minutes on {hardware['gpu'] or hardware['cpu']} "
            f"({hardware['cores']} cores), {result['peak_memory_mb'] / 1024:.1f} GB at the peak; "
            "threshold of relations "
            f"{result['config']['relation_threshold']:.2f}, chosen on held-out documents. "
            + _short(result["metrics"]),
        ]
    return lines


def _commit(result: Dict[str, Any]) -> str:
    """The begin of the commit's name, with the mark of files that differed from it."""
    name, plus, mark = result["commit"].partition("+")
    return name[:10] + plus + mark


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


# Figures of linking_corpora, with "kb" or "train" before the name
LINKING = [
    ("Acc@1", "acc1"),
    ("- from", "acc1_low"),
    ("- to", "acc1_high"),
    ("Acc@5", "acc5"),
    ("among 20 candidates", "recall20"),
    ("Acc@1 where it is among them", "disambiguation_acc1"),
    ("Acc@1, names unseen in training", "unseen_names_acc1"),
    ("Acc@1, concepts unseen in training", "unseen_concepts_acc1"),
    ("Acc@5, concepts unseen in training", "unseen_concepts_acc5"),
]
ORDER = ("exact", "TF-IDF", "MiniLM")  # how the titles of peers begin; the rest comes after them


def linking_corpora(results: List[Dict[str, Any]]) -> List[str]:
    """Linking of gold mentions, two tables for each corpus: the base's names, and training's."""
    lines = ["", "## Linking of gold mentions, BC5CDR and NCBI Disease, dev", ""]
    lines += [
        "The same knowledge base, names and mentions for all; nothing is trained. Scored are "
        "mentions with exactly one concept id; an id that the knowledge base lacks is wrong. "
        "Equal scores of the peers are ordered by the training mentions of the concept. From and "
        "to: 95 % of the resamples of documents.",
    ]
    for corpus in dict.fromkeys(result["config"]["corpus"] for result in results):
        chosen = [result for result in results if result["config"]["corpus"] == corpus]
        chosen.sort(key=_place)
        counts, names = chosen[0]["metrics"], chosen[0]["config"]["names"]
        lines += [
            "",
            f"`{corpus}`: {counts['mentions']} mentions, {counts['mentions_unseen_names']} of "
            f"names and {counts['mentions_unseen_concepts']} of concepts unseen in training, "
            f"{counts['mentions_wrong_not_in_kb']} of ids that the knowledge base lacks. Left out: "
            f"{counts['mentions_left_out_several_ids']} of several ids, "
            f"{counts['mentions_left_out_no_id']} without one.",
        ]
        for prefix, title in (("kb", "names of the knowledge base"), ("train", "and of training")):
            head = [f"{title} ({names[prefix]:,})", *(label for label, _ in LINKING)]
            rows = [
                [r["system"], *(_figure(r["metrics"].get(f"{prefix}_{key}")) for _, key in LINKING)]
                for r in chosen
            ]
            lines += ["", *_table(head, rows)]
    return lines


BIONNE = [
    ("Acc@1", "acc1"),
    ("Acc@5", "acc5"),
    ("MRR", "mrr"),
    ("Acc@1, concepts that training has", "seen_concepts_acc1"),
    ("Acc@1, names unseen in training", "unseen_names_acc1"),
]


def linking_bionne(results: List[Dict[str, Any]]) -> List[str]:
    """Linking of gold mentions over the training names, a table for each language."""
    lines = ["", "## Linking of gold mentions, BioNNE-L, dev", ""]
    lines += [
        "Over the names of the training mentions, the same for all; UMLS is licensed. Mentions "
        "without a concept are left out; a concept that training lacks is wrong.",
    ]
    for language in dict.fromkeys(result["config"]["language"] for result in results):
        chosen = [result for result in results if result["config"]["language"] == language]
        chosen.sort(key=_place)
        counts, names = chosen[0]["metrics"], chosen[0]["config"]["names"]
        rows = []
        for result in chosen:
            variants = [("", "")]
            if "context_alone_acc1" in result["metrics"]:
                variants.append(("context_alone_", ", context alone"))
            rows += [
                [
                    f"{result['system']}{title}",
                    *(_figure(result["metrics"].get(f"{prefix}{key}")) for _, key in BIONNE),
                ]
                for prefix, title in variants
            ]
        lines += [
            "",
            f"`{language}`: {counts['mentions']} mentions, {counts['mentions_unseen_names']} of "
            f"names unseen in training, {counts['mentions_wrong_not_in_kb']} of concepts that it "
            f"lacks; {names:,} names.",
            "",
            *_table(["", *(label for label, _ in BIONNE)], rows),
        ]
        lines += [
            f"\nCut in `{r['system']}`: {r['config']['cut']}. {r['config']['documents']} documents "
            f"({r['config']['mentions']} mentions), epochs {r['config']['epochs']}, characters of "
            f"context {r['config']['context_characters']}; {r['config']['cpu_seconds'] / 60:.0f} "
            "minutes of one core; one seed."
            for r in chosen
            if "cut" in r["config"]
        ]
    return lines


def _place(result: Dict[str, Any]) -> int:
    starts = [result["system"].startswith(start) for start in ORDER]
    return starts.index(True) if any(starts) else len(starts)


def any_figures(results: List[Dict[str, Any]]) -> List[str]:
    """All figures of a benchmark without a section of its own, a column for each result."""
    lines = ["", f"## {results[0]['benchmark'].replace('_', ' ').capitalize()}", ""]
    keys = dict.fromkeys(key for result in results for key in result["metrics"])
    lines += _table(
        ["figure", *(result["system"] for result in results)],
        [[key, *(_figure(r["metrics"].get(key)) for r in results)] for key in keys],
    )
    return lines


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


def linking_scale(results: List[Dict[str, Any]]) -> List[str]:
    """Size, memory, speed and recall of name search, a row for each setting of each index."""
    lines = ["", "## Name search at scale", ""]
    lines += [
        "Queries are vectors made beforehand, of mentions of GutBrainIE's training corpora and of "
        "names with a slip; recall@10 is against exact search over the same vectors. Names beyond "
        "those of the sources are derived, see `scale_data.py`. Searches were timed on 2 threads "
        "of a machine that other work shared (load average in the files): beside the measured rate "
        "stands the one that the processor time of a query allows on two cores of its own.",
        "",
    ]
    heads = ["index", "names", "parameters", "MB", "built in CPU minutes", "loaded in s (CPU s)"]
    heads += ["MB resident", "searches a second", "by CPU time", "recall@10: mentions", "slips"]
    rows = []
    for result in sorted(results, key=lambda r: (r["config"]["names"], r["system"])):
        metrics, index = result["metrics"], result["config"]["index"]
        suffix = "mentions_cpu_ms_per_query"
        for key in [key for key in metrics if key.endswith(suffix)]:
            prefix = key[: -len(suffix)]
            cpu = metrics[key]
            resident = metrics.get("resident_after_load_mb_auto")
            rows.append(
                [
                    f"`{index[1]}`" if index else result["system"],
                    f"{metrics.get('indexed_names', result['config']['names']):,.0f}",
                    f"`{prefix.strip()}`" if prefix else "",
                    f"{metrics['index_mb']:,.0f}",
                    f"{metrics['index_cpu_seconds'] / 60:.1f}",
                    f"{metrics['load_seconds_auto']:.1f}"
                    + (f" ({metrics['load_cpu_seconds_auto']:.1f})" if index else ""),
                    "-" if resident is None else f"{resident:,.0f}",
                    f"{metrics[f'{prefix}mentions_queries_per_second']:,.0f}",
                    f"{1000 * result['config']['threads'] / cpu:,.0f}",
                    _figure(metrics.get(f"{prefix}mentions_recall_at_10")),
                    _figure(metrics.get(f"{prefix}misspelt_recall_at_10")),
                ]
            )
    return lines + _table(heads, rows)


def spans(results: List[Dict[str, Any]]) -> List[str]:
    """Span recognition: our heads against spaCy's and published recipes over one encoder."""
    lines = ["", "## Span recognition over one encoder", ""]
    lines += [
        "Same encoder, documents, batches and number of updates for all; nothing is chosen on the "
        "documents that are scored. Figures are means over seeds, sd is over seeds. Differences "
        "are of micro-F1 from counts summed over seeds, with the 95 % interval and the two-sided p "
        "of a paired bootstrap over documents. Held out: strict micro-F1 on the documents that "
        "chose the checkpoint.",
    ]
    return lines + _tables(span_tables(results))


def spans_speed(results: List[Dict[str, Any]]) -> List[str]:
    """Time and memory of our heads against spaCy's."""
    return ["", "## Span recognition: time and memory", *_tables(speed_tables(results))]


def relations(results: List[Dict[str, Any]]) -> List[str]:
    """Relations: peers, ours and ablations over one encoder."""
    lines = ["", "## Relations over one encoder", ""]
    lines += [
        "The same encoder, documents and held-out documents for all, on which thresholds were "
        "chosen: the lowest one that costs at most a standard error of F1, for TM or, between "
        "concepts, for these. GutBrainIE's dev had a part in choosing that rule; `untolerated` is "
        "without it. The marker classifier and ATLOP decide without one, as published. "
        "Of each training the last model was taken. Times are those of a machine that other work "
        "shared; CPU times are not."
    ]
    return lines + _tables(relation_tables(results))


def _tables(tables: Iterable[Table]) -> List[str]:
    lines: List[str] = []
    for table in tables:
        lines += ["", table.text, "", *_table(table.head, table.rows)]
    return lines


def _system(result: Dict[str, Any]) -> str:
    seeds = ", ".join(map(str, result["seeds"]))
    note = f" ({result['config']['note']})" if "note" in result["config"] else ""
    return f"{result['system']}, {result['config']['max_epochs']} epochs, seed {seeds}{note}"


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def scripts() -> List[str]:
    """A row for each script: what its docstring says first, and the command there."""
    rows = []
    for path in sorted(SCRIPTS.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or ""
        found = re.search(rf"^ +(.*python benchmarks/{path.name}\b.*)$", text, re.MULTILINE)
        if found and path.stem not in ("measure", "readme"):
            command = COMMANDS.get(path.stem, found[1])
            title = text.split("\n")[0].replace("``", "`")
            rows.append([f"`{path.name}`", title, f"`{command}`"])
    return _table(["script", "what it shows", "command"], rows)


SECTIONS: Dict[str, Callable[[List[Dict[str, Any]]], List[str]]] = {
    "gutbrainie": gutbrainie,
    "pipeline_overhead": overhead,
    "linking_corpora": linking_corpora,
    "linking_bionne": linking_bionne,
    "linking_scale": linking_scale,
    "spans": spans,
    "spans_speed": spans_speed,
    "relations": relations,
}


def main() -> None:
    lines = [INTRODUCTION.rstrip(), "", *scripts()]
    paths = sorted(FOLDER.glob("*.json"))
    found = [json.loads(path.read_text(encoding="utf8"))["benchmark"] for path in paths]
    for benchmark in dict.fromkeys([*SECTIONS, *found]):
        results = read_results(benchmark)
        if results:
            lines += SECTIONS.get(benchmark, any_figures)(results)
    PATH.write_text("\n".join(lines) + "\n", encoding="utf8")
    print(f"{PATH.name}: made from {len(paths)} results")


if __name__ == "__main__":
    main()
