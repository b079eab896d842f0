"""Write ``benchmarks/README.md`` from the results: ``python benchmarks/readme.py``."""

import ast
import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, List

from readme_cost import linking_scale, overhead
from readme_gutbrainie import gutbrainie
from readme_linking import linking_bionne, linking_corpora, linking_gutbrainie
from readme_tables import figure, table, tables
from relations_report import relation_tables
from results import FOLDER, read_results
from spans_report import span_tables, speed_tables

SCRIPTS = Path(__file__).resolve().parent
PATH = FOLDER.parent / "README.md"

INTRODUCTION = """# Benchmarks

Made by `python benchmarks/readme.py` from the files of `results/`; each file names the data with
hashes, the seeds, the versions, the hardware, and the seconds and memory of the run. A commit with
`+changes` had files that differed from it.

"""

# A script that a workflow calls
COMMANDS = {"gutbrainie": "python -m spacy project run gutbrainie"}


def spans(results: List[Dict[str, Any]]) -> List[str]:
    """Span recognition: our heads against spaCy's and published recipes over one encoder."""
    lines = ["", "## Span recognition over one encoder", ""]
    lines += [
        "Same encoder, documents, batches and number of updates for all; nothing is chosen on the "
        "documents that are scored. Figures are means over seeds, sd is over seeds. Differences "
        "are of micro-F1 from counts summed over the seeds that both have, with the 95 % interval "
        "and the two-sided p of a paired bootstrap over documents. Held out: strict micro-F1 on "
        "the documents that chose the checkpoint.",
    ]
    return lines + tables(span_tables(results))


def spans_speed(results: List[Dict[str, Any]]) -> List[str]:
    """Time and memory of our heads against spaCy's."""
    return ["", "## Span recognition: time and memory", *tables(speed_tables(results))]


def relations(results: List[Dict[str, Any]]) -> List[str]:
    """Relations: peers, ours and ablations over one encoder."""
    lines = ["", "## Relations over one encoder", ""]
    lines += [
        "The same encoder, documents and held-out documents for all, on which thresholds were "
        "chosen: the best for TM or, between concepts, for these. The marker classifier and ATLOP "
        "decide without one, as published. Of each training the last model was taken. Times are "
        "those of a machine that other work shared; CPU times are not."
    ]
    return lines + tables(relation_tables(results))


def any_figures(results: List[Dict[str, Any]]) -> List[str]:
    """All figures of a benchmark without a section of its own, a column for each result."""
    lines = ["", f"## {results[0]['benchmark'].replace('_', ' ').capitalize()}", ""]
    keys = dict.fromkeys(key for result in results for key in result["metrics"])
    lines += table(
        ["figure", *(result["system"] for result in results)],
        [[key, *(figure(r["metrics"].get(key)) for r in results)] for key in keys],
    )
    return lines


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
    return table(["script", "what it shows", "command"], rows)


SECTIONS: Dict[str, Callable[[List[Dict[str, Any]]], List[str]]] = {
    "gutbrainie": gutbrainie,
    "pipeline_overhead": overhead,
    "linking_gutbrainie": linking_gutbrainie,
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
