"""``python -m spacy bioie adapt-names``: train a name encoder on the synonyms of concepts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._concept_options import (
    Form,
    KeepSuppressed,
    Languages,
    Mentions,
    SemanticTypes,
    Vocabularies,
)
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


@app.command("adapt-names")
def adapt_names_cli(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="File of concepts, folder of UMLS RRF files, or knowledge base",
        ),
    ],
    output: Output,
    encoder: Encoder,
    form: Form = None,
    languages: Languages = None,
    vocabularies: Vocabularies = None,
    semantic_types: SemanticTypes = None,
    keep_suppressed: KeepSuppressed = False,
    mentions: Mentions = None,
    spans_key: SpansKey = "sc",
    pooling: Annotated[
        str, typer.Option("--pooling", help="cls or mean; it is saved with the encoder")
    ] = "cls",
    layers: Annotated[
        int, typer.Option("--layers", help="Of the encoder, the first ones; 0 for all")
    ] = 0,
    max_length: Annotated[
        int, typer.Option("--max-length", help="Word pieces of a name; the rest is cut off")
    ] = 64,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", help="Pairs of synonyms in a step")
    ] = 128,
    max_batch_pieces: MaxBatchPieces = 4096,
    epochs: Epochs = 1,
    max_steps: MaxSteps = 0,
    max_pairs: Annotated[
        int, typer.Option("--max-pairs", help="Pairs of one concept; of more these are drawn")
    ] = 50,
    margin: Annotated[
        float, typer.Option("--margin", help="Of the distances of pairs that count as hard")
    ] = 0.2,
    learn_rate: LearnRate = 2e-5,
    warmup: Warmup = 0.1,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Part of the concepts to measure on")
    ] = 0.02,
    seed: Seed = 0,
    checkpoint_every: CheckpointEvery = 500,
    resume: Resume = False,
    full_precision: FullPrecision = False,
    gpu_id: GpuId = -1,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Train an encoder to bring the names of one concept together, as SapBERT is trained.

    A SOURCE may also be the folder of a knowledge base that build-kb has written. OUTPUT_FOLDER is
    for build-kb --encoder OUTPUT_FOLDER, which finds the pooling there. Prints counts, losses and,
    for the held-out concepts, how often a synonym is the nearest other name before and after, as
    JSON. A stopped training goes on with --resume from the file OUTPUT_FOLDER.checkpoint.

    Exit codes: 0 if saved, 1 if something cannot be read, trained or written, 2 for wrong usage.
    """
    from spacy.cli._util import setup_gpu

    from ..formats.atomic import write_texts
    from ..kb.sources import Filters
    from ..training.encoder_steps import StepSettings
    from ..training.name_alignment import adapt_names

    try:
        setup_gpu(gpu_id, silent=True)
        result = adapt_names(
            sources,
            output,
            encoder,
            form=form,
            filters=Filters(
                languages=languages or (),
                vocabularies=vocabularies or (),
                semantic_types=semantic_types or (),
                keep_suppressed=keep_suppressed,
            ),
            mentions=mentions or (),
            spans_key=spans_key,
            pooling=pooling,
            layers=layers,
            max_length=max_length,
            batch_size=batch_size,
            epochs=epochs,
            max_steps=max_steps,
            max_pairs=max_pairs,
            margin=margin,
            held_out=held_out,
            max_batch_pieces=max_batch_pieces,
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
