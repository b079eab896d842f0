"""Options of the commands that run or tune a trained pipeline; others share some of them."""

from pathlib import Path
from typing import Annotated

import typer

Pipeline = Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")]
PipelineOrEnsemble = Annotated[
    str, typer.Argument(help="Name or folder of a trained pipeline, or of an ensemble")
]
HeldOut = Annotated[Path, typer.Argument(help="Held-out documents (.spacy)")]
TunedFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the tuned pipeline", file_okay=False),
]
MinScore = Annotated[
    float, typer.Option("--min-score", min=0, max=1, help="Least score of a mention")
]
SpansKey = Annotated[
    str, typer.Option("--spans-key", "-k", help="Key of the mentions in doc.spans")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Documents in a batch")]
Processes = Annotated[int, typer.Option("--n-process", "-n", help="Processes")]
GpuId = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")]
