import gzip
import json

import pytest
from spacy.vocab import Vocab

from spacy_bioie.kb import Concept, FaissKnowledgeBase, Filters, build_knowledge_base

from .builders import CONCEPTS, ids, training_names


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def test_sources_of_all_kinds_are_merged(tmp_path):
    one = write(tmp_path / "one.jsonl", {"concept_id": "A", "names": ["alpha", "first"]})
    two = tmp_path / "two.jsonl.gz"
    two.write_bytes(gzip.compress(b'{"id": "A", "name": "Alpha", "synonyms": ["prime", ""]}\n'))
    table = tmp_path / "three.tsv"
    table.write_text("CUI\tconcept_name\tsemantic_type\nD\tdelta\tDDF\nD\t<i></i>\tDDF\n")
    stream = (concept for concept in [Concept("B", "beta", ("first",)), Concept("C")])
    kb, report = build_knowledge_base([one, str(two), table, stream, Concept("B", "Beta-")])
    assert kb.concept("A").names == ("alpha", "first", "Alpha", "prime")
    assert kb.concept("B").names == ("beta", "first", "Beta-")
    assert report.counts() == {
        "concepts": 4,
        "names": 5,
        "records": 6,
        "duplicate_ids": 2,
        "merged_concepts": 0,
        "unused_xrefs": 0,
        "left_out": 0,
        "nameless_concepts": 1,
        "empty_names": 2,
        "duplicate_names": 2,
        "ambiguous_names": 1,
        "training_mentions": 0,
        "unlinked_mentions": 0,
        "training_names": 0,
        "training_concepts": 0,
    }
    assert report.to_dict()["examples"]["duplicate_ids"] == ["A", "B"]
    assert report.examples == {
        "ambiguous_names": ("first: A, B",),
        "duplicate_ids": ("A", "B"),
        "duplicate_names": ("A: alpha = Alpha", "B: beta = Beta-"),
        "empty_names": ("A", "D: '<i></i>'"),
        "nameless_concepts": ("C",),
    }
    with pytest.raises(ValueError, match="1 records have the concept id of an earlier one, the fi"):
        build_knowledge_base([one, two], duplicates="error")
    with pytest.raises(ValueError, match="duplicates is 'drop'"):
        build_knowledge_base([one], duplicates="drop")


def test_files_are_filtered(tmp_path):
    one = write(tmp_path / "one.jsonl", {"id": "A", "name": "alpha", "types": ["DDF"]}, {"id": "B"})
    two = tmp_path / "two.csv"
    two.write_text("id,name,lang\nC,gamma,ENG\nC,gamme,FRE\n")
    # the first has no languages: the filter leaves it as it is
    kb, report = build_knowledge_base([one, two], filters=Filters(languages=["eng"]))
    assert len(kb) == 3 and kb.concept("C").names == ("gamma",)
    assert (report.left_out, report.examples["left_out"]) == (1, ("C: gamme",))
    kb, report = build_knowledge_base([one], filters=Filters(semantic_types=["DDF"]))
    assert (len(kb), report.left_out) == (1, 1)
    with pytest.raises(ValueError, match=r"No source can be filtered by languages.*\['jsonl'\]"):
        build_knowledge_base([one], filters=Filters(languages=["eng"]))
    with pytest.raises(ValueError, match="one.jsonl', line 1: expected a header"):
        build_knowledge_base([one], form="table")
    with pytest.raises(FileNotFoundError, match="absent.csv"):  # before anything is read
        build_knowledge_base([write(tmp_path / "bad.jsonl", 5), tmp_path / "absent.csv"])


def test_cross_references_merge_sources(tmp_path):
    one = write(tmp_path / "one.jsonl", {"id": "A", "name": "alpha", "xrefs": ["MSH:D000001"]})
    two = write(tmp_path / "two.jsonl", {"id": "D000001", "name": "first"}, {"id": "D000002"})
    mentions = training_names(("Alpha male", "DDF", "D000001"))
    kb, report = build_knowledge_base([one, two], merge_xrefs=True, mentions=mentions)
    assert len(kb) == 2 and (report.merged_concepts, report.training_concepts) == (1, 0)
    assert report.examples["merged_concepts"] == ("D000001: A",)
    assert kb.concept("D000001") == Concept("A", "alpha", ("first",), alt_ids=("D000001",))
    assert [ids(found)[0] for found in kb.search(["first", "alpha male"])] == ["A", "A"]
    kb, report = build_knowledge_base([one, two], mentions=mentions)
    assert len(kb) == 3
    kb.to_disk(tmp_path / "kb")
    for version in (3, 2, 1):  # the earlier ones are read as well
        meta = json.loads((tmp_path / "kb" / "meta.json").read_text())
        (tmp_path / "kb" / "meta.json").write_text(json.dumps({**meta, "version": version}))
        loaded = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
        assert loaded.concept("A") == Concept("A", "alpha", xrefs=("MSH:D000001",))


def test_report_says_how_good_the_index_is(encoder_dir):
    concepts = [Concept(f"C{i}", f"name {i} of {i * 7 % 100}") for i in range(300)]
    _, report = build_knowledge_base(concepts)
    assert report.recall_at_10 is None and report.to_dict()["recall_at_10"] is None
    _, fine = build_knowledge_base(concepts, index="SQ8")
    _, coarse = build_knowledge_base(concepts, index="PQ4x4", recall_queries=100, train_sample=200)
    assert 0 < coarse.recall_at_10 < 0.8 < fine.recall_at_10 <= 1
    assert "recall_at_10" not in fine.counts()
    with pytest.raises(ValueError, match="train_sample is 0"):
        build_knowledge_base(concepts, index="SQ8", train_sample=0)


def test_report_says_which_concepts_share_a_name():
    concepts = [Concept(f"C{i}", "same") for i in range(7)]
    _, report = build_knowledge_base(concepts)
    assert report.examples == {"ambiguous_names": ("same: C0, C1, C2, C3, C4, ...",)}


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
