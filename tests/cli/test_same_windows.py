"""The encoder reads the same windows whether a document is annotated or evaluated on."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from spacy.cli.evaluate import evaluate
from spacy_transformers.util import registry
from thinc.api import Config

from spacy_bioie.formats import convert

from ..models.tagging_pipeline import make_pipeline
from ..tiny_encoder import make_tiny_bert

ARTICLES = {
    "1": {
        "title": "Gut and brain axis in <i>E. coli</i>",
        "abstract": "serotonin of mice increased (butyrate), " * 60,
    },
    "2": {"title": "Short.", "abstract": "The gut."},
    "3": {"title": "", "abstract": "fatty acid and sleep " * 30},
}
SETTER = "tests.record_windows.v1"
# An annotation setter, found through an entry point as those of an installed package are
RECORDER = """
import json, os
from spacy_bioie.annotation import section_token_ranges

def make_recorder():
    def record(docs, batch):
        with open(os.environ["RECORDED_WINDOWS"], "a", encoding="utf8") as file:
            for doc, spans, data in zip(docs, batch.spans, batch.doc_data, strict=True):
                row = {
                    "text": doc.text,
                    "sections": [list(section) for section in doc._.sections],
                    "token_ranges": section_token_ranges(doc),
                    "windows": [[span.start, span.end] for span in spans],
                    "pieces": data.wordpieces.input_ids.tolist(),
                }
                file.write(json.dumps(row) + "\\n")
    return record
"""


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """The folder of a package that brings the setter, and its function in this process."""
    folder = tmp_path / "packages"
    metadata = folder / "record_windows-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "record_windows.py").write_text(RECORDER, encoding="utf8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: record_windows\nVersion: 1.0")
    (metadata / "entry_points.txt").write_text(
        f"[spacy_annotation_setters]\n{SETTER} = record_windows:make_recorder\n", encoding="utf8"
    )
    monkeypatch.syspath_prepend(str(folder))
    # entry points of this process were read when it began
    registry.annotation_setters.register(
        SETTER, func=importlib.import_module("record_windows").make_recorder
    )
    return folder


@pytest.mark.slow
def test_predict_and_evaluate_read_the_same_windows(recorder, tmp_path, monkeypatch):
    nlp, _ = make_pipeline(make_tiny_bert(tmp_path / "bert", max_positions=64))
    nlp.to_disk(tmp_path / "pipeline")
    config = Config().from_disk(tmp_path / "pipeline" / "config.cfg")
    config["components"]["transformer"]["set_extra_annotations"] = {"@annotation_setters": SETTER}
    config.to_disk(tmp_path / "pipeline" / "config.cfg")
    articles, corpus = tmp_path / "articles.json", tmp_path / "corpus.spacy"
    articles.write_text(json.dumps(ARTICLES), encoding="utf8")
    convert(articles, corpus)

    def recorded(name, call):
        path = tmp_path / f"{name}.jsonl"
        monkeypatch.setenv("RECORDED_WINDOWS", str(path))
        call()
        rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
        return sorted(rows, key=lambda row: row["text"])

    command = ["-m", "spacy", "bioie", "predict", "pipeline", "articles.json", "out", "--quiet"]
    environment = {"PYTHONPATH": os.pathsep.join([str(recorder), os.environ.get("PYTHONPATH", "")])}
    predicted = recorded(
        "predict",
        lambda: subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, **environment},
            check=True,
        ),
    )
    evaluated = recorded(
        "evaluate", lambda: evaluate(str(tmp_path / "pipeline"), corpus, silent=True)
    )
    assert predicted == evaluated
    assert len(predicted) == len(ARTICLES)
    long = next(row for row in predicted if row["text"].startswith("Gut and brain"))
    assert [name for name, *_ in long["sections"]] == ["title", "abstract"]
    border = long["token_ranges"][1][0]
    assert len(long["windows"]) > 4 and long["windows"][0] == [0, border]
    assert all(start >= border for start, _ in long["windows"][1:])
