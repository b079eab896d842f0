import pytest
import spacy
from spacy.util import registry
from spacy.vocab import Vocab

from spacy_bioie.kb import load_knowledge_base

from .builders import make_kb


def test_loader_takes_the_vocabulary_it_is_given(tmp_path):
    make_kb().to_disk(tmp_path / "kb")
    vocab = Vocab()
    kb = load_knowledge_base(tmp_path / "kb")(vocab)
    assert kb.vocab is vocab and len(kb) == 5
    with pytest.raises(FileNotFoundError, match="absent"):
        load_knowledge_base(tmp_path / "absent")(vocab)


def test_registered_names():
    loader = registry.misc.get("spacy_bioie.FaissKnowledgeBase.v1")
    assert callable(loader(path="x"))
    encoder = registry.misc.get("spacy_bioie.TransformerNameEncoder.v1")(name="x")
    assert encoder.source == "x"
    assert registry.misc.get("spacy_bioie.NoNameEncoder.v1")().dims == 0
    assert spacy.blank("en").has_factory("faiss_entity_linker")
