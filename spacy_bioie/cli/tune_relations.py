"""``python -m spacy bioie tune-relations``: choose thresholds on held-out documents."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import GpuId, HeldOut, Pipeline, Quiet, TunedFolder


class MetricName(StrEnum):
    bt = "bt"
    tt = "tt"
    tm = "tm"
    c = "c"
    mean = "mean"


class InputName(StrEnum):
    gold = "gold"
    pred = "pred"


@app.command("tune-relations")
def tune_relations_cli(
    pipeline: Pipeline,
    corpus: HeldOut,
    metric: Annotated[
        MetricName, typer.Option("--metric", "-m", help="Level of relations to do best at")
    ] = MetricName.tm,
    input: Annotated[
        InputName, typer.Option("--input", "-i", help="Over gold or predicted mentions")
    ] = InputName.gold,
    per_predicate: Annotated[
        bool, typer.Option("--per-predicate", help="A threshold for each frequent predicate")
    ] = False,
    min_gold: Annotated[
        int, typer.Option("--min-gold", min=1, help="Gold relations of a frequent predicate")
    ] = 5,
    output: TunedFolder = None,
    component: Annotated[
        str | None, typer.Option("--component", help="Name of the relation component")
    ] = None,
    gpu_id: GpuId = -1,
    quiet: Quiet = False,
) -> None:
    """Choose the thresholds of relations that give the best micro-F1 on held-out documents.

    Every prediction counts, as sets: label pairs (bt), triples of labels and predicate (tt),
    triples with the texts of the mentions (tm) or triples of concepts (c); or the mean of the
    first three (mean). Prints the thresholds and the figure as JSON.
    Without an output folder the thresholds inside the pipeline's folder are replaced.

    Exit codes: 0 if saved, 1 if something cannot be read, tuned or written, 2 for wrong usage.
    """
    from spacy.cli._util import setup_gpu

    from ..training.tune_relations import tune_saved_pipeline

    try:
        setup_gpu(gpu_id, silent=True)
        result = tune_saved_pipeline(
            pipeline,
            corpus,
            output,
            component=component,
            metric=metric.value,
            input=input.value,
            per_predicate=per_predicate,
            min_gold=min_gold,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
