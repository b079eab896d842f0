"""``python -m spacy bioie``: one file per sub-command, each a thin call into the package."""

from spacy.cli._util import app as spacy_app

from . import annotate, build_kb, convert, evaluate, gazetteer, predict, tune_relations, tune_spans
from ._app import app

__all__ = [
    "annotate",
    "app",
    "build_kb",
    "convert",
    "evaluate",
    "gazetteer",
    "predict",
    "tune_relations",
    "tune_spans",
]

spacy_app.add_typer(app, name="bioie")
