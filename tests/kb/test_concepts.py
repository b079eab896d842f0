import json

import pytest

from spacy_bioie.kb.concepts import Concept, concept_from_record, join_concepts


def test_records_come_back():
    concept = Concept("A", "one", ("uno",), ("DDF",), "The first.", ("A1",), ("MESH:D1",), ("B",))
    assert concept_from_record(json.loads(json.dumps(concept.to_record()))) == concept
    assert Concept("A").to_record() == {"concept_id": "A"}


@pytest.mark.parametrize(
    "record, expected",
    [
        ({"name": "x"}, "Concept: no field 'concept_id'"),
        ({"concept_id": 5}, "Concept, field 'concept_id'"),
        ({"id": " "}, "Concept, field 'id'"),
        ({"concept_id": "A", "xrefs": "x"}, r"Concept \(A\), field 'xrefs': expected a list"),
        ({"concept_id": "A", "types": ["x", 1]}, "field 'types', item 1"),
        (["A"], "expected a JSON object, got a value of type list"),
    ],
)
def test_errors_name_the_field(record, expected):
    with pytest.raises(ValueError, match=expected):
        concept_from_record(record)


def test_records_of_one_concept_are_joined():
    joined = join_concepts(
        [
            Concept("A", "", ("uno",), ("X",), xrefs=("M:1",), parents=("P", "Q")),
            Concept("A", "one", ("uno", "eins"), ("Y",), "The first.", ("A1",), ("M:2", "M:1")),
            Concept("B", "two", (), (), "The second.", parents=("R", "P")),
        ]
    )
    assert joined == Concept(
        "A",
        "uno",
        ("one", "eins", "two"),
        ("X", "Y"),
        "The first.",
        ("A1",),
        ("M:1", "M:2"),
        ("P", "Q", "R"),
    )
    assert join_concepts([Concept("A")]) == Concept("A")
