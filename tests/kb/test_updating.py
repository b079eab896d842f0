import json

import numpy
import pytest
from spacy.vocab import Vocab

from spacy_bioie.kb import (
    Concept,
    FaissKnowledgeBase,
    Filters,
    TransformerNameEncoder,
    building,
    update_knowledge_base,
)
from spacy_bioie.kb.training_names import TrainingNames
from spacy_bioie.kb.updating import write_updated_knowledge_base

from .builders import CONCEPTS, ids, make_kb

TEXTS = ["Depression", "gut flora", "E. coli", "hollows", "fever", "low mood", "blues", ""]
MENTIONS = [
    ("Low mood", "DDF", "C1"),
    ("Low mood", "DDF", "C1"),
    ("bug", "bacteria", "C4"),
    ("hollow", "DDF", "C3"),
    ("the blues", "DDF", "N1"),
    ("sadness", "DDF", "N1"),
    ("pit", "place", "N2"),
]
NEW = [
    Concept("C0", "Fever", ("pyrexia", "depression"), types=("DDF",)),
    Concept("C2", "gut-microbiota", ("gut flora",), definition="Microbes of the gut."),
]


@pytest.fixture
def kb():
    return make_kb(mentions=MENTIONS)


def assert_same(one, other, path):
    """That the saved files agree, byte by byte."""
    for kb, name in ((one, "one"), (other, "other")):
        kb.to_disk(path / name)
    files = [json.loads((path / name / "meta.json").read_text()) for name in ("one", "other")]
    assert files[0] == files[1]
    assert one.search(TEXTS, ["DDF"] * len(TEXTS)) == other.search(TEXTS, ["DDF"] * len(TEXTS))


@pytest.fixture
def build_alike(monkeypatch):
    """Builds with the weights of n-grams that another knowledge base has."""

    def build(kb, concepts, mentions):
        fit = lambda names, dims: kb.vectorizer.lexical  # noqa: E731
        monkeypatch.setattr(building.LexicalVectorizer, "fit", staticmethod(fit))
        return make_kb(concepts, mentions=mentions)

    return build


def test_added_concepts_are_as_if_built(kb, build_alike, tmp_path):
    before = kb.search(TEXTS)
    updated, report = update_knowledge_base(kb, add=[NEW])
    assert_same(updated, build_alike(kb, [*CONCEPTS, *NEW], MENTIONS), tmp_path)
    assert kb.search(TEXTS) == before and len(kb) == 7  # it stays as it is
    assert updated.concept("C2").names == (
        "Gut microbiota",
        "intestinal flora",
        "gut-microbiota",
    ) + ("gut flora",)
    assert report.counts() == {
        "concepts": 8,
        "names": 17,
        "records": 2,
        "added_concepts": 1,
        "duplicate_ids": 1,
        "merged_concepts": 0,
        "unused_xrefs": 0,
        "left_out": 0,
        "empty_names": 0,
        "removed_concepts": 0,
        "removed_mentions": 0,
        "added_mentions": 0,
        "added_names": 3,
        "removed_names": 0,
        "unused_vectors": 0,
    }
    assert report.to_dict()["examples"] == {"added_concepts": ["C0"], "duplicate_ids": ["C2"]}


def test_removed_concepts_are_as_if_never_there(kb, build_alike, tmp_path):
    updated, report = update_knowledge_base(kb, remove=["C1", "N2"])
    kept = [mention for mention in MENTIONS if mention[2] not in ("C1", "N2")]
    concepts = [concept for concept in CONCEPTS if concept.concept_id != "C1"]
    assert_same(updated, build_alike(kb, concepts, kept), tmp_path)
    assert (report.removed_concepts, report.removed_mentions) == (2, 3)
    # "depression" stays: it is a name of C3 as well
    assert (report.removed_names, report.added_names, report.unused_vectors) == (4, 0, 0)
    assert ids(updated.search(["depression"])[0])[0] == "C3" and "C1" not in updated


def test_removed_and_added_is_replaced(kb, build_alike, tmp_path):
    new = Concept("C1", "Melancholia")
    updated, report = update_knowledge_base(kb, add=[new], remove=["C1"])
    kept = [mention for mention in MENTIONS if mention[2] != "C1"]
    assert_same(updated, build_alike(kb, [new, *CONCEPTS[1:]], kept), tmp_path)
    assert (report.added_concepts, report.removed_concepts, report.added_names) == (1, 1, 0)


def test_what_sources_say_replaces_what_mentions_made_up(kb, build_alike, tmp_path):
    new = [Concept("N1", "Dysthymia"), Concept("C6", "Hole", alt_ids=("N2",))]
    updated, _ = update_knowledge_base(kb, add=new)
    assert_same(updated, build_alike(kb, [*CONCEPTS, *new], MENTIONS), tmp_path)
    assert updated.concept("N1").names == ("Dysthymia",)
    assert updated.training_mentions("N1") == 2
    assert updated.concept("N2").concept_id == "C6" and updated.training_mentions("C6") == 1


