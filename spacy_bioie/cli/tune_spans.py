"""``python -m spacy bioie tune-spans``: calibrate and choose thresholds on held-out documents."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app


@app.command("tune-spans")
def tune_spans_cli(
    pipeline: Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")],
    corpus: Annotated[Path, typer.Argument(help="Held-out documents (.spacy)")],
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Set the temperature of the probabilities first")
    ] = False,
    per_label: Annotated[
        bool, typer.Option("--per-label", help="A threshold for each frequent label")
    ] = False,
    min_gold: Annotated[
        int, typer.Option("--min-gold", min=1, help="Gold mentions of a frequent label")
    ] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the tuned pipeline", file_okay=False),
    ] = None,
    component: Annotated[
        str | None, typer.Option("--component", help="Name of the nested_spancat")
    ] = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")] = False,
) -> None:
    """Choose the thresholds of mentions that give the best strict micro-F1 on held-out documents.

    Prints the thresholds and the figure as JSON; with --calibrate also the temperature, and the
    expected calibration error before and after. Without an output folder the component inside the
    pipeline's folder is replaced.

    Exit codes: 0 if saved, 1 if something cannot be read, tuned or written, 2 for wrong usage.
    """
    from spacy.cli._util import setup_gpu

    from ..training.tune_spans import tune_saved_pipeline

    try:
        setup_gpu(gpu_id, silent=True)
        result = tune_saved_pipeline(
            pipeline,
            corpus,
            output,
            component=component,
            calibrate=calibrate,
            per_label=per_label,
            min_gold=min_gold,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
