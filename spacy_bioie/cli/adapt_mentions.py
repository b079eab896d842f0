"""``python -m spacy bioie adapt-mentions``: train an encoder on mentions of several corpora."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import GpuId, SpansKey
from ._step_options import (
    CheckpointEvery,
    Encoder,
    Epochs,
    FullPrecision,
    LearnRate,
    MaxBatchPieces,
    MaxSteps,
    Output,
    Quiet,
    ReportFile,
    Resume,
    Seed,
    Warmup,
)


@app.command("adapt-mentions")
def adapt_mentions_cli(
    corpora: Annotated[
        list[Path], typer.Argument(metavar="CORPUS...", help="Annotated documents (.spacy)")
    ],
    output: Output,
    encoder: Encoder,
    spans_key: SpansKey = "sc",
    window: Annotated[
        int, typer.Option("--window", "-w", help="Word pieces of a window of joined documents")
    ] = 256,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Windows in a step")] = 16,
    max_batch_pieces: MaxBatchPieces = 4096,
    epochs: Epochs = 1,
    max_steps: MaxSteps = 0,
    learn_rate: LearnRate = 5e-5,
    warmup: Warmup = 0.1,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Part of the documents to measure on")
    ] = 0.02,
    seed: Seed = 0,
    checkpoint_every: CheckpointEvery = 500,
    resume: Resume = False,
    full_precision: FullPrecision = False,
    gpu_id: GpuId = -1,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Train an encoder to tag the mentions of corpora, which may have different labels.

    Each CORPUS gets a head of its own, so that none has to annotate what the others do. The heads
    are thrown away; OUTPUT_FOLDER can be the encoder of a config.

    Prints counts, losses and how well the tags of held-out documents are told as JSON. A stopped
    training goes on with --resume from the file OUTPUT_FOLDER.checkpoint.

    Exit codes: 0 if saved, 1 if something cannot be read, trained or written, 2 for wrong usage.
    """
    from spacy.cli._util import setup_gpu

    from ..formats.atomic import write_texts
    from ..training.encoder_steps import StepSettings
    from ..training.mention_corpora import adapt_mentions

    try:
        setup_gpu(gpu_id, silent=True)
        result = adapt_mentions(
            corpora,
            output,
            encoder,
            spans_key=spans_key,
            window=window,
            batch_size=batch_size,
            max_batch_pieces=max_batch_pieces,
            epochs=epochs,
            max_steps=max_steps,
            held_out=held_out,
            settings=StepSettings(
                learn_rate,
                warmup=warmup,
                mixed_precision=not full_precision,
                seed=seed,
                checkpoint_every=checkpoint_every,
                resume=resume,
                progress=not quiet,
            ),
        )
        text = json.dumps(result, indent=2)
        if report is not None:
            write_texts({report: text + "\n"})
    except (OSError, ValueError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(text)
