"""``python -m spacy bioie gazetteer``: make the patterns of a ``span_ruler`` from names."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import Printer

from ._app import app


@app.command("gazetteer")
def gazetteer_cli(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Files of concepts, folders of knowledge bases, corpora (.spacy)",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="A .jsonl or .json file, or a folder"),
    ],
    types: Annotated[
        list[str] | None,
        typer.Option("--types", "-t", help="Concept type to take, or TYPE=LABEL; by default all"),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", "-l", help="Label of all names; by default the type")
    ] = "",
    stop_names: Annotated[
        list[Path] | None,
        typer.Option("--stop-names", "-s", help="Names to leave out, one a line"),
    ] = None,
    min_length: Annotated[
        int, typer.Option("--min-length", min=1, help="Fewest characters of a name")
    ] = 2,
    max_length: Annotated[
        int, typer.Option("--max-length", min=1, help="Most characters of a name")
    ] = 80,
    short_length: Annotated[
        int, typer.Option("--short-length", min=0, help="Words this short match with their case")
    ] = 4,
    one_label: Annotated[
        bool, typer.Option("--one-label", help="Of each name keep the commonest label alone")
    ] = False,
    spans_key: Annotated[
        str, typer.Option("--spans-key", "-k", help="Span group of a corpus' mentions")
    ] = "sc",
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="Pipeline whose tokenizer splits the names"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No report")] = False,
) -> None:
    """Make patterns for spaCy's span_ruler from the names of concepts or of annotated mentions.

    The ruler needs phrase_matcher_attr = "LOWER". Short words and words in capitals match only in
    their own case, all other names in any. English function words are always left out; a longer
    list lies in assets/gazetteer/stop_names.txt.

    A .json file is for [initialize.components.span_ruler.patterns] with @readers =
    "srsly.read_json.v1", a .jsonl file for the ruler's add_patterns(srsly.read_jsonl(OUTPUT)), and
    a folder for its from_disk(OUTPUT). OUTPUT is complete or untouched.

    Never give the mentions of a corpus that is to be evaluated on.

    Exit codes: 0 if written, 1 if something is unreadable or malformed or no name is left, 2 for
    wrong usage.
    """
    from spacy.util import load_model

    from ..formats.convert import blank_pipeline
    from ..formats.gazetteer import write_gazetteer
    from ..kb.gazetteer import GazetteerRules, read_stop_names

    try:
        nlp = blank_pipeline() if pipeline is None else load_model(pipeline)
        stopped = set(GazetteerRules.stop_names)
        for path in stop_names or ():
            stopped.update(read_stop_names(path))
        rules = GazetteerRules(
            labels=_labels(types) if types else None,
            label=label,
            min_length=min_length,
            max_length=max_length,
            short_length=short_length,
            stop_names=stopped,
            one_label=one_label,
        )
        file, n_patterns, report = write_gazetteer(
            output, sources, nlp.tokenizer, rules=rules, spans_key=spans_key
        )
    except (OSError, ValueError, ImportError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    if not quiet:
        msg = Printer()
        rows = [(name.replace("_", " "), count) for name, count in report.to_dict().items()]
        msg.table(rows, aligns=("l", "r"))
        msg.good(f"Wrote {n_patterns} patterns to '{file}'.")


def _labels(types: list[str]) -> dict[str, str]:
    """From concept types to labels, read from TYPE or TYPE=LABEL."""
    pairs = [entry.partition("=") for entry in types]
    return {kind: label if equals else kind for kind, equals, label in pairs}
