"""What commands that read concepts have in common: options of the sources, and the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import Printer

if TYPE_CHECKING:
    from ..kb.report import Report

Form = Annotated[
    str | None,
    typer.Option(
        "--form",
        "-f",
        help="Of the sources: jsonl, table (CSV, TSV), obo, owl, rrf, mesh-xml or mesh-ascii; "
        "by default suffix or content tells",
    ),
]
Languages = Annotated[
    list[str] | None,
    typer.Option("--language", help="Keep names of this language, such as ENG; repeatable"),
]
Vocabularies = Annotated[
    list[str] | None,
    typer.Option("--source", help="Keep names of this vocabulary, such as MSH; repeatable"),
]
SemanticTypes = Annotated[
    list[str] | None,
    typer.Option("--semantic-type", help="Keep concepts of this type, as T047; repeatable"),
]
KeepSuppressed = Annotated[
    bool, typer.Option("--keep-suppressed", help="Keep suppressed names and obsolete terms")
]
MergeXrefs = Annotated[
    bool,
    typer.Option(
        "--merge-xrefs", help="Join concepts of different sources by their cross-references"
    ),
]
Mentions = Annotated[
    list[Path] | None,
    typer.Option("--mentions", "-m", help="Corpus (.spacy) whose linked mentions are names"),
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--json", "-j", help="Write the report to this file", dir_okay=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no report")]


def print_report(report: "Report") -> None:
    """Print counts, each with a few examples."""
    rows = [
        (name.replace("_", " "), count, _shortened("; ".join(report.examples.get(name, ()))))
        for name, count in report.counts().items()
    ]
    Printer().table(rows, aligns=("l", "r", "l"))


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
