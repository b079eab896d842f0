"""``python -m spacy bioie annotate``: show what a pipeline finds in one text."""

import sys
from pathlib import Path
from typing import Optional

import typer
from spacy.util import load_model

from ..visual.text_report import text_report
from ._app import app


@app.command("annotate")
def annotate_cli(
    pipeline: str = typer.Argument(..., help="Name or folder of a trained pipeline"),
    path: Optional[Path] = typer.Argument(
        None, help="Text file: a title, a line break, an abstract. Standard input by default"
    ),
    spans_key: str = typer.Option("sc", "--spans-key", help="Key of the mentions in doc.spans"),
):
    """Print the mentions, concepts and relations that a trained pipeline finds in a text."""
    try:
        text = sys.stdin.read() if path is None else path.read_text(encoding="utf8")
        nlp = load_model(pipeline)
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"annotate: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(text_report(nlp(text.strip("\n")), spans_key))
