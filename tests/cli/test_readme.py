"""The table of commands and calls in the README."""

import importlib
import inspect
import re
from pathlib import Path

from typer.main import get_command

from spacy_bioie.cli import app

README = Path(__file__).resolve().parents[2] / "README.md"
CALL = r"`([\w.]+)\(([\w, ]*)\)`"
ROW = re.compile(rf"^\| `python -m spacy bioie ([\w-]+)` \| ((?:{CALL}(?:, )?)+) \|$", re.M)


def test_every_command_has_a_call():
    rows = ROW.findall(README.read_text(encoding="utf8"))
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(name for name, *_ in rows) == sorted(commands)


def test_calls_take_what_the_readme_gives_them():
    rows = ROW.findall(README.read_text(encoding="utf8"))
    assert len(rows) >= 6
    calls = [(name, *call) for name, found, *_ in rows for call in re.findall(CALL, found)]
    assert {path for name, path, _ in calls if name == "evaluate"} > {
        f"spacy_bioie.scoring.evaluate_{kind}_files" for kind in ("bionne", "coding")
    }
    for name, path, arguments in calls:
        module, _, function = path.rpartition(".")
        call = getattr(importlib.import_module(module), function)
        parameters = inspect.signature(call).parameters
        given = arguments.split(", ")
        assert list(parameters)[: len(given)] == given, name
        inspect.signature(call).bind(*given)
        assert inspect.getdoc(call), name
