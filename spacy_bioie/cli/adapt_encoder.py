"""``python -m spacy bioie adapt-encoder``: train an encoder on raw text of its domain."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._pipeline_options import GpuId
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


@app.command("adapt-encoder")
def adapt_encoder_cli(
    texts: Annotated[
        list[Path],
        typer.Argument(metavar="TEXT...", help="JSON lines, plain text, or folder of these files"),
    ],
    output: Output,
    encoder: Encoder,
    window: Annotated[
        int, typer.Option("--window", "-w", help="Word pieces of a window of joined documents")
    ] = 512,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Windows in a step")] = 32,
    max_batch_pieces: MaxBatchPieces = 4096,
    epochs: Epochs = 1,
    max_steps: MaxSteps = 0,
    mask_part: Annotated[
        float, typer.Option("--mask-part", help="Part of the pieces that is masked")
    ] = 0.15,
    lora_rank: Annotated[
        int,
        typer.Option(
            "--lora-rank", help="Train additions of this rank to the attention alone; 0 for all"
        ),
    ] = 0,
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
    """Train an encoder to tell masked word pieces of raw text.

    A TEXT of JSON lines has the field "text", or "title" and "abstract"; documents of plain text
    are apart by empty lines; either may be gzipped. Documents are joined and cut into windows, so
    that nothing is left out. OUTPUT_FOLDER can be the encoder of a config, or be trained further.

    Prints counts, losses and the perplexity of held-out documents before and after as JSON. A
    stopped training goes on with --resume from the file OUTPUT_FOLDER.checkpoint. --lora-rank needs
    peft: pip install "spacy-bioie[adapt]".

    Exit codes: 0 if saved, 1 if something cannot be read, trained or written, 2 for wrong usage.
    """
    from spacy.cli._util import setup_gpu

    from ..formats.atomic import write_texts
    from ..training.encoder_steps import StepSettings
    from ..training.masked_language import adapt_encoder

    try:
        setup_gpu(gpu_id, silent=True)
        result = adapt_encoder(
            texts,
            output,
            encoder,
            window=window,
            batch_size=batch_size,
            max_batch_pieces=max_batch_pieces,
            epochs=epochs,
            max_steps=max_steps,
            mask_part=mask_part,
            held_out=held_out,
            lora_rank=lora_rank,
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
