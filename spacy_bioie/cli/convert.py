"""``python -m spacy bioie convert``: take a corpus from one form to another."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, List, Optional

import typer

from ._app import app
from ._pipeline_options import SpansKey


class FormatName(StrEnum):
    gutbrainie = "gutbrainie"
    inline = "inline"
    jsonl = "jsonl"
    docbin = "docbin"
    pubtator = "pubtator"
    conll = "conll"
    brat = "brat"
    bionne = "bionne"


class DiscontinuousName(StrEnum):
    cover = "cover"
    skip = "skip"


class PairsName(StrEnum):
    all = "all"
    closest = "closest"
    sentence = "sentence"


class SplitName(StrEnum):
    train = "train"
    dev = "dev"
    test = "test"


@app.command("convert")
def convert_cli(
    inputs: Annotated[
        List[Path],
        typer.Argument(metavar="INPUT", help="Files, or folders of inline articles or of brat"),
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
    exclude_annotations: Annotated[
        Optional[Path],
        typer.Option(
            "--exclude-annotations",
            help="List of bad annotations (.tsv, .jsonl) to leave out or change",
        ),
    ] = None,
    spans_key: SpansKey = "sc",
    tier: Annotated[
        Optional[str],
        typer.Option("--tier", help="Quality of the annotation, such as gold (docbin, jsonl)"),
    ] = None,
    year: Annotated[
        Optional[int],
        typer.Option("--year", help="Layout of a gutbrainie output: 2025, or 2026 with URIs"),
    ] = None,
    any_labels: Annotated[
        bool,
        typer.Option("--any-labels", help="Accept labels and predicates unknown to GutBrainIE"),
    ] = False,
    discontinuous: Annotated[
        Optional[DiscontinuousName],
        typer.Option(
            "--discontinuous",
            help="Mentions in several parts: cover them by one span, the default, or skip them",
        ),
    ] = None,
    concept_pairs: Annotated[
        Optional[PairsName],
        typer.Option(
            "--concept-pairs",
            help="Pairs of mentions that get the relations stated between concepts: all, the "
            "closest, or those inside a sentence and else the closest",
        ),
    ] = None,
    symmetric: Annotated[
        Optional[List[str]],
        typer.Option("--symmetric", help="A relation whose concepts have no order; '*' means all"),
    ] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option("--skip-invalid", help="Leave out what is invalid and say what it was"),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars and no summary")
    ] = False,
) -> None:
    """Convert corpora: GutBrainIE's JSON, inline articles, JSONL, spaCy's binary files, PubTator,
    IOB columns, brat's standoff files and BioNNE-L's tables.

    Formats are guessed from the names: .json is gutbrainie, .jsonl is jsonl, .spacy is docbin,
    .pubtator is pubtator, .conll, .iob and .bio are conll. A .txt or .tsv file is looked into; a
    folder is brat if it has .ann files, else inline. Several inputs make one output. The output is
    complete or untouched.

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
            exclude_annotations=exclude_annotations,
            spans_key=spans_key,
            tier=tier,
            year=year,
            any_labels=any_labels,
            discontinuous=discontinuous,
            concept_pairs=concept_pairs,
            symmetric=symmetric or (),
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
    if result.not_corrected:
        typer.echo(
            f"Warning: {len(result.not_corrected)} documents of {exclude_annotations} are in no "
            f"input, the first: {', '.join(result.not_corrected[:5])}",
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
    if result.corrections is not None:
        found = result.corrections
        typer.echo(
            f"{exclude_annotations}: {found.documents} documents and {found.dropped} mentions with "
            f"{found.relations} relations left out, {found.changed} mentions changed"
        )
    if result.in_parts:
        typer.echo(f"{result.in_parts} mentions in several parts are covered by one span each")
    if result.concept_relations:
        placed = "" if concept_pairs is None else f", {result.not_placed} of them on no mentions"
        typer.echo(f"{result.concept_relations} relations are stated between concepts{placed}")
