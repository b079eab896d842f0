"""``python -m spacy bioie evaluate``: score predictions by the rules of GutBrainIE and others."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import Printer

from ._app import app
from ._pipeline_options import Quiet, SpansKey


class TaskName(StrEnum):
    ner = "ner"
    bt = "bt"
    tt = "tt"
    tm = "tm"
    nerd = "nerd"
    m_re = "m-re"
    c_re = "c-re"
    bionne_l = "bionne-l"
    el = "el"
    mlc_x = "mlc-x"


class RulesName(StrEnum):
    official_2025 = "official-2025"
    official_2026 = "official-2026"
    strict = "strict"


@app.command("evaluate")
def evaluate_cli(
    gold: Annotated[
        Path,
        typer.Argument(
            metavar="GOLD", help="JSON, table or JSON lines with the answers", dir_okay=False
        ),
    ],
    pred: Annotated[
        Path,
        typer.Argument(metavar="PRED", help="Submission, or another such file", dir_okay=False),
    ],
    task: Annotated[TaskName, typer.Option("--task", "-t", help="What is scored")],
    rules: Annotated[
        RulesName | None,
        typer.Option(
            "--rules", "-r", help="How GutBrainIE's are counted  [default: official-2025]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--json", "-j", help="Write all figures to this file", dir_okay=False),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", "-c", help="Predictions of a second system", dir_okay=False),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option("--resamples", "-n", min=0, help="Bootstrap resamples of documents, or 0"),
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", "-s", min=0, help="Seed of the bootstrap")] = 0,
    any_labels: Annotated[
        bool,
        typer.Option("--any-labels", help="Accept labels and predicates unknown to GutBrainIE"),
    ] = False,
    spans_key: SpansKey = "sc",
    quiet: Quiet = False,
) -> None:
    """Score predictions by GutBrainIE's official rules or strictly, as sets, or other tasks'.

    GOLD is the organisers' annotation JSON; relation tasks are derived from its relations. PRED
    is a submission of the task or an annotation JSON. Prints micro and macro precision, recall and
    F1 with 95 % confidence intervals, and the figures of every class.

    With the task bionne-l GOLD is the corpus's table and PRED a submission, both .tsv: prints
    Acc@1, Acc@5 and MRR over up to five ranked concepts of each mention.

    With el (mentions and their codes, as in ELCardioCC) and mlc-x (codes of documents) both are
    JSON lines as predict writes them, or DocBins (.spacy): prints the same as for GutBrainIE, as
    sets, for el with the figures of the spans alone.

    Exit codes: 0 if scored, 1 if a file is unreadable or malformed, 2 for wrong usage.
    """
    from ..scoring import evaluate_bionne_files, evaluate_coding_files, evaluate_files

    msg = Printer()
    common: dict[str, Any] = {
        "compare": compare,
        "resamples": resamples,
        "seed": seed,
        "output": output,
    }
    ranked, coded = task is TaskName.bionne_l, task in (TaskName.el, TaskName.mlc_x)
    if (ranked or coded) and (rules is not None or any_labels):
        raise typer.BadParameter(f"--rules and --any-labels are not for the task {task.value}.")
    if spans_key != "sc" and not coded:
        raise typer.BadParameter(f"--spans-key is not for the task {task.value}.")
    try:
        if ranked:
            figures = evaluate_bionne_files(gold, pred, **common)
        elif coded:
            figures = evaluate_coding_files(
                gold, pred, task.value, spans_key=spans_key, progress=not quiet, **common
            )
        else:
            figures = evaluate_files(
                gold,
                pred,
                task.value,
                (rules or RulesName.official_2025).value,
                check_labels=not any_labels,
                progress=not quiet,
                **common,
            )
    except OSError as error:
        typer.echo(f"Error: {error.filename}: {error.strerror}.", err=True)
        raise typer.Exit(1) from None
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    if ranked:
        _print_ranked(msg, figures)
    else:
        _print_figures(msg, figures)
    if output is not None:
        msg.good(f"Wrote all figures to {output}")


def _print_figures(msg: Printer, figures: dict[str, Any]) -> None:
    total = figures["total"]
    msg.divider(f"{figures['task']}, {figures['rules']}")
    msg.text(
        f"{figures['documents']} documents, "
        f"{total['true_positives'] + total['false_negatives']} gold items, "
        f"{total['true_positives'] + total['false_positives']} predictions counted"
    )
    for field, text in (
        ("ignored_predictions", "predictions ignored: no gold item has their class"),
        ("duplicate_predictions", "predictions repeat another one"),
        ("overlapping_predictions", "predictions dropped: they overlap a longer one"),
    ):
        if figures[field]:
            msg.info(f"{figures[field]} {text}")
    for field, text in (
        ("missing_documents", "gold documents have no prediction"),
        ("extra_documents", "predicted documents are not in gold and were left out"),
        (
            "left_out_documents",
            "gold documents do not say the codes that are scored and were left out",
        ),
    ):
        if figures.get(field):
            names = ", ".join(figures[field][:5]) + (" ..." if len(figures[field]) > 5 else "")
            msg.warn(f"{len(figures[field])} {text}: {names}")
    rows = [
        (average, *(_cell(figures, f"{average}_{figure}") for figure in "prf"))
        for average in ("micro", "macro")
    ]
    if "spans" in figures:
        rows.append(("spans alone", *(_value(figures["spans"][f"micro_{f}"]) for f in "prf")))
    msg.table(
        rows,
        header=("", "P", "R", "F1"),
        aligns=("l", "r", "r", "r"),
    )
    counts = ("true_positives", "false_positives", "false_negatives")
    msg.table(
        [
            (name, *(f"{row[f]:.4f}" for f in ("precision", "recall", "f1")))
            + tuple(str(row[f]) for f in counts)
            for name, row in figures["per_class"].items()
        ],
        header=("Class", "P", "R", "F1", "TP", "FP", "FN"),
        aligns=("l", "r", "r", "r", "r", "r", "r"),
        max_col=80,
    )
    _print_comparison(msg, figures)


def _print_ranked(msg: Printer, figures: dict[str, Any]) -> None:
    msg.divider(figures["task"])
    msg.text(f"{figures['documents']} documents, {figures['mentions']} gold mentions")
    for field, text in (
        ("missing_mentions", "gold mentions have no prediction"),
        ("extra_mentions", "predicted mentions are not in gold and were left out"),
    ):
        if figures[field]:
            msg.warn(f"{figures[field]} {text}")
    if figures["duplicate_predictions"]:
        msg.info(f"{figures['duplicate_predictions']} predictions repeat another one")
    groups = {"with a concept": figures["linked"], "CUILESS": figures["cuiless"]}
    rows = [
        (name, str(group["mentions"]), *(_value(group[f]) for f in ("acc1", "acc5", "mrr")))
        for name, group in {**groups, **figures["per_type"]}.items()
    ]
    whole = [_with_interval(figures, figures[f], f) for f in ("acc1", "acc5", "mrr")]
    msg.table(
        [("all", str(figures["mentions"]), *whole), *rows],
        header=("", "Mentions", "Acc@1", "Acc@5", "MRR"),
        aligns=("l", "r", "r", "r", "r"),
    )
    _print_comparison(msg, figures)


def _print_comparison(msg: Printer, figures: dict[str, Any]) -> None:
    if "comparison" in figures:
        msg.divider(f"compared with {figures['comparison']['predictions']}")
        msg.table(
            [
                (name, f"{d['a']:.4f}", f"{d['b']:.4f}", f"{d['difference']:+.4f}")
                + (f"[{d['low']:+.4f}, {d['high']:+.4f}]", f"{d['p_value']:.4f}")
                for name, d in figures["comparison"]["differences"].items()
            ],
            header=("", "A", "B", "A - B", "95 % interval", "p"),
            aligns=("l", "r", "r", "r", "r", "r"),
        )


def _cell(figures: dict[str, Any], name: str) -> str:
    return _with_interval(figures, figures["averages"][name], name)


def _with_interval(figures: dict[str, Any], value: float, name: str) -> str:
    cell = _value(value)
    if "intervals" in figures:
        interval = figures["intervals"][name]
        cell += f" [{interval['low']:.4f}, {interval['high']:.4f}]"
    return cell


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
