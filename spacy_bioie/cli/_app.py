"""The typer app that all sub-commands of ``python -m spacy bioie`` hang on."""

import typer

app = typer.Typer(
    name="bioie",
    help="Biomedical information extraction: corpora, knowledge bases, predictions, scores.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
