import os
import subprocess
import sys

import pytest

from tests.models.tagging_pipeline import make_pipeline
from tests.tiny_encoder import make_tiny_bert

WORKERS = """
import sys
import spacy, torch
torch.set_num_threads(2)
nlp = spacy.load(sys.argv[1])
texts = ["The gut and mice. " * 40] * 6
parent = [[t.tag_ for t in doc] for doc in nlp.pipe(texts)]
torch.randn(600, 600) @ torch.randn(600, 600)
try:
    import faiss, numpy
except ImportError:
    pass
else:
    faiss.omp_set_num_threads(2)
    index = faiss.IndexFlatIP(64)
    vectors = numpy.random.rand(5000, 64).astype("float32")
    index.add(vectors)
    index.search(vectors[:200], 5)
workers = [[t.tag_ for t in doc] for doc in nlp.pipe(texts, n_process=2, batch_size=2)]
assert workers == parent
assert torch.get_num_threads() == 2
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="processes are not forked here")
def test_worker_processes_after_threads(tmp_path):
    nlp, _ = make_pipeline(make_tiny_bert(tmp_path / "bert"), ("tagger",))
    nlp.to_disk(tmp_path / "pipeline")
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    environment.pop("TOKENIZERS_PARALLELISM", None)
    result = subprocess.run(
        [sys.executable, "-c", WORKERS, str(tmp_path / "pipeline")],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert result.stdout.strip().endswith("done"), result.stderr
    assert "forked" not in result.stderr


def test_nothing_is_imported_and_hooks_are_registered_once():
    code = (
        "import os, sys\n"
        "calls = []\n"
        "os.register_at_fork = lambda **hooks: calls.append(hooks)\n"
        "import importlib.util\n"
        "spec = importlib.util.find_spec('spacy_bioie')\n"
        "path = os.path.join(spec.submodule_search_locations[0], 'models', 'forking.py')\n"
        "spec = importlib.util.spec_from_file_location('forking', path)\n"
        "forking = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(forking)\n"
        "forking.limit_threads_after_fork()\n"
        "forking.limit_threads_after_fork()\n"
        "calls[0]['after_in_child']()\n"
        "assert len(calls) == 1\n"
        "assert not {'torch', 'faiss', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
