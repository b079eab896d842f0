"""``python -m spacy bioie cross-fit``: predicted mentions for the training documents."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import GpuId


@app.command(
    "cross-fit", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def cross_fit_cli(
    ctx: typer.Context,
    config: Annotated[
        Path, typer.Argument(help="Config of a pipeline that finds mentions", dir_okay=False)
    ],
    corpus: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="Training documents (.spacy)", dir_okay=False)
    ],
    output: Annotated[
        Path, typer.Argument(help="The same with predicted mentions (.spacy)", dir_okay=False)
    ],
    folds: Annotated[int, typer.Option("--folds", "-k", min=2, help="Pipelines to train")] = 5,
    key: Annotated[
        str, typer.Option("--key", help="Span group for the predicted mentions")
    ] = "sc_predicted",
    spans_key: Annotated[
        str, typer.Option("--spans-key", help="Span group of the pipeline's mentions")
    ] = "sc",
    seed: Annotated[int, typer.Option("--seed", "-s", min=0, help="Seed of the folds")] = 0,
    code: Annotated[
        Path | None, typer.Option("--code", "-c", help="Python file with registered functions")
    ] = None,
    gpu_id: GpuId = -1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No output of training")] = False,
) -> None:
    """Find mentions in the training documents with pipelines that did not see them.

    The documents are dealt into folds; for each the config is trained on the others, as spacy
    train does, and the pipeline's mentions go into a second span group. Settings of the config
    are overridden as there: --training.max_steps 1000. A run that was broken off goes on with the
    next fold. Prints the numbers of mentions as JSON.

    Exit codes: 0 if written, 1 if something cannot be read, trained or written, 2 for wrong usage.
    """
    from spacy.cli._util import import_code, parse_config_overrides, setup_gpu

    from ..training.cross_fitting import cross_fit

    try:
        overrides = parse_config_overrides(ctx.args)
        import_code(code)
        setup_gpu(gpu_id, silent=True)
        result = cross_fit(
            config,
            corpus,
            output,
            folds=folds,
            spans_key=spans_key,
            predicted_key=key,
            seed=seed,
            overrides=overrides,
            use_gpu=gpu_id,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(result, indent=2))
