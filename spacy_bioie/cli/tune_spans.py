"""``python -m spacy bioie tune-spans``: calibrate and choose thresholds on held-out documents."""

import json
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import GpuId, HeldOut, Pipeline, Quiet, TunedFolder


@app.command("tune-spans")
def tune_spans_cli(
    pipeline: Pipeline,
    corpus: HeldOut,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Set the temperature of the probabilities first")
    ] = False,
    per_label: Annotated[
        bool, typer.Option("--per-label", help="A threshold for each frequent label")
    ] = False,
    min_gold: Annotated[
        int, typer.Option("--min-gold", min=1, help="Gold mentions of a frequent label")
    ] = 5,
    output: TunedFolder = None,
    component: Annotated[
        str | None, typer.Option("--component", help="Name of the nested_spancat")
    ] = None,
    gpu_id: GpuId = -1,
    quiet: Quiet = False,
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
