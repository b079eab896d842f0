"""``python -m spacy bioie``: one file per sub-command, each a thin call into the package."""

from spacy.cli._util import app as spacy_app

from ._app import app

spacy_app.add_typer(app, name="bioie")
