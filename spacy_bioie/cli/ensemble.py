"""``python -m spacy bioie ensemble``: join trained pipelines into one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Dict, List, Optional

import typer

from ._app import app


class Method(StrEnum):
    emissions = "emissions"
    tokens = "tokens"
    spans = "spans"
    weights = "weights"


class Merge(StrEnum):
    vote = "vote"
    union = "union"
    intersection = "intersection"
    priority = "priority"


class Overlap(StrEnum):
    any = "any"
    nested = "nested"
    flat = "flat"


@app.command("ensemble")
def ensemble_cli(
    pipelines: Annotated[
        List[str], typer.Argument(metavar="PIPELINE...", help="Names or folders of the members")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the ensemble")],
    method: Annotated[
        Method, typer.Option("--method", "-m", help="What is averaged or voted on")
    ] = Method.emissions,
    weight: Annotated[
        Optional[List[float]],
        typer.Option("--weight", "-w", help="Of each pipeline, in their order; even by default"),
    ] = None,
    component: Annotated[
        Optional[str],
        typer.Option("--component", help="Name of the nested_spancat (emissions, tokens)"),
    ] = None,
    relations: Annotated[
        bool, typer.Option("--relations", help="Average the probabilities of relations, too")
    ] = False,
    merge: Annotated[
        Optional[Merge],
        typer.Option("--merge", help="Which mentions stay (spans); vote by default"),
    ] = None,
    min_votes: Annotated[
        Optional[int],
        typer.Option("--min-votes", min=1, help="Of a vote (spans); more than half by default"),
    ] = None,
    min_score: Annotated[
        Optional[float],
        typer.Option("--min-score", min=0, max=1, help="Least mean score over all members (spans)"),
    ] = None,
    overlap: Annotated[
        Optional[Overlap],
        typer.Option("--overlap", help="Which mentions may overlap (spans); any by default"),
    ] = None,
    spans_key: Annotated[
        str, typer.Option("--spans-key", help="Key of the mentions in doc.spans (spans)")
    ] = "sc",
) -> None:
    """Join trained pipelines into one that is packaged and loaded like any other.

    emissions averages the scores of tags and of their transitions: for one model trained with
    several seeds. tokens averages the probabilities of each token's tags: for any encoders. spans
    lets pipelines of any kind vote on mentions. weights averages the parameters of checkpoints
    into a single model. The first pipeline's other components stay and work on the joint mentions.
    With --relations their relations are averaged as well. Tune the thresholds of the result on
    held-out documents.

    Exit codes: 0 if saved, 1 if something cannot be read, joined or written, 2 for wrong usage.
    """
    from ..training.ensembling import write_ensemble

    given = {"merge": merge, "min_votes": min_votes, "min_score": min_score, "overlap": overlap}
    voting: Dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    try:
        nlp = write_ensemble(
            pipelines,
            output,
            method=method.value,
            weights=weight or None,
            component=component,
            relations=relations,
            spans_key=spans_key,
            **voting,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{output}: {len(pipelines)} pipelines joined ({method.value}): {nlp.pipe_names}")
