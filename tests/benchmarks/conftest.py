import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import one another by their plain names, as from their own folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)
