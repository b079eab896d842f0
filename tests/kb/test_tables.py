import random
from itertools import islice

import numpy
import pytest

from spacy_bioie.kb import Concept, read_concepts
from spacy_bioie.kb.normalisation import normalise_name
from spacy_bioie.kb.tables import KnowledgeTables

from .builders import CONCEPTS

EVIDENCE = {
    ("depression", "DDF", "C1"): 3,
    ("low mood", "DDF", "C1"): 1,
    ("depression", "place", "C3"): 1,
}


@pytest.fixture(scope="module")
def tables():
    return KnowledgeTables.build(CONCEPTS, EVIDENCE)


def test_names_and_their_concepts(tables):
    assert list(tables.names) == sorted(tables.names)
    (row,) = tables.name_rows(["depression"])
    assert [tables.concept_ids[c] for c in tables.name_concepts[row]] == ["C1", "C3"]
    assert tables.name_rows(["low mood", "never"]).tolist() == [
        tables.names.find_sorted("low mood"),
        -1,
    ]
    low = int(tables.name_rows(["low mood"])[0])
    assert not tables.official[tables.name_concepts.offsets[low]]
    assert tables.official[tables.name_concepts.offsets[row]]
    names = [tables.names[name] for name in tables.concept_names[0]]
    assert names == ["depression", "depressive disorder", "low mood", "melancholia"]
    assert not len(tables.concept_names[4])


def test_concepts_by_id_and_other_id(tables):
    assert tables.concept(tables.concept_row("C1")) == CONCEPTS[0]
    assert tables.concept_row("X4") == tables.concept_row("C4") == 3
    assert tables.concept_row("C") == -1


def test_evidence_and_counts(tables):
    (row,) = tables.name_rows(["depression"])
    _, positions = tables.evidence.positions([row])
    found = {
        (
            tables.labels[tables.evidence_labels[p]],
            tables.concept_ids[tables.evidence.values[p]],
            int(tables.evidence_counts[p]),
        )
        for p in positions
    }
    assert found == {("DDF", "C1", 3), ("place", "C3", 1)}
    assert tables.concept_counts.tolist() == [4, 0, 1, 0, 0]
    assert tables.max_log_count == pytest.approx(numpy.log(5))


def test_labels_of_concepts(tables):
    # The training mentions use DDF and place, so the types microbiome and bacteria are no labels
    assert list(tables.labels) == ["DDF", "place"]
    rows = tables.label_rows(["DDF", "place", "microbiome"])
    assert rows.tolist() == [0, 1, -1]
    concepts = numpy.asarray([0, 0, 0, 1, 2, 4])
    labels = rows[[0, 1, 2, 1, 0, 0]]
    assert tables.label_mismatch(concepts, labels).tolist() == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]


def test_types_are_labels_without_training_mentions():
    tables = KnowledgeTables.build(CONCEPTS, {})
    assert list(tables.labels) == ["DDF", "bacteria", "microbiome", "place"]
    label = tables.label_rows(["bacteria"])
    assert tables.label_mismatch(numpy.asarray([3]), label).tolist() == [False]
    assert tables.label_mismatch(numpy.asarray([0]), label).tolist() == [True]
    assert tables.label_mismatch(numpy.asarray([4]), label).tolist() == [False]  # no types known


def test_order_of_sources_plays_no_part(tables):
    evidence = list(EVIDENCE.items())
    for seed in range(3):
        random.Random(seed).shuffle(evidence)
        again = KnowledgeTables.build(CONCEPTS, dict(evidence)).to_arrays()
        for name, array in tables.to_arrays().items():
            numpy.testing.assert_array_equal(array, again[name], err_msg=name)


def test_arrays_come_back(tables):
    again = KnowledgeTables.from_arrays(tables.to_arrays())
    assert list(again.names) == list(tables.names)
    arrays = tables.to_arrays()
    del arrays["label_keys"]
    with pytest.raises(KeyError, match="label_keys"):
        KnowledgeTables.from_arrays(arrays)


