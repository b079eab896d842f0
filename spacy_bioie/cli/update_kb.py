"""``python -m spacy bioie update-kb``: add, remove and merge concepts of a knowledge base."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import Printer

from ._app import app
from ._concept_options import (
    Form,
    KeepSuppressed,
    Languages,
    Mentions,
    MergeXrefs,
    Quiet,
    ReportFile,
    SemanticTypes,
    Vocabularies,
    print_report,
)
from ._pipeline_options import SpansKey

# Of all vectors; above it is said that building anew pays
_MANY_UNUSED = 0.2


@app.command("update-kb")
def update_kb_cli(
    path: Annotated[Path, typer.Argument(metavar="KB", help="Folder of a knowledge base")],
    out_dir: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Folder to write; may be KB itself")
    ],
    add: Annotated[
        list[Path] | None,
        typer.Option(
            "--add", "-a", help="File of concepts, or folder of UMLS RRF files; repeatable"
        ),
    ] = None,
    remove: Annotated[
        Path | None, typer.Option("--remove", "-r", help="Ids of concepts, one a line")
    ] = None,
    merge: Annotated[
        Path | None,
        typer.Option(
            "--merge", help="Pairs of ids, tab or comma between them; the first of each stays"
        ),
    ] = None,
    mentions: Mentions = None,
    spans_key: SpansKey = "sc",
    form: Form = None,
    languages: Languages = None,
    vocabularies: Vocabularies = None,
    semantic_types: SemanticTypes = None,
    keep_suppressed: KeepSuppressed = False,
    merge_xrefs: MergeXrefs = False,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Change the concepts of a knowledge base without building it anew.

    Concepts are removed first, then added, then merged; further training mentions come last. A
    record that is added with a known id is joined with that concept; to replace one, remove it as
    well. Training mentions stay with their concepts. Only names that are new are encoded, by the
    encoder inside KB; what the build learned of its names (weights of n-grams, training of the
    index) stays. OUT_DIR is written beside and renamed; a knowledge base that lies there is
    replaced.

    Exit codes: 0 if written, 1 if a file is unreadable or malformed or an id is not known, 2 for
    wrong usage.
    """
    if not (add or remove or merge or mentions):
        message = "Error: expected at least one of --add, --remove, --merge and --mentions."
        typer.echo(message, err=True)
        raise typer.Exit(2)
    from ..kb.sources import Filters
    from ..kb.updating import write_updated_knowledge_base

    try:
        counts = write_updated_knowledge_base(
            path,
            out_dir,
            add=add or [],
            remove=remove,
            merge=merge,
            mentions=mentions or [],
            spans_key=spans_key,
            form=form,
            filters=Filters(
                languages=languages or (),
                vocabularies=vocabularies or (),
                semantic_types=semantic_types or (),
                keep_suppressed=keep_suppressed,
            ),
            merge_xrefs=merge_xrefs,
            report=report,
            progress=not quiet,
        )
    except (OSError, ValueError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    if not quiet:
        msg = Printer()
        print_report(counts)
        if counts.unused_vectors > _MANY_UNUSED * (counts.names + counts.unused_vectors):
            msg.warn(
                "Many vectors of the index are of names that are gone: build-kb makes a smaller "
                "and faster one."
            )
        msg.good(f"Wrote the knowledge base to '{out_dir}'.")
