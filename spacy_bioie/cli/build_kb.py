"""``python -m spacy bioie build-kb``: build a knowledge base."""

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


@app.command("build-kb")
def build_kb_cli(
    out_dir: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Folder for the knowledge base")
    ],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCE...", help="File of concepts, or folder of UMLS RRF files"),
    ] = None,
    form: Form = None,
    languages: Languages = None,
    vocabularies: Vocabularies = None,
    semantic_types: SemanticTypes = None,
    keep_suppressed: KeepSuppressed = False,
    merge_xrefs: MergeXrefs = False,
    mentions: Mentions = None,
    spans_key: SpansKey = "sc",
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="Name encoder: folder, hub name or package:NAME/DIR"),
    ] = None,
    no_encoder: Annotated[
        bool, typer.Option("--no-encoder", help="Compare names by their spelling alone")
    ] = False,
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            help="mean or cls; by default what the files of the encoder say, or mean",
        ),
    ] = None,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", help="It computes in bfloat16, where that is fast")
    ] = False,
    index: Annotated[
        str, typer.Option("--index", "-i", help="faiss index factory string")
    ] = "Flat",
    search_parameters: Annotated[
        str, typer.Option("--search-parameters", help="faiss parameters, such as nprobe=32")
    ] = "",
    train_sample: Annotated[
        int, typer.Option("--train-sample", min=1, help="Names an index is trained on at most")
    ] = 200_000,
    recall_queries: Annotated[
        int,
        typer.Option("--recall-queries", min=0, help="Misspelt names that measure its recall"),
    ] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of these")] = 0,
    lexical_weight: Annotated[
        float, typer.Option("--lexical-weight", min=0, help="Weight of the spelling of names")
    ] = 0.5,
    semantic_weight: Annotated[
        float, typer.Option("--semantic-weight", min=0, help="Weight of the name encoder")
    ] = 0.5,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Names encoded in one pass")
    ] = 64,
    unique_ids: Annotated[
        bool, typer.Option("--unique-ids", help="Refuse a repeated concept id, do not merge")
    ] = False,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Build a knowledge base from concepts and from the mentions of a training corpus.

    A SOURCE, gzipped or not, is a file of JSON lines ({"concept_id", "name", "synonyms", "types",
    "definition"} or scispaCy's form), CSV or TSV with a header, OBO, OWL, MeSH in XML or ASCII, or
    a folder of UMLS RRF files. Several sources are merged into one knowledge base; records of one
    id are joined. The recall of an index that is not exact is measured against exact search.
    OUT_DIR is written beside and renamed; a knowledge base that lies there is replaced, any other
    folder with files in it is refused.

    All concepts are held in memory while this runs, with their names and definitions. Loading the
    result takes little, since it is memory-mapped.

    Never give the mentions of a corpus that is to be evaluated on.

    Exit codes: 0 if built, 1 if a file is unreadable or malformed or the index cannot be built, 2
    for wrong usage.
    """
    if (encoder is None) != no_encoder:
        typer.echo("Error: expected either --encoder NAME or --no-encoder.", err=True)
        raise typer.Exit(2)
    if not sources and not mentions:
        typer.echo("Error: expected at least one SOURCE, or a corpus with --mentions.", err=True)
        raise typer.Exit(2)
    from ..kb.sources import Filters
    from ..kb.writing import write_knowledge_base

    try:
        counts = write_knowledge_base(
            out_dir,
            sources or [],
            form=form,
            filters=Filters(
                languages=languages or (),
                vocabularies=vocabularies or (),
                semantic_types=semantic_types or (),
                keep_suppressed=keep_suppressed,
            ),
            merge_xrefs=merge_xrefs,
            mentions=mentions or [],
            spans_key=spans_key,
            encoder=encoder,
            pooling=pooling,
            batch_size=batch_size,
            mixed_precision=mixed_precision,
            index=index,
            search_parameters=search_parameters,
            train_sample=train_sample,
            recall_queries=recall_queries,
            seed=seed,
            lexical_weight=lexical_weight,
            semantic_weight=semantic_weight,
            duplicates="error" if unique_ids else "merge",
            report=report,
            progress=not quiet,
        )
    except (OSError, ValueError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    if not quiet:
        msg = Printer()
        print_report(counts)
        if counts.recall_at_10 is not None:
            msg.info(
                f"Recall@10 against exact search, for misspelt names: {counts.recall_at_10:.3f}"
            )
        msg.good(f"Wrote the knowledge base to '{out_dir}'.")
