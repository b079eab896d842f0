"""The error of all formats."""

from pathlib import Path
from typing import Union


class FormatError(ValueError):
    """An input that is not as its format wants it.

    ``file`` is the path as text, ``record`` the article, line or document, ``field`` the place in
    the record (``entities[3].label``), ``problem`` what was found and what was expected. Each of
    the first three is empty where it does not apply; the message joins all that are given.
    """

    def __init__(self, file: Union[str, Path], record: str, field: str, problem: str) -> None:
        super().__init__(str(file), record, field, problem)
        self.file = str(file)
        self.record = record
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return ": ".join(
            part for part in (self.file, self.record, self.field, self.problem) if part
        )
