"""``python -m spacy bioie predict``: annotate articles with a trained pipeline."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import BatchSize, GpuId, Pipeline, Processes, Quiet, SpansKey


class Format(StrEnum):
    gutbrainie_2025 = "gutbrainie-2025"
    gutbrainie_2026 = "gutbrainie-2026"
    jsonl = "jsonl"


@app.command("predict")
def predict_cli(
    pipeline: Pipeline,
    articles: Annotated[
        Path, typer.Argument(help="GutBrainIE's articles JSON, a text file or a folder of .txt")
    ],
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to", file_okay=False)],
    format: Annotated[Format, typer.Option("--format", "-f", help="What to write")] = Format.jsonl,
    spans_key: SpansKey = "sc",
    batch_size: BatchSize = 32,
    n_process: Processes = 1,
    gpu_id: GpuId = -1,
    quiet: Quiet = False,
) -> None:
    """Annotate articles and write one file for each task, or one JSONL file with everything.

    gutbrainie-2025 writes entities, binary-tag, ternary-tag and ternary-mention relations;
    gutbrainie-2026 entities, linked entities, mention-level and concept-level relations.

    Exit codes: 0 if written, 1 if something cannot be read or annotated, 2 for wrong usage.
    """
    from spacy.cli._util import setup_gpu
    from spacy.util import load_model

    from ..prediction import predict

    try:
        setup_gpu(gpu_id, silent=quiet)
        paths = predict(
            load_model(pipeline),
            articles,
            out_dir,
            format=format.value,
            spans_key=spans_key,
            batch_size=batch_size,
            n_process=n_process,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    for path in paths:
        typer.echo(str(path))
