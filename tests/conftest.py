"""Shared fixtures: where the real corpora lie, and a blank English pipeline."""

import os
from pathlib import Path

# One thread for each of the processes that run tests; read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks a model hub: a name that is no folder is an error at once, not after retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import spacy
from spacy.util import fix_random_seed

from spacy_bioie.tokenization import EnglishTokenizer_v1

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def random_seed() -> None:
    """The same initial parameters in each run, in whatever order tests are called."""
    fix_random_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real corpora: BIOIE_DATA, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("BIOIE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("real corpora are absent: set BIOIE_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def sample_dir() -> Path:
    """The sample corpus of this repository."""
    return REPOSITORY / "assets" / "sample"


@pytest.fixture
def nlp():
    """A blank English pipeline with the tokenizer of this package."""
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    return nlp