def test_merged_concepts(kb):
    pairs = [("C3", "C1"), ("C4", "C1"), ("N1", "N2"), ("C2", "N1")]
    updated, report = update_knowledge_base(kb, merge=pairs)
    assert len(updated) == 3 and report.merged_concepts == 4
    assert report.examples["merged_concepts"] == ("C1: C3", "C3: C4", "N2: N1", "N1: C2")
    one = updated.concept("C4")
    assert one.name == "Escherichia coli" and set(one.alt_ids) == {"X4", "C1", "C3"}
    assert {"Depression", "melancholia", "hollow"} < set(one.names)
    assert updated.training_mentions("C1") == updated.training_mentions("C4") == 4
    # A name that a mention made up is none of the merged concept, but training evidence stays
    two = updated.concept("N2")
    assert (two.concept_id, two.names) == ("C2", CONCEPTS[1].names)
    assert updated.training_mentions("C2") == 3
    found = updated.search(["pit", "low mood"], ["place", "DDF"])
    assert [ids(candidates)[0] for candidates in found] == ["C2", "C4"]
    assert report.removed_names == report.added_names == 0
    other, _ = update_knowledge_base(kb, merge=[("N2", "N1")])
    assert other.concept("N1").names == ("pit", "sadness") and other.training_mentions("N1") == 3
    assert not other.tables.official[other.tables.name_concepts.offsets[-2]]


def test_more_mentions_are_as_if_built(kb, build_alike, tmp_path):
    more = [
        ("Low mood", "DDF", "C1"),
        ("low  mood", "DDF", "C3"),
        ("Bug", "bacteria", "C4"),
        ("the glums", "DDF", "C1"),
        ("sadness", "DDF", "N1"),
        ("hole", "place", "N3"),
        ("hole", "place", ""),
    ]
    names = TrainingNames()
    for mention in more:
        names.add(*mention)
    updated, report = update_knowledge_base(kb, mentions=names)
    assert_same(updated, build_alike(kb, CONCEPTS, [*MENTIONS, *more]), tmp_path)
    assert updated.concept("N3").name == "hole" and "N3" not in kb
    assert (report.added_mentions, report.added_concepts, report.added_names) == (6, 1, 2)
    assert names.counts[("low mood", "DDF", "C1")] == 1  # what is given stays as it is
    # a concept that is merged or removed in the same call takes its mentions along
    merged, _ = update_knowledge_base(kb, remove=["C3"], merge=[("C1", "N1")], mentions=names)
    counts = [merged.training_mentions(concept_id) for concept_id in ("C1", "C3")]
    assert counts == [7, 1] and merged.concept("N1").concept_id == "C1"


def test_cross_references_of_what_is_added(kb):
    new = [Concept("M1", "Melancholy", xrefs=("C1",)), Concept("M2", "Low")]
    updated, report = update_knowledge_base(kb, add=[new], merge_xrefs=True)
    assert updated.concept("M1").concept_id == "C1" and report.merged_concepts == 1
    assert len(update_knowledge_base(kb, add=[new])[0]) == len(updated) + 1


@pytest.mark.parametrize("index", ["Flat", "SQ8", "HNSW8,SQ8", "IVF2,Flat"])
def test_only_new_names_are_encoded(index, encoder_dir, tmp_path, monkeypatch):
    kb = make_kb(mentions=MENTIONS, name_encoder=TransformerNameEncoder(encoder_dir), index=index)
    kb.to_disk(tmp_path / "kb")
    kb = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
    stored = dict(zip(kb.tables.names, kb.index.vectors(numpy.arange(14)), strict=True))
    encoded = []
    vectors = kb.vectorizer.vectors
    monkeypatch.setattr(
        kb.vectorizer, "vectors", lambda names: encoded.extend(names) or vectors(names)
    )
    updated, report = update_knowledge_base(kb, add=NEW, remove=["C1"])
    assert encoded == ["fever", "gut flora", "pyrexia"]
    unused = 3 if index in ("HNSW8,SQ8", "IVF2,Flat") else 0
    assert (report.added_names, report.removed_names, report.unused_vectors) == (3, 3, unused)
    updated.to_disk(tmp_path / "updated")
    loaded = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "updated", check="full")
    for row, name in enumerate(loaded.tables.names):
        if name in stored:
            numpy.testing.assert_array_equal(loaded.index.vectors([row])[0], stored[name])
    assert loaded.search(TEXTS) == updated.search(TEXTS)
    again, report = update_knowledge_base(loaded, add=[Concept("C7", "melancholia")])
    assert (report.added_names, report.unused_vectors) == (1, unused)
    assert ids(again.search(["melancholias"])[0])[0] == "C7"


