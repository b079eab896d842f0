"""``python -m spacy bioie refit``: train a tuned pipeline once more, on all documents."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import GpuId, Pipeline


@app.command("refit", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def refit_cli(
    ctx: typer.Context,
    pipeline: Pipeline,
    corpus: Annotated[
        Path,
        typer.Argument(metavar="TRAIN", help="All documents, those held out too (.spacy)"),
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the new pipeline", file_okay=False)],
    updates: Annotated[
        int, typer.Option("--updates", "-n", min=0, help="That the pipeline had, if it is not said")
    ] = 0,
    documents: Annotated[
        int, typer.Option("--documents", min=0, help="That it learned from, if they are elsewhere")
    ] = 0,
    code: Annotated[
        Path | None, typer.Option("--code", "-c", help="Python file with registered functions")
    ] = None,
    gpu_id: GpuId = -1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No output of training")] = False,
) -> None:
    """Train a pipeline's config once more, on the documents that it was tuned on as well.

    It is trained from the beginning and as many epochs as the checkpoint had; thresholds and
    temperatures are copied, no checkpoint is chosen. Settings of the config are overridden as in
    spacy train: --paths.kb kb_of_all. Prints documents, updates and thresholds as JSON.

    Exit codes: 0 if saved, 1 if something cannot be read, trained or written, 2 for wrong usage.
    """
    from spacy.cli._util import import_code, parse_config_overrides, setup_gpu

    from ..training.refitting import refit

    try:
        overrides = parse_config_overrides(ctx.args)
        import_code(code)
        setup_gpu(gpu_id, silent=True)
        result = refit(
            pipeline,
            corpus,
            output,
            updates=updates,
            documents=documents,
            overrides=overrides,
            use_gpu=gpu_id,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(result, indent=2))
