"""``python -m spacy bioie complete-labels``: add mentions of labels that a corpus lacks."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, List, Optional

import typer

from ._app import app
from ._pipeline_options import BatchSize, GpuId, MinScore, PipelineOrEnsemble, Quiet, SpansKey


@app.command("complete-labels")
def complete_labels_cli(
    pipeline: PipelineOrEnsemble,
    corpus: Annotated[Path, typer.Argument(help="Annotated documents (.spacy)")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The .spacy file to write")],
    labels: Annotated[
        Optional[List[str]],
        typer.Option("--label", help="To be added; by default all that the corpus lacks"),
    ] = None,
    min_score: MinScore = 0.5,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Also where a mention of the corpus stands")
    ] = False,
    spans_key: SpansKey = "sc",
    batch_size: BatchSize = 32,
    gpu_id: GpuId = -1,
    quiet: Quiet = False,
) -> None:
    """Let a trained pipeline add the mentions of labels that a corpus was not annotated for.

    For corpora with different labels that are to be trained on together. What the corpus says
    stays. Prints the counts as JSON.

    Exit codes: 0 if written, 1 if something cannot be read, annotated or written, 2 for wrong
    usage.
    """
    from spacy.cli._util import setup_gpu
    from spacy.util import load_model

    from ..training.label_completion import complete_labels

    try:
        setup_gpu(gpu_id, silent=True)
        counts = complete_labels(
            load_model(pipeline),
            corpus,
            output,
            labels=labels or None,
            min_score=min_score,
            allow_overlap=allow_overlap,
            spans_key=spans_key,
            batch_size=batch_size,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(asdict(counts), indent=2, ensure_ascii=False))
