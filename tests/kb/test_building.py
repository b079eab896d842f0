import gzip
import json

import pytest

from spacy_bioie.kb import Concept, build_knowledge_base

from .builders import CONCEPTS, ids, training_names


def test_sources_of_all_kinds_are_merged(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl.gz"
    one.write_text(json.dumps({"concept_id": "A", "names": ["alpha", "first"]}) + "\n")
    two.write_bytes(gzip.compress(b'{"id": "A", "name": "Alpha", "synonyms": ["prime"]}\n'))
    kb, report = build_knowledge_base([one, two, Concept("B", "beta", ("first",)), Concept("C")])
    assert kb.concept("A").names == ("alpha", "first", "Alpha", "prime")
    assert report.to_dict() == {
        "concepts": 3,
        "names": 4,
        "records": 4,
        "duplicate_ids": 1,
        "nameless_concepts": 1,
        "ambiguous_names": 1,
        "training_mentions": 0,
        "unlinked_mentions": 0,
        "training_names": 0,
        "training_concepts": 0,
    }
    with pytest.raises(ValueError, match="1 concept ids occur more than once, the first is 'A'"):
        build_knowledge_base([one, two], duplicates="error")
    with pytest.raises(ValueError, match="duplicates is 'drop'"):
        build_knowledge_base([one], duplicates="drop")


def test_training_mentions_become_names():
    names = training_names(
        ("Low mood", "DDF", "C1"),
        ("E. coli", "bacteria", "X4"),  # another id of C4
        ("the blues", "DDF", "N1"),
        ("Blues", "DDF", "N1"),
        ("nothing", "DDF", ""),
    )
    kb, report = build_knowledge_base(CONCEPTS, mentions=names)
    assert kb.training_mentions("C4") == 1 and "X4" in kb
    assert kb.concept("N1").name == "Blues"
    assert [ids(found)[0] for found in kb.search(["low-mood", "the blues"])] == ["C1", "N1"]
    assert (report.training_mentions, report.unlinked_mentions) == (4, 1)
    assert (report.training_names, report.training_concepts) == (3, 1)
    assert names.counts[("e. coli", "bacteria", "X4")] == 1  # what was passed in is not changed


def test_parts_without_weight_are_left_out(encoder_dir):
    from spacy_bioie.kb import TransformerNameEncoder

    encoder = TransformerNameEncoder(encoder_dir)
    semantic, _ = build_knowledge_base(CONCEPTS, name_encoder=encoder, lexical_weight=0)
    assert semantic.entity_vector_length == semantic.context_dims == 32
    lexical, _ = build_knowledge_base(CONCEPTS, name_encoder=encoder, semantic_weight=0)
    assert lexical.entity_vector_length == 256
    with pytest.raises(ValueError, match="expected no negative weight"):
        build_knowledge_base(CONCEPTS, lexical_weight=0)


def test_progress_is_shown(encoder_dir, tmp_path, capsys):
    from spacy_bioie.kb import TransformerNameEncoder

    path = tmp_path / "c.jsonl"
    path.write_text('{"concept_id": "A", "name": "alpha"}\n')
    encoder = TransformerNameEncoder(encoder_dir)
    build_knowledge_base([path], name_encoder=encoder, progress=True)
    shown = capsys.readouterr().err
    assert "Reading c.jsonl" in shown and "Encoding names" in shown


def test_shared_forms(data_dir):
    """The forms of the real knowledge bases are read, and every concept is there."""
    kb, report = build_knowledge_base([data_dir / "kb" / "gutbrainie_concepts.jsonl"])
    assert len(kb) == report.records == 1761 and report.nameless_concepts == 1
    (found,) = kb.search(["Actinomycete"])
    assert ids(found)[0] == "https://www.ncbi.nlm.nih.gov/mesh/D039903"


@pytest.mark.slow
def test_large_forms(data_dir):
    kb, report = build_knowledge_base([data_dir / "kb" / "kb_medic.jsonl.gz"])
    assert len(kb) == 11915 and report.duplicate_ids == 0
    assert ids(kb.search(["STHAG6"])[0])[0] == "C567755" and "613097" in kb
