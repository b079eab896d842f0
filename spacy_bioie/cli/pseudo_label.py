"""``python -m spacy bioie pseudo-label``: annotate raw texts to train on."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, List, Optional

import typer

from ._app import app
from ._pipeline_options import (
    BatchSize,
    GpuId,
    MinScore,
    PipelineOrEnsemble,
    Processes,
    Quiet,
    SpansKey,
)


class Unsure(StrEnum):
    spans = "spans"
    documents = "documents"


@app.command("pseudo-label")
def pseudo_label_cli(
    pipeline: PipelineOrEnsemble,
    texts: Annotated[
        List[Path],
        typer.Argument(
            metavar="TEXTS...",
            help="JSON lines, gzipped or not, with title and abstract or text; GutBrainIE's "
            "articles JSON; text files; folders of .txt",
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The .spacy file to write")],
    min_score: MinScore = 0.0,
    unsure: Annotated[
        Unsure,
        typer.Option("--unsure", help="Left out for a mention below that: it, or its document"),
    ] = Unsure.documents,
    min_mean: Annotated[
        float, typer.Option("--min-mean", min=0, max=1, help="Least mean score in a document")
    ] = 0.0,
    min_relation: Annotated[
        float, typer.Option("--min-relation", min=0, max=1, help="Least score of a relation")
    ] = 0.0,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Keep documents without mentions")
    ] = False,
    tier: Annotated[
        str, typer.Option("--tier", help="Quality tier of the documents, for tier_weights")
    ] = "pseudo",
    exclude_documents: Annotated[
        Optional[Path],
        typer.Option("--exclude-documents", help="Leave out the documents in this file, by id"),
    ] = None,
    limit: Annotated[
        Optional[int], typer.Option("--limit", min=1, help="Documents to write at most")
    ] = None,
    spans_key: SpansKey = "sc",
    batch_size: BatchSize = 32,
    n_process: Processes = 1,
    gpu_id: GpuId = -1,
    quiet: Quiet = False,
) -> None:
    """Annotate raw texts with a trained pipeline and write what is sure as a training corpus.

    Prints the counts as JSON. Exclude the documents that you evaluate on. To label with several
    pipelines, join them with `ensemble` first. In training, tier_weights say how much documents of
    this tier count.

    Exit codes: 0 if written, 1 if something cannot be read, annotated or written, 2 for wrong
    usage.
    """
    from spacy.cli._util import setup_gpu
    from spacy.util import load_model

    from ..formats import read_ids
    from ..training.pseudo_labels import Confidence, write_pseudo_labels

    try:
        setup_gpu(gpu_id, silent=True)
        counts = write_pseudo_labels(
            load_model(pipeline),
            texts,
            output,
            confidence=Confidence(min_score, min_mean, min_relation, unsure.value, keep_empty),
            tier=tier,
            exclude_documents=() if exclude_documents is None else read_ids(exclude_documents),
            limit=limit,
            spans_key=spans_key,
            batch_size=batch_size,
            n_process=n_process,
            progress=not quiet,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(asdict(counts), indent=2, ensure_ascii=False))
