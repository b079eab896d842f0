"""An encoder and a knowledge base for pipelines of all components; a linker that reranks."""

import pytest

from tests.pipelines import ARTICLES, make_examples, make_pipeline, save_knowledge_base
from tests.reranking_pipeline import let_few_mentions_be_enough, make_trained
from tests.tiny_encoder import make_tiny_bert


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def kb_folder(tmp_path_factory):
    return save_knowledge_base(tmp_path_factory.mktemp("kb") / "kb")


@pytest.fixture
def initialized(tiny_bert, kb_folder):
    """A function that makes an initialized pipeline over an encoder, and its examples."""

    def make(encoder, articles=ARTICLES, **settings):
        nlp = make_pipeline(encoder, tiny_bert, kb_folder, **settings)
        examples = make_examples(nlp, articles)
        nlp.initialize(lambda: examples)
        return nlp, examples

    return make


@pytest.fixture
def few_mentions_are_enough(monkeypatch):
    """Linkers that are initialized fit their reranker to few mentions."""
    let_few_mentions_be_enough(monkeypatch)


@pytest.fixture(scope="session")
def fitted():
    """A pipeline whose linker has a fitted reranker; tests leave it as it is."""
    return make_trained()
