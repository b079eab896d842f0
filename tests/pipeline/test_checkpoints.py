"""A training run that is killed while it writes: what it leaves loads, and it can start again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli.train import train

from tests.pipelines import (
    TEXTS,
    make_examples,
    make_pipeline,
    save_corpus,
    training_config,
    what_was_found,
)

REPOSITORY = Path(__file__).parents[2]

# Code for ``spacy train --code``. The first checkpoint is written as a whole.
KILL_IN_LAST = """
import os
import signal
from spacy_bioie.pipeline.relation_extractor import RelationExtractor

checkpoints = []
write = RelationExtractor.to_disk

def stop_halfway(self, path, **settings):
    checkpoints.append(path)
    if len(checkpoints) == 2:
        with open(path / "model", "r+b") as file:
            file.truncate(1000)
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, path, **settings)

RelationExtractor.to_disk = stop_halfway
"""
KILL_IN_KNOWLEDGE_BASE = """
import os
import signal
from spacy_bioie.kb import knowledge_base

checkpoints = []
write = knowledge_base.storage.write_arrays

def stop_halfway(folder, arrays):
    checkpoints.append(folder)
    if len(checkpoints) == 2:
        write(folder, dict(list(arrays.items())[:2]))
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, arrays)

knowledge_base.storage.write_arrays = stop_halfway
"""
KILL_IN_BEST = """
import os
import shutil
import signal

copies = []
copy_folder = shutil.copytree

def stop_halfway(source, target, *rest, **settings):
    files = []

    def copy(source, target):
        files.append(target)
        if len(copies) == 2 and len(files) == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return shutil.copy2(source, target)

    if str(target).endswith("model-best"):
        copies.append(target)
        settings["copy_function"] = copy
    return copy_folder(source, target, *rest, **settings)

shutil.copytree = stop_halfway
"""


@pytest.mark.parametrize(
    "code,complete",
    [
        (KILL_IN_LAST, "model-best"),
        (KILL_IN_BEST, "model-last"),
        pytest.param(KILL_IN_KNOWLEDGE_BASE, "model-best", marks=pytest.mark.slow),
    ],
    ids=["while model-last is written", "while model-best is", "while a knowledge base is"],
)
def test_a_killed_run_leaves_a_complete_model(tmp_path, kb_folder, code, complete):
    nlp = make_pipeline("tok2vec", kb=kb_folder)
    config = training_config(
        nlp, save_corpus(nlp, tmp_path / "corpus.spacy"), max_steps=20, eval_frequency=10
    )
    config.to_disk(tmp_path / "config.cfg")
    (tmp_path / "kill.py").write_text(code)
    output = tmp_path / "output"
    command = ["train", "config.cfg", "--output", str(output), "--code", "kill.py"]
    killed = subprocess.run(
        [sys.executable, "-m", "spacy", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert (output / "model-last").exists() and (output / "model-best").exists()
    assert_works(output / complete)
    (other,) = {"model-best", "model-last"} - {complete}
    if code != KILL_IN_KNOWLEDGE_BASE:  # there the earlier one is still in its place
        with pytest.raises((OSError, ValueError, EOFError, RuntimeError)):
            spacy.load(output / other)
    train(tmp_path / "config.cfg", output)
    for name in ("model-best", "model-last"):
        assert_works(output / name)
        assert not [p for p in (output / name).rglob(".*")], "something was left behind"
    nlp = spacy.load(output / "model-best")
    assert what_was_found(nlp(TEXTS[0])) == what_was_found(make_examples(nlp)[0].reference)


def assert_works(folder):
    """The pipeline reaches the figures that were written down when it was saved."""
    nlp = spacy.load(folder)
    figures = nlp.evaluate(make_examples(nlp))
    noted = json.loads((folder / "meta.json").read_text())["performance"]
    for name in ("spans_sc_f", "nel_gold_acc1", "rel_gold_tm_micro_f", "rel_pred_tm_micro_f"):
        assert figures[name] == pytest.approx(noted[name])