def test_same_candidates_as_built_anew(encoder_dir):
    """Without a lexical part, whose weights of n-grams stay those of the build."""
    settings = {"name_encoder": TransformerNameEncoder(encoder_dir), "lexical_weight": 0}
    kb, _ = update_knowledge_base(make_kb(mentions=MENTIONS, **settings), add=NEW, remove=["C1"])
    kept = [mention for mention in MENTIONS if mention[2] != "C1"]
    anew = make_kb([*NEW, *CONCEPTS[1:]], mentions=kept, **settings)
    for one, other in zip(kb.search(TEXTS), anew.search(TEXTS), strict=True):
        assert ids(one) == ids(other)
        assert dict(one) == pytest.approx(dict(other), abs=1e-4)


def test_all_or_none(kb, tmp_path):
    emptied, report = update_knowledge_base(kb, remove=[*kb.tables.concept_ids])
    assert emptied.is_empty() and emptied.index is None and report.removed_names == 14
    emptied.to_disk(tmp_path / "kb")
    emptied = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb")
    filled, report = update_knowledge_base(emptied, add=CONCEPTS)
    assert report.added_names == 9 and ids(filled.search(["E. coli"])[0])[0] == "C4"
    same, report = update_knowledge_base(kb)
    assert_same(kb, same, tmp_path)
    assert set(report.counts().values()) == {7, 14, 0}


def test_files(kb, tmp_path):
    kb.to_disk(tmp_path / "kb")
    (tmp_path / "new.csv").write_text("id,name,lang\nC0,fever,ENG\nC0,fièvre,FRE\n")
    (tmp_path / "gone.txt").write_text("C1\n\n C5 \n")
    (tmp_path / "pairs.tsv").write_text("C3\tC0\n\nC2,C4\n")
    settings = {"add": [tmp_path / "new.csv"], "filters": Filters(languages=["ENG"])}
    report = write_updated_knowledge_base(
        tmp_path / "kb",
        tmp_path / "kb",  # in its place
        remove=tmp_path / "gone.txt",
        merge=str(tmp_path / "pairs.tsv"),
        report=tmp_path / "new" / "report.json",
        **settings,
    )
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == report.to_dict()
    loaded = FaissKnowledgeBase(Vocab()).from_disk(tmp_path / "kb", check="full")
    assert list(loaded.tables.concept_ids) == ["C2", "C3", "N1", "N2"]
    assert loaded.concept("C0").names == (*CONCEPTS[2].names, "fever") and report.left_out == 1


def test_ids_that_are_not_known(kb, tmp_path):
    for content, message in (
        (
            "C1\nC9\n",
            "gone.txt', line 2: expected the id of a concept, the knowledge base has no 'C9'",
        ),
        ("\nX4\n", "gone.txt', line 2: expected the id of a concept, 'X4' is another id of 'C4'"),
    ):
        (tmp_path / "gone.txt").write_text(content)
        with pytest.raises(ValueError, match=message):
            update_knowledge_base(kb, remove=tmp_path / "gone.txt")
    for content, message in (
        ("C1\tC9\n", "pairs', line 1: expected the id of a concept, there is no 'C9'"),
        ("C1 C2\n", "pairs', line 1: expected 2 ids, between them a tab or a comma"),
        ("C1\tC2\n\nC1,\n", "pairs', line 3: expected 2 ids"),
        ("C1,C2,C3\n", "pairs', line 1: expected 2 ids"),
        ("C1,C2\nC2,C1\n", "pairs', line 2: expected two concepts, 'C2' and 'C1' are one by now"),
        ("C1,C3\n", "pairs', line 1: .* no 'C3' after removing and adding"),
    ):
        (tmp_path / "pairs").write_text(content)
        with pytest.raises(ValueError, match=message):
            update_knowledge_base(kb, remove=["C3"], merge=tmp_path / "pairs")
    with pytest.raises(ValueError, match="Concept 1 to remove: .* no 'C9'"):
        update_knowledge_base(kb, remove=["C1", "C9"])
    with pytest.raises(ValueError, match="Pair 0 to merge: .* no 'C9'"):
        update_knowledge_base(kb, merge=[("C9", "C1")])
    (tmp_path / "pairs").write_bytes(b"C1,\xff\n")
    with pytest.raises(ValueError, match="pairs', line 1: expected UTF-8"):
        update_knowledge_base(kb, merge=tmp_path / "pairs")
    with pytest.raises(FileNotFoundError, match="absent"):
        update_knowledge_base(kb, merge=tmp_path / "absent")
    (tmp_path / "bad.jsonl").write_text('{"concept_id": 5}\n')
    with pytest.raises(ValueError, match="bad.jsonl', line 1, field 'concept_id'"):
        update_knowledge_base(kb, add=[tmp_path / "bad.jsonl"])
