"""``python -m spacy bioie annotate``: show what a pipeline finds in one text."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ._app import app
from ._pipeline_options import Pipeline, SpansKey


@app.command("annotate")
def annotate_cli(
    pipeline: Pipeline,
    path: Annotated[
        Optional[Path],
        typer.Argument(help="Text: a title, a line break, an abstract. By default standard input"),
    ] = None,
    spans_key: SpansKey = "sc",
) -> None:
    """Print the mentions, concepts and relations that a trained pipeline finds in a text.

    Exit codes: 0, or 1 if the pipeline or the text cannot be read, 2 for wrong usage.
    """
    from ..visual.text_report import annotate_text

    try:
        text = sys.stdin.read() if path is None else path.read_text(encoding="utf8")
        report = annotate_text(pipeline, text, spans_key)
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(report)
