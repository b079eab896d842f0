"""``spacy train`` and ``spacy evaluate`` of all three components together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli.evaluate import evaluate
from spacy.cli.train import train

from spacy_bioie.models import forking
from tests.pipelines import (
    ARTICLES,
    ENCODERS,
    HEADS,
    NEW_TEXT,
    TEXTS,
    make_examples,
    make_pipeline,
    parameters,
    save_corpus,
    training_config,
    what_was_found,
)

REPOSITORY = Path(__file__).parents[2]
ON_GOLD_INPUT = ("nel_gold_acc1", "nel_gold_mrr", "rel_gold_tm_micro_f", "rel_gold_bt_micro_f")
ON_PREDICTED_INPUT = ("spans_sc_f", "nerd_strict_micro_f", "rel_pred_tm_micro_f")


@pytest.fixture(scope="module", params=ENCODERS)
def trained(request, tiny_bert, kb_folder, tmp_path_factory):
    """A folder with a corpus, and what ``spacy train`` has made of it."""
    folder = tmp_path_factory.mktemp(request.param)
    nlp = make_pipeline(request.param, tiny_bert, kb_folder)
    config = training_config(nlp, save_corpus(nlp, folder / "corpus.spacy"))
    config.to_disk(folder / "config.cfg")
    if request.param == "transformer":
        command = ["train", str(folder / "config.cfg"), "--output", str(folder / "output")]
        result = run([sys.executable, "-m", "spacy", *command])
        (folder / "log.txt").write_text(result.stdout)
    else:
        train(folder / "config.cfg", folder / "output")
    return folder


def run(command, timeout=300, **environment):
    """Run a command; end it with all its children where it takes too long."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{command} took more than {timeout} s:\n{process.communicate()[0]}")
    assert process.returncode == 0, output
    return subprocess.CompletedProcess(command, 0, output)


def test_learns_the_documents_by_heart(trained):
    nlp = spacy.load(trained / "output" / "model-best")
    for example in make_examples(nlp):
        found = what_was_found(nlp(example.text))
        assert found == what_was_found(example.reference)
    assert sum(len(article.relations) for article in ARTICLES) == 7


def test_saved_and_loaded_again(trained, tmp_path):
    nlp = spacy.load(trained / "output" / "model-best")
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    from_bytes = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    for other in (again, from_bytes):
        assert_same(nlp, other)


def assert_same(nlp, other):
    """Compare mentions, candidates, relations and all scores."""
    for doc, twin in zip(nlp.pipe([*TEXTS, NEW_TEXT]), other.pipe([*TEXTS, NEW_TEXT]), strict=True):
        assert what_was_found(doc) == what_was_found(twin)
        assert [r.score for r in twin._.relations] == pytest.approx(
            [r.score for r in doc._.relations], rel=1e-3
        )
        for span, other_span in zip(doc.spans["sc"], twin.spans["sc"], strict=True):
            assert [concept for concept, _ in span._.kb_ents] == [
                concept for concept, _ in other_span._.kb_ents
            ]


def test_training_shows_figures_on_gold_and_on_predicted_input(trained):
    meta = json.loads((trained / "output" / "model-best" / "meta.json").read_text())
    shown = ("spans_sc_f", "nel_gold_acc1", "rel_gold_tm_micro_f", "rel_pred_tm_micro_f")
    for name in (*shown, "nerd_strict_micro_f"):
        assert meta["performance"][name] == pytest.approx(1.0)
    losses = [f"{name}_loss" for name in HEADS]
    assert all(meta["performance"][name] >= 0.0 for name in losses)
    if (trained / "log.txt").exists():
        log = (trained / "log.txt").read_text()
        assert "LOSS FAISS" in log and "LOSS RELAT" in log
        assert "REL_GOLD_T" in log and "REL_PRED_T" in log and "NEL_GOLD_A" in log
        assert "NERD_STRIC" in log


def test_evaluation_writes_figures_on_gold_and_on_predicted_input(trained, tmp_path):
    evaluate(
        str(trained / "output" / "model-best"),
        trained / "corpus.spacy",
        output=tmp_path / "figures.json",
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    for name in (*ON_GOLD_INPUT, *ON_PREDICTED_INPUT):
        assert figures[name] == pytest.approx(1.0), name


def test_listeners_can_be_replaced_one_after_the_other(trained, tmp_path):
    nlp = spacy.load(trained / "output" / "model-best")
    encoder = next(name for name in ENCODERS if name in nlp.pipe_names)
    changed = spacy.load(trained / "output" / "model-best")
    for head in HEADS:
        changed.replace_listeners(encoder, head, ["model.tok2vec"])
        assert_same(nlp, changed)
        changed.to_disk(tmp_path / head)
        assert_same(nlp, spacy.load(tmp_path / head))
    changed.remove_pipe(encoder)
    changed.to_disk(tmp_path / "alone")
    alone = spacy.load(tmp_path / "alone")
    assert encoder not in alone.pipe_names
    assert_same(nlp, alone)
    # Each has a copy that learns on its own.
    before = [parameters(alone, head) for head in HEADS]
    alone.update(make_examples(alone), sgd=alone.create_optimizer())
    for head, start in zip(HEADS, before, strict=True):
        assert (parameters(alone, head) != start).any()


TWO_PROCESSES = """
import sys
import faiss
import spacy
import torch
from tests.pipelines import NEW_TEXT, TEXTS, what_was_found

torch.set_num_threads(2)
faiss.omp_set_num_threads(2)
nlp = spacy.load(sys.argv[1])
texts = [*TEXTS, NEW_TEXT, "", " ".join(TEXTS) * 3] * 2
matrix = torch.ones((400, 400))
assert float((matrix @ matrix).sum()) > 0
index = faiss.IndexFlatIP(64)
index.add(matrix.numpy()[:, :64].copy())
index.search(matrix.numpy()[:, :64].copy(), 5)
here = [what_was_found(doc) for doc in nlp.pipe(texts)]
assert torch.get_num_threads() == 2 and faiss.omp_get_max_threads() == 2
there = [what_was_found(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=3)]
assert here == there and any(found["relations"] for found in there)
print("the same in two processes")
"""


def test_two_processes_after_torch_and_faiss_with_threads(trained):
    model = str(trained / "output" / "model-best")
    # threads that wait do not compute: there may be fewer cores than threads
    settings = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    result = run([sys.executable, "-c", TWO_PROCESSES, model], **settings)
    assert "the same in two processes" in result.stdout


@pytest.mark.parametrize("head", HEADS)
def test_each_component_alone_prepares_for_processes(initialized, monkeypatch, head):
    hooks = []
    monkeypatch.setattr(forking, "_registered", False)
    monkeypatch.setattr(os, "register_at_fork", lambda **functions: hooks.append(functions))
    initialized("", heads=[head])
    assert [set(functions) for functions in hooks] == [
        {"before", "after_in_parent", "after_in_child"}
    ]
