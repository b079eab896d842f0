import pytest

from spacy_bioie.kb import Concept
from spacy_bioie.kb.findings import EXAMPLES, Findings
from spacy_bioie.kb.merging import identifier_key, merge_by_id, merge_by_xref


def merge(*sources):
    """The concepts joined by cross-references, by id, and the findings."""
    findings = Findings()
    return merge_by_xref(merge_by_id(sources, findings), findings), findings


def test_records_of_one_id_are_joined():
    findings = Findings()
    merged = merge_by_id(
        [
            [Concept("B", "two"), Concept("A", "one", ("uno",), ("X",)), Concept("A", "eins")],
            iter([Concept("A", "uno", (), ("Y",), "The first."), Concept("C")]),
        ],
        findings,
    )
    assert list(merged.concepts) == ["B", "A", "C"] and merged.records == 5
    assert merged.concepts["A"] == Concept("A", "one", ("uno", "eins"), ("X", "Y"), "The first.")
    assert merged.sources == {"B": 1, "A": 3, "C": 2}
    assert findings.counts == {"duplicate_ids": 2}
    assert findings.examples == {"duplicate_ids": ["A", "A"]}


def test_cross_references_join_concepts_of_different_sources():
    merged, findings = merge(
        [Concept("DOID:1", "depression", types=("DDF",), xrefs=("MSH:D003863", "ICD10:F32"))],
        [Concept("D003863", "Depression", ("low mood",), alt_ids=("D999999",)), Concept("D000001")],
        [Concept("http://x.org/dep", "the blues", definition="Low.", xrefs=("MESH:D999999",))],
    )
    assert merged == {
        "DOID:1": Concept(
            "DOID:1",
            "depression",
            ("Depression", "low mood", "the blues"),
            ("DDF",),
            "Low.",
            ("D999999", "D003863", "http://x.org/dep"),
            ("ICD10:F32",),  # those that became other ids are none any more
        ),
        "D000001": Concept("D000001"),
    }
    assert findings.counts == {"merged_concepts": 2}
    assert findings.examples["merged_concepts"] == ["D003863: DOID:1", "http://x.org/dep: DOID:1"]


def test_the_id_of_the_first_source_stays():
    one, two = [Concept("MESH:D000001", "one", xrefs=("X:1",))], [Concept("X:1", "eins")]
    assert [c.names for c in merge(one, two)[0].values()] == [("one", "eins")]
    assert list(merge(one, two)[0]) == ["MESH:D000001"] and list(merge(two, one)[0]) == ["X:1"]


def test_concepts_of_one_source_stay_apart():
    same, findings = merge([Concept("A", xrefs=("B",)), Concept("B", alt_ids=("A",))])
    assert list(same) == ["A", "B"] and not findings.counts
    # two of one source name one of another, and one names two
    shared = [Concept("A", xrefs=("M:1",)), Concept("B", xrefs=("M:1", "M:2")), Concept("C")]
    for sources in ((shared, [Concept("M:1"), Concept("M:2")]), ([Concept("M:1")], shared)):
        merged, findings = merge(*sources)
        assert len(merged) == sum(map(len, sources))
        assert findings.counts["merged_concepts"] == 0
        assert findings.counts["unused_xrefs"] == (3 if len(sources[1]) == 2 else 2)
    assert findings.examples["unused_xrefs"] == ["M:1: A", "M:1: B"]


def test_no_chain_over_other_sources_joins_them_either():
    merged, findings = merge(
        [Concept("A", xrefs=("M:1",)), Concept("B")],
        [Concept("M:1", xrefs=("U:1",))],
        [Concept("U:1", xrefs=("B",))],
    )
    assert {i: c.alt_ids for i, c in merged.items()} == {"A": ("M:1",), "B": ("U:1",)}
    assert findings.counts == {"merged_concepts": 2, "unused_xrefs": 1}
    assert findings.examples["unused_xrefs"] == ["M:1: U:1"]


def test_a_concept_of_several_sources_holds_all_of_them_apart():
    both = Concept("A", "one", xrefs=("B",))
    merged, _ = merge([both], [both, Concept("B")])
    assert list(merged) == ["A", "B"]


@pytest.mark.parametrize(
    "one, other",
    [
        ("MSH:D003865", "MESH:D003865"),
        ("D003865", "https://www.ncbi.nlm.nih.gov/mesh/D003865"),
        ("C565588", "http://id.nlm.nih.gov/mesh/C565588"),
        ("C0004134", "UMLS_CUI:C0004134"),
        ("umls:C0004134", "https://uts.nlm.nih.gov/uts/umls/concept/C0004134"),
        ("NCI:C3243", "http://purl.obolibrary.org/obo/NCIT_C3243"),
        ("SCTID:24700007", "SNOMEDCT_US_2023_03_01:24700007"),
        ("MIM:126200", "OMIM:126200"),
        ("NCBI:9606", "http://purl.obolibrary.org/obo/NCBITaxon_9606"),
        ("https://identifiers.org/chebi:15377", "CHEBI:15377"),
    ],
)
def test_identifiers_that_agree(one, other):
    assert identifier_key(one) == identifier_key(other) == identifier_key(identifier_key(one))


def test_identifiers_that_differ():
    keys = ["C000001", "C0000001", "C000000001", "MESH:X", "OMIM:X", "x", "X", "http://a.org/b:c"]
    assert len({identifier_key(key) for key in keys}) == len(keys)
    assert identifier_key("http://a.org/b:c") == "http://a.org/b:c"


def test_findings_keep_a_few_examples():
    findings = Findings()
    for i in range(EXAMPLES + 3):
        findings.note("left_out", f"C{i}", "name")
    assert findings.counts["left_out"] == EXAMPLES + 3
    assert findings.examples["left_out"] == [f"C{i}: name" for i in range(EXAMPLES)]
