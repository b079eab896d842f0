"""Tables of the README that ``readme.py`` writes."""

from typing import Any, Iterable, List, Sequence

from spans_report import Table


def tables(found: Iterable[Table]) -> List[str]:
    """Tables, each with the text before it."""
    lines: List[str] = []
    for each in found:
        lines += ["", each.text, "", *table(each.head, each.rows)]
    return lines


def figure(value: Any) -> str:
    """A number as it stands in a cell; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    """The lines of a table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
