"""Scores of files: read gold and predictions, score, compare, write all figures."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from .bootstrap import paired_table_bootstrap, table_intervals
from .gutbrainie import count, evaluate
from .rules import CountTable


def evaluate_files(
    gold: str | Path,
    pred: str | Path,
    task: str,
    rules: str = "official-2025",
    *,
    compare: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    check_labels: bool = True,
    output: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a prediction file against a gold file, both in GutBrainIE's JSON.

    ``task``, ``rules`` and ``check_labels`` are those of ``gutbrainie.evaluate``. With
    ``resamples`` above 0 the figures get 95 % confidence intervals over documents. ``compare``
    names the predictions of a second system, on the same task, for a paired comparison.
    ``progress`` shows a bar of the resamples on standard error.

    Returns (and writes to ``output``, complete or not at all) plain JSON values: ``gold``,
    ``predictions``, ``resamples``, ``seed``, all of ``gutbrainie.Report``, ``intervals`` (figure
    to value, low, high) and ``comparison`` (``predictions``, the other system's ``report``, and
    ``differences``: figure to a, b, difference, low, high, p_value; a is ``pred``).
    Raises ValueError that names file, PMID and field for what is not as expected, OSError for a
    file that cannot be read or written.
    """
    check_resamples(resamples, compare)
    true, given = read_json(gold), read_json(pred)
    options: dict[str, Any] = {"check_labels": check_labels, "gold_name": str(gold)}
    report = evaluate(true, given, task, rules, pred_name=str(pred), **options)
    out: dict[str, Any] = {
        "gold": str(gold),
        "predictions": str(pred),
        "resamples": resamples,
        "seed": seed,
        **report.to_dict(),
    }
    if resamples:
        table = count(true, given, task, rules, pred_name=str(pred), **options)
        out["intervals"] = interval_figures(table, resamples, seed, progress=progress)
        if compare is not None:
            other = read_json(compare)
            rival = evaluate(true, other, task, rules, pred_name=str(compare), **options)
            rival_table = count(true, other, task, rules, pred_name=str(compare), **options)
            out["comparison"] = {
                "predictions": str(compare),
                "report": rival.to_dict(),
                "differences": difference_figures(
                    table, rival_table, resamples, seed, progress=progress
                ),
            }
    if output is not None:
        write_json(output, out)
    return out


def check_resamples(resamples: int, compare: str | Path | None) -> None:
    """Raise ValueError for a number of resamples that does not fit what is asked."""
    if resamples < 0 or (compare is not None and resamples == 0):
        raise ValueError(
            f"Cannot draw {resamples} resamples: expected a number from 0 on, and at least 1 for "
            "a comparison."
        )


def interval_figures(
    table: CountTable, resamples: int, seed: int, *, progress: bool = False
) -> dict[str, Any]:
    """The intervals of ``table_intervals`` as plain JSON values."""
    intervals = table_intervals(table, resamples, seed, progress=progress)
    return {name: vars(interval) for name, interval in intervals.items()}


def difference_figures(
    a: CountTable, b: CountTable, resamples: int, seed: int, *, progress: bool = False
) -> dict[str, Any]:
    """The differences of ``paired_table_bootstrap`` as plain JSON values."""
    differences = paired_table_bootstrap(a, b, resamples, seed, progress=progress)
    return {name: vars(difference) for name, difference in differences.items()}


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds one object, without repeated keys.

    Raises ValueError that names the file where it holds anything else.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{path}: the key '{twice}' occurs more than once in one object.")
        return values

    try:
        values = json.loads(Path(path).read_text(encoding="utf8"), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON, line {error.lineno} column {error.colno}: {error.msg}."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text, byte {error.start}: {error.reason}.") from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path}: expected one object with a PMID for each key, found a "
            f"{type(values).__name__}."
        )
    return values


def write_json(path: str | Path, values: Any) -> None:
    """Write JSON beside the file and put it in its place when it is complete."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write to", str(path.parent))
    try:
        with beside.open("w", encoding="utf8") as file:
            json.dump(values, file, indent=2, ensure_ascii=False)
            file.write("\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
