import builtins
import subprocess
import sys

import pytest

from spacy_bioie.kb import faiss_backend


def test_both_builds_are_refused(monkeypatch):
    monkeypatch.setattr(faiss_backend, "_is_installed", lambda name: True)
    with pytest.raises(ImportError, match="Both faiss-cpu and faiss-gpu are installed"):
        faiss_backend.import_faiss()


def test_neither_build(monkeypatch):
    original = builtins.__import__

    def without_faiss(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError("no faiss")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(faiss_backend, "_is_installed", lambda name: False)
    monkeypatch.setattr(builtins, "__import__", without_faiss)
    with pytest.raises(ImportError, match=r"pip install spacy_bioie\[cpu\].*spacy_bioie\[gpu\]"):
        faiss_backend.import_faiss()


@pytest.mark.parametrize(
    "statement", ["import spacy_bioie.kb", "import spacy; spacy.blank('en')"], ids=["kb", "blank"]
)
def test_faiss_is_not_imported_before_it_is_needed(statement):
    code = f"import sys; {statement}; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
