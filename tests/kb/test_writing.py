import json

import pytest
from spacy.vocab import Vocab

from spacy_bioie.kb import load_knowledge_base, updating, write_knowledge_base, writing
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


def test_places_that_cannot_be_written_are_told_before_the_work(source, tmp_path, monkeypatch):
    write_knowledge_base(tmp_path / "kb", [source])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("x")
    called = []
    monkeypatch.setattr(writing, "build_knowledge_base", lambda *_, **__: called.append(1))
    monkeypatch.setattr(updating, "update_knowledge_base", lambda *_, **__: called.append(1))
    for out, report, message in (
        (source, None, "concepts.jsonl' is a file: expected a folder"),
        (tmp_path / "thesis", None, "thesis' holds files, but no knowledge base"),
        (source / "deep" / "kb", None, "deep/kb' cannot be written: '.*concepts.jsonl' is a file"),
        (tmp_path / "new", source / "r.json", "r.json' cannot be written: '.*jsonl' is a file"),
        (tmp_path / "new", tmp_path / "thesis", "thesis' is a folder: expected a file for the rep"),
    ):
        with pytest.raises(ValueError, match=message):
            write_knowledge_base(out, [source], report=report)
        with pytest.raises(ValueError, match=message):
            updating.write_updated_knowledge_base(tmp_path / "kb", out, report=report, add=[source])
    assert not called
    assert {path.name for path in tmp_path.iterdir()} == {"concepts.jsonl", "kb", "thesis"}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError):  # of what stands for the build
        write_knowledge_base("new/kb", [source], report="report.json")
    assert called


def test_nothing_is_written_after_an_error(source, tmp_path):
    with pytest.raises(ValueError, match="Magic"):
        write_knowledge_base(
            tmp_path / "kb", [source], index="Magic", report=tmp_path / "report.json"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["concepts.jsonl"]
