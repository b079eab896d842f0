"""Options of the commands that train an encoder outside of a pipeline."""

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    Path, typer.Argument(metavar="OUTPUT_FOLDER", help="Folder for the trained encoder")
]
Encoder = Annotated[
    str,
    typer.Option("--encoder", "-e", help="To begin with: folder, hub name or package:NAME/DIR"),
]
Epochs = Annotated[int, typer.Option("--epochs", help="Times that all of it is seen")]
MaxSteps = Annotated[int, typer.Option("--max-steps", "-n", help="Steps at most; 0 for all")]
MaxBatchPieces = Annotated[
    int, typer.Option("--max-batch-pieces", help="Padded word pieces of one pass")
]
LearnRate = Annotated[float, typer.Option("--learn-rate", "-l", help="The highest rate")]
Warmup = Annotated[
    float, typer.Option("--warmup", help="Part of the steps in which the rate rises")
]
Seed = Annotated[int, typer.Option("--seed", "-s", help="Of all that is drawn")]
CheckpointEvery = Annotated[
    int, typer.Option("--checkpoint-every", help="Steps between checkpoints; 0 for none")
]
Resume = Annotated[
    bool, typer.Option("--resume", "-r", help="Go on from the checkpoint, if there is one")
]
FullPrecision = Annotated[
    bool, typer.Option("--full-precision", help="No bfloat16 where the hardware has it")
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--json", "-j", help="Write the report to this file too", dir_okay=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars")]
