"""The sections of the README on the cost of the pipeline and of name search."""

from typing import Any, Dict, List, Optional

from readme_tables import figure, table


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
        lines += table(
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
        lines += ["", *_added(metrics), ""]
        parts = {k[8:]: v for k, v in metrics.items() if k.startswith("seconds_")}
        lines += table(
            ["part", "seconds for all documents"], [[k, f"{v:.3f}"] for k, v in parts.items()]
        )
    return lines


def _added(metrics: Dict[str, float]) -> List[str]:
    """What linking and relations add to the time of the pipeline without them."""
    added = {
        "linking where names are new": "added_by_faiss_entity_linker_first",
        "linking where they are known": "added_by_faiss_entity_linker_again",
        "relations": "added_by_relation_extractor_again",
    }
    said = [f"{what} {metrics[key]:.1%}" for what, key in added.items() if key in metrics]
    return [f"Added to the time of the pipeline without it: {', '.join(said)}."] if said else []


def linking_scale(results: List[Dict[str, Any]]) -> List[str]:
    """Size, memory, speed and recall of name search, a row for each setting of each index."""
    lines = ["", "## Name search at scale", ""]
    lines += [
        "Queries are vectors made beforehand, of mentions of GutBrainIE's training corpora and of "
        "names with a slip; recall@10 is against exact search over the same vectors. The factors "
        "300 and 400 of the `PCAR` index were added after its smaller ones had been seen on the "
        "same queries. Names beyond "
        "those of the sources are derived, see `scale_data.py`. Searches were timed on 2 threads "
        "of a machine that other work shared (load average in the files): beside the measured rate "
        "stands the one that the processor time of a query allows on two cores of its own. Texts "
        "are mentions as written, to their concepts: those of known names, and new ones, which the "
        "name encoder has to read; their rates are by processor time. Resident memory after "
        "searching counts the pages of the mapped files that were read, which the system may take "
        "back.",
        "",
    ]
    heads = ["index", "names", "parameters", "MB", "built in CPU minutes", "loaded in s (CPU s)"]
    heads += ["MB resident", "after searching", "searches a second", "by CPU time"]
    heads += ["recall@10: mentions", "slips", "known texts a second, by CPU time", "new"]
    rows = []
    for result in sorted(results, key=lambda r: (r["config"]["names"], r["system"])):
        metrics, index = result["metrics"], result["config"]["index"]
        suffix = "mentions_cpu_ms_per_query"
        for key in [key for key in metrics if key.endswith(suffix)]:
            prefix = key[: -len(suffix)]
            cpu = metrics[key]
            rows.append(
                [
                    f"`{index[1]}`" if index else result["system"],
                    f"{metrics.get('indexed_names', result['config']['names']):,.0f}",
                    f"`{prefix.strip()}`" if prefix else "",
                    f"{metrics['index_mb']:,.0f}",
                    f"{metrics['index_cpu_seconds'] / 60:.1f}",
                    f"{metrics['load_seconds_auto']:.1f}"
                    + (f" ({metrics['load_cpu_seconds_auto']:.1f})" if index else ""),
                    _number(metrics.get("resident_after_load_mb_auto")),
                    _number(metrics.get("resident_after_search_mb")),
                    f"{metrics[f'{prefix}mentions_queries_per_second']:,.0f}",
                    f"{1000 * result['config']['threads'] / cpu:,.0f}",
                    figure(metrics.get(f"{prefix}mentions_recall_at_10")),
                    figure(metrics.get(f"{prefix}misspelt_recall_at_10")),
                    *(
                        _number(metrics.get(f"texts_{which}_cpu_ms"), result["config"]["threads"])
                        for which in ("known", "new")
                    ),
                ]
            )
    return lines + table(heads, rows)


def _number(value: Optional[float], threads: int = 0) -> str:
    """A whole number; of milliseconds, with ``threads``, so many of them a second."""
    if value is None:
        return "-"
    return f"{1000 * threads / value if threads else value:,.0f}"
