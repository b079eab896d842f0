"""``python -m spacy bioie``: one file per sub-command, each a thin call into the package."""

from spacy.cli._util import app as spacy_app

from . import (
    adapt_encoder,
    adapt_mentions,
    adapt_names,
    annotate,
    build_kb,
    complete_labels,
    convert,
    cross_fit,
    ensemble,
    evaluate,
    gazetteer,
    predict,
    pseudo_label,
    refit,
    tune_relations,
    tune_spans,
    update_kb,
)
from ._app import app

__all__ = [
    "adapt_encoder",
    "adapt_mentions",
    "adapt_names",
    "annotate",
    "app",
    "build_kb",
    "complete_labels",
    "convert",
    "cross_fit",
    "ensemble",
    "evaluate",
    "gazetteer",
    "predict",
    "pseudo_label",
    "refit",
    "tune_relations",
    "tune_spans",
    "update_kb",
]

spacy_app.add_typer(app, name="bioie")
