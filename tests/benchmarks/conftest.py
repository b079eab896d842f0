import json
import sys
from pathlib import Path

import pytest

from ..tiny_encoder import make_tiny_bert
from .spans_corpora import HELD_OUT, article, write_texts, write_vocabularies

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts import one another by their plain names, as from their own folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def spans_folder(tmp_path, monkeypatch):
    """A small GutBrainIE, results in a folder of their own, and runs in this process."""
    import readme
    import results
    import spans
    import spans_data
    import spans_run
    import word_vectors

    for number, path in enumerate(spans_data.source_files(tmp_path, "gutbrainie")):
        path.parent.mkdir(parents=True)
        ids = range(3 * number, 3 * number + 3)
        path.write_text(json.dumps({str(i): article(i % 2 == 0) for i in ids}), encoding="utf8")
    write_vocabularies(tmp_path)
    write_texts(tmp_path)
    few = {"dim": 8, "bucket": 100, "epoch": 1, "minCount": 1}
    monkeypatch.setattr(word_vectors, "SETTINGS", {**word_vectors.SETTINGS, **few})
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("\n".join(HELD_OUT), encoding="utf8")
    monkeypatch.setattr(spans_data, "HELD_OUT", held_out)
    for module in (results, readme):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(readme, "PATH", tmp_path / "README.md")
    calls = []

    def measured(cost, *arguments):
        calls.append((arguments[0], cost.parent.name))
        spans_run.main(arguments)
        cost.write_text(json.dumps({"seconds": 1.0, "peak_memory_mb": 2000}), encoding="utf8")

    monkeypatch.setattr(spans, "measured", measured)
    make_tiny_bert(tmp_path / "bert")
    return tmp_path, calls
