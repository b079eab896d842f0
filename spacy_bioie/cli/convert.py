"""``python -m spacy bioie convert``: take a corpus from one form to another."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, List, Optional

import typer

from ._app import app


class FormatName(StrEnum):
    gutbrainie = "gutbrainie"
    inline = "inline"
    jsonl = "jsonl"
    docbin = "docbin"


class SplitName(StrEnum):
    train = "train"
    dev = "dev"
    test = "test"


@app.command("convert")
def convert_cli(
    inputs: Annotated[
        List[Path],
        typer.Argument(metavar="INPUT", help="Files, or folders of inline articles"),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The file or folder to write")],
    source: Annotated[
        Optional[FormatName],
        typer.Option("--from", "-f", help="Format of the inputs; by default what suffixes say"),
    ] = None,
    target: Annotated[
        Optional[FormatName],
        typer.Option("--to", "-t", help="Format of the output; by default what its suffix says"),
    ] = None,
    split: Annotated[
        Optional[SplitName],
        typer.Option("--split", "-s", help="Take one split (inline articles only)"),
    ] = None,
    lang: Annotated[str, typer.Option("--lang", "-l", help="Language of the tokenizer")] = "en",
    documents: Annotated[
        Optional[Path],
        typer.Option("--documents", help="Take the documents in this file, one id a line"),
    ] = None,
    exclude_documents: Annotated[
        Optional[Path],
        typer.Option("--exclude-documents", help="Leave out the documents in this file"),
    ] = None,
    spans_key: Annotated[
        str, typer.Option("--spans-key", help="Key of the mentions in doc.spans")
    ] = "sc",
    year: Annotated[
        Optional[int],
        typer.Option("--year", help="Layout of a gutbrainie output: 2025, or 2026 with URIs"),
    ] = None,
    any_labels: Annotated[
        bool,
        typer.Option("--any-labels", help="Accept labels and predicates unknown to GutBrainIE"),
    ] = False,
    skip_invalid: Annotated[
        bool,
        typer.Option("--skip-invalid", help="Leave out what is invalid and say what it was"),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars and no summary")
    ] = False,
) -> None:
    """Convert corpora: GutBrainIE's JSON, inline articles, JSONL and spaCy's binary files.

    Formats are guessed from the names: .json is gutbrainie, .jsonl is jsonl, .spacy is docbin and
    a folder is inline. Several inputs make one output. The output is complete or untouched.

    Exit codes: 0 if written, 1 if an input is unreadable or malformed, 2 for wrong usage.
    """
    from ..formats.convert import convert, read_ids

    try:
        result = convert(
            inputs,
            output,
            source=source,
            target=target,
            split=split,
            lang=lang,
            documents=None if documents is None else read_ids(documents),
            exclude_documents=None if exclude_documents is None else read_ids(exclude_documents),
            spans_key=spans_key,
            year=year,
            any_labels=any_labels,
            skip_invalid=skip_invalid,
            progress=not quiet,
        )
    except OSError as error:
        typer.echo(f"Error: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    for skipped in result.skipped:
        typer.echo(f"Skipped: {skipped}", err=True)
    if result.not_found:
        typer.echo(
            f"Warning: {len(result.not_found)} documents of {exclude_documents} are in no input, "
            f"the first: {', '.join(result.not_found[:5])}",
            err=True,
        )
    if quiet:
        return
    share = result.off_borders / max(result.mentions, 1)
    typer.echo(
        f"{output}: {result.documents} documents, {result.mentions} mentions, "
        f"{result.relations} relations; {result.off_borders} mentions ({share:.2%}) have a border "
        f"inside a token; {len(result.skipped)} skipped"
    )