def test_names_with_the_same_key():
    concepts = [
        Concept("A", "type II cells", ("T cell",)),
        Concept("B", "Type 2 cell", ("type-II cell",)),
        Concept("C", "T-cells"),
    ]
    tables = KnowledgeTables.build(concepts, {})
    assert list(tables.folded) == ["t cell", "type 2 cell"]  # "type 2 cell" is a name as well
    found = tables.folded_rows(["type ii cell's", "t cells", "cells", ""])
    names = [[tables.names[row] for row in found[i]] for i in range(4)]
    assert names == [
        ["type 2 cell", "type ii cell", "type ii cells"],
        ["t cell", "t cells"],
        [],
        [],
    ]


def test_arrays_of_before_there_were_keys(tables):
    """Such knowledge bases still load, and find the names that are their own key."""
    arrays = {k: v for k, v in tables.to_arrays().items() if not k.startswith("folded")}
    old = KnowledgeTables.from_arrays(arrays)
    assert not len(old.folded) and list(old.names) == list(tables.names)
    assert len(old.folded_rows(["melancholias"]).values) == 1
    assert not len(old.folded_rows([]).values)


def test_empty_tables():
    tables = KnowledgeTables.build([], {})
    assert len(tables.names) == len(tables.concept_ids) == 0
    assert tables.max_log_count == 0
    assert len(tables.folded_rows(["x"])) == 1 and not len(tables.folded_rows(["x"]).values)
    assert tables.name_rows(["x"]).tolist() == tables.label_rows(["x"]).tolist() == [-1]


def test_other_id_of_several_concepts_goes_to_the_first():
    tables = KnowledgeTables.build(
        [Concept("A", alt_ids=("Z", "B")), Concept("B", alt_ids=("Z",))], {}
    )
    assert tables.concept_row("Z") == 0
    assert tables.concept_row("B") == 1  # a main id is never another one's


# Real knowledge bases: a file, a name among its first concepts and that concept's id, and how many
# concepts and names the whole file holds
REAL = [
    ("kb_mesh.jsonl.gz", "Rolandic Epilepsies", "MESH:D019305", 56_041, 158_384),
    ("kb_open_union.jsonl.gz", "10-formyl-THF biosynthesis", "GO:0009257", 256_038, 634_151),
]


@pytest.fixture
def real_concepts(data_dir):
    """Streams the concepts of a file, or skips the test."""

    def read(name):
        path = data_dir / "kb" / name
        if not path.is_file():
            pytest.skip(f"{name} is absent: expected it in 'kb' among the real corpora")
        return read_concepts(path)

    return read


@pytest.mark.parametrize("file, name, concept_id", [row[:3] for row in REAL])
def test_begin_of_real_knowledge_bases(real_concepts, file, name, concept_id):
    concepts = list(islice(real_concepts(file), 3000))
    tables = KnowledgeTables.build(sorted(concepts, key=lambda concept: concept.concept_id), {})
    assert len(tables.concept_ids) == 3000
    distinct = {normalise_name(name) for concept in concepts for name in concept.names}
    assert set(tables.names) == distinct - {""} and len(distinct) > 3000
    (row,) = tables.name_rows([normalise_name(name)])
    assert concept_id in [tables.concept_ids[c] for c in tables.name_concepts[row]]
    (source,) = (concept for concept in concepts if concept.concept_id == concept_id)
    assert tables.concept(tables.concept_row(concept_id)) == source
    assert name in source.names and name != source.name


@pytest.mark.slow
@pytest.mark.parametrize("file, concepts, names", [(row[0], *row[3:]) for row in REAL])
def test_whole_real_knowledge_bases_are_read(real_concepts, file, concepts, names):
    counts = numpy.asarray([len(concept.names) for concept in real_concepts(file)])
    assert (len(counts), counts.sum()) == (concepts, names)
    assert (counts > 0).all()
