"""``python -m spacy bioie copy-thresholds``: for a pipeline that has seen all documents."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app


@app.command("copy-thresholds")
def copy_thresholds_cli(
    tuned: Annotated[str, typer.Argument(help="Name or folder of a tuned pipeline")],
    pipeline: Annotated[
        str, typer.Argument(help="The same, trained on the held-out documents too")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the pipeline", file_okay=False)
    ],
) -> None:
    """Give a pipeline the thresholds and temperatures that another was tuned to.

    Choose on held-out documents, train once more on all, copy what was chosen. Prints the settings
    of each component as JSON.

    Exit codes: 0 if saved, 1 if something cannot be read or written or does not fit, 2 for wrong
    usage.
    """
    from ..training.copy_thresholds import copy_saved_thresholds

    try:
        result = copy_saved_thresholds(tuned, pipeline, output)
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
