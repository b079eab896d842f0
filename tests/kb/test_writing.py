import json

import pytest
from spacy.vocab import Vocab

from spacy_bioie.kb import load_knowledge_base, write_knowledge_base
from tests.tiny_encoder import make_tiny_bert

from .builders import CONCEPTS


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "concepts.jsonl"
    lines = [json.dumps(concept.to_record()) for concept in CONCEPTS]
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def test_one_call_from_files_to_a_folder(source, tmp_path):
    report = tmp_path / "reports" / "kb.json"
    counts = write_knowledge_base(tmp_path / "kb", [source], report=report)
    assert json.loads(report.read_text(encoding="utf8")) == counts.to_dict()
    assert [path.name for path in report.parent.iterdir()] == ["kb.json"]
    kb = load_knowledge_base(tmp_path / "kb", check="full")(Vocab())
    assert len(kb) == counts.concepts == len(CONCEPTS)
    assert kb.entity_vector_length == 256


def test_name_encoder_and_settings_of_the_build(source, tmp_path):
    encoder = make_tiny_bert(tmp_path / "encoder")
    settings = {"encoder": encoder, "pooling": "cls", "lexical_weight": 0, "index": "SQ8"}
    write_knowledge_base(tmp_path / "kb", [source], **settings)
    kb = load_knowledge_base(tmp_path / "kb")(Vocab())
    assert kb.context_dims == kb.entity_vector_length == 32
    assert kb.vectorizer.encoder.pooling == "cls" and not kb.index.is_exact


def test_nothing_is_written_after_an_error(source, tmp_path):
    with pytest.raises(ValueError, match="Magic"):
        write_knowledge_base(
            tmp_path / "kb", [source], index="Magic", report=tmp_path / "report.json"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["concepts.jsonl"]
