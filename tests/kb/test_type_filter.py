"""Candidates by the types, branches and ids that a label allows."""

import pytest

from spacy_bioie.kb import Concept, LinkingSettings, build_knowledge_base
from spacy_bioie.kb.tables import KnowledgeTables
from spacy_bioie.kb.updating import update_knowledge_base

CONCEPTS = [
    Concept("MESH:D003866", "depression", types=("T048", "F03.600.300")),
    Concept("NCIT:C1", "depression", types=("T041",)),
    Concept("MESH:D003863", "depression", types=("F01.145.126",)),
    Concept("CHEBI:1", "depression"),
]


def found(label, **label_types):
    kb, _ = build_knowledge_base(CONCEPTS)
    settings = LinkingSettings(label_types=label_types)
    (candidates,) = kb.search(["depression"], [label], settings=settings)
    return {concept_id for concept_id, _ in candidates}


@pytest.mark.parametrize(
    "patterns, expected",
    [
        (["T048"], {"MESH:D003866"}),
        (["F0*"], {"MESH:D003866", "MESH:D003863"}),
        (["F03.*", "T041"], {"MESH:D003866", "NCIT:C1"}),
        (["CHEBI:*"], {"CHEBI:1"}),
        (["F03.600.300.*"], {"MESH:D003866"}),  # the root of a branch belongs to it
        (["F03.*.300.*", "T04"], {"MESH:D003866"}),
        (["F03.600.30.*", "F03.60"], set()),
        (["t048"], set()),
        ([], set()),
    ],
)
def test_types_branches_and_ids(patterns, expected):
    assert found("disease", disease=patterns) == expected


def test_branches_of_an_ontology():
    """x1 is below x2, which has two parents and a circle above them; x5 stands alone."""
    parents = {"x1": ["x2"], "x2": ["x3", "alt4", "gone"], "x3": ["x6"], "x4": [], "x5": []}
    parents["x6"] = ["x3"]
    concepts = [
        Concept(i, "name", alt_ids=("alt4",) if i == "x4" else (), parents=tuple(above))
        for i, above in parents.items()
    ]
    kb, _ = build_knowledge_base(concepts)
    old = {k: v for k, v in kb.tables.to_arrays().items() if not k.startswith("concept_parents")}
    for patterns, expected in (
        (["x3.*"], {"x1", "x2", "x3", "x6"}),
        (["x4.*"], {"x1", "x2", "x4"}),
        (["alt4.*", "x5"], {"x1", "x2", "x4", "x5"}),
        (["x1.*"], {"x1"}),
        (["x2"], {"x2"}),
        (["gone.*", ".*"], set()),
    ):
        settings = LinkingSettings(label_types={"thing": patterns})
        (candidates,) = kb.search(["name"], ["thing"], top_k=9, settings=settings)
        assert {concept_id for concept_id, _ in candidates} == expected, patterns
    again, _ = update_knowledge_base(
        kb, remove=["x2"], add=[[Concept("x7", "name", parents=("x4",))]]
    )
    settings = LinkingSettings(label_types={"thing": ["x4.*"]})
    (candidates,) = again.search(["name"], ["thing"], top_k=9, settings=settings)
    assert {concept_id for concept_id, _ in candidates} == {"x4", "x7"}
    kb.tables = KnowledgeTables.from_arrays(old)  # as an earlier release has saved it
    (candidates,) = kb.search(["name"], ["thing"], top_k=9, settings=settings)
    assert [concept_id for concept_id, _ in candidates] == ["x4"]


def test_other_labels_allow_all():
    everything = {concept.concept_id for concept in CONCEPTS}
    assert found("chemical", disease=["T048"]) == everything
    assert found("disease") == everything


def test_each_mention_has_its_own_label():
    kb, _ = build_knowledge_base(CONCEPTS)
    settings = LinkingSettings(label_types={"a": ["T048"], "b": ["T041"]})
    rows = kb.search(["depression"] * 3, ["a", "b", "c"], settings=settings)
    assert [len(row) for row in rows] == [1, 1, 4]
    assert [row[0][0] for row in rows[:2]] == ["MESH:D003866", "NCIT:C1"]


def test_tables_of_earlier_versions_get_the_types_of_their_records():
    tables = KnowledgeTables.build(sorted(CONCEPTS, key=lambda c: c.concept_id), {})
    arrays = tables.to_arrays()
    old = {k: v for k, v in arrays.items() if not k.startswith(("types.", "concept_types."))}
    again = KnowledgeTables.from_arrays(old).to_arrays()
    assert {k: v.tolist() for k, v in again.items()} == {k: v.tolist() for k, v in arrays.items()}
