import gzip
import sys

import pytest

from spacy_bioie.kb import Concept, Filters, read_concepts
from spacy_bioie.kb.findings import Findings

OBO = """\
format-version: 1.2
default-namespace: other
ontology: go

[Term]
id: GO:0000001
name: mitochondrion inheritance
namespace: biological_process
alt_id: GO:0000009
def: "The \\"distribution\\" of mitochondria." [GOC:mcc, PMID:1]
synonym: "mitochondrial inheritance" EXACT []
synonym: "organelle inheritance" BROAD [X:1]
synonym: "Größe" RELATED []
synonym: "" NARROW []
xref: MESH:D1 "a description"
xref: UMLS:C0000001
is_a: GO:0000002 {source="x"} ! nameless

[Term]
id: GO:0000002
synonym: "nameless" EXACT []

[Term]
id: GO:0000003
name: obsolete reproduction
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""
OWL = """\
<?xml version="1.0"?>
<rdf:RDF xmlns="http://purl.obolibrary.org/obo/go.owl#"
 xmlns:owl="http://www.w3.org/2002/07/owl#"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#"
 xmlns:obo="http://purl.obolibrary.org/obo/"
 xmlns:o="http://www.geneontology.org/formats/oboInOwl#">
<owl:Ontology rdf:about="http://purl.obolibrary.org/obo/go.owl">
 <owl:imports rdf:resource="http://127.0.0.1:9/absent.owl"/>
</owl:Ontology>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/GO_0000001">
 <rdfs:label>mitochondrion inheritance</rdfs:label>
 <o:hasExactSynonym>mitochondrial inheritance</o:hasExactSynonym>
 <o:hasBroadSynonym>organelle inheritance</o:hasBroadSynonym>
 <o:hasRelatedSynonym>Größe</o:hasRelatedSynonym>
 <o:hasNarrowSynonym></o:hasNarrowSynonym>
 <o:hasOBONamespace>biological_process</o:hasOBONamespace>
 <o:hasAlternativeId>GO:0000009</o:hasAlternativeId>
 <o:hasDbXref>MESH:D1</o:hasDbXref>
 <o:hasDbXref>UMLS:C0000001</o:hasDbXref>
 <rdfs:subClassOf rdf:resource="http://purl.obolibrary.org/obo/GO_0000002"/>
 <obo:IAO_0000115>The "distribution" of mitochondria.</obo:IAO_0000115>
</owl:Class>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/GO_0000002">
 <o:hasExactSynonym>nameless</o:hasExactSynonym>
</owl:Class>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/GO_0000003">
 <rdfs:label>obsolete reproduction</rdfs:label>
 <owl:deprecated rdf:datatype="http://www.w3.org/2001/XMLSchema#boolean">true</owl:deprecated>
</owl:Class>
</rdf:RDF>
"""
FIRST = Concept(
    "GO:0000001",
    "mitochondrion inheritance",
    ("mitochondrial inheritance", "Größe"),
    ("biological_process",),
    'The "distribution" of mitochondria.',
    ("GO:0000009",),
    ("MESH:D1", "UMLS:C0000001"),
    ("GO:0000002",),
)
SECOND = Concept("GO:0000002", "nameless")
OBSOLETE = Concept("GO:0000003", "obsolete reproduction")

forms = pytest.mark.parametrize("name, text", [("go.obo", OBO), ("go.owl", OWL)])


@pytest.fixture(autouse=True)
def needs_pronto():
    pytest.importorskip("pronto")


def write(path, text):
    path.write_text(text, encoding="utf8")
    return path


@forms
def test_terms_are_read(tmp_path, name, text):
    path = write(tmp_path / name, text)
    findings = Findings()
    assert list(read_concepts(path, findings=findings)) == [FIRST, SECOND]
    # pronto itself drops empty synonyms
    assert findings.counts == {"left_out": 2, **({"empty_names": 1} if "obo" in name else {})}
    assert sorted(findings.examples["left_out"]) == [
        "GO:0000001: organelle inheritance",
        "GO:0000003: obsolete reproduction",
    ]
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert list(read_concepts(packed)) == [FIRST, SECOND]


@forms
def test_filters(tmp_path, name, text):
    path = write(tmp_path / name, text)
    assert list(read_concepts(path, filters=Filters(keep_suppressed=True)))[2] == OBSOLETE
    filters = Filters(semantic_types=["Biological_Process"])
    assert list(read_concepts(path, filters=filters)) == [FIRST]


def test_other_iris_stay(tmp_path):
    path = write(tmp_path / "x.owl", OWL.replace("purl.obolibrary.org/obo/GO_", "other.org/x#"))
    assert next(read_concepts(path)).concept_id == "http://other.org/x#0000001"


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("format-version: 1.2", "no header", "line 1: expected HeaderClause, got 'no header'"),
        ("is_obsolete: true", "colour: red", "line 26: expected .*, got 'colour: red'"),
        ('"nameless" EXACT', "nameless", "line 21: expected QuotedString, got 'synonym: nameless"),
        ("id: GO:0000002\n", "", "line 20: expected"),
    ],
)
def test_errors_in_obo(tmp_path, old, new, expected):
    assert old in OBO
    path = write(tmp_path / "go.obo", OBO.replace(old, new))
    with pytest.raises(ValueError, match=f"go.obo', {expected}"):
        list(read_concepts(path))


def test_other_encoding(tmp_path):
    path = tmp_path / "go.obo"
    path.write_bytes(OBO.replace("nameless", "gr\u00f6\u00dfe").encode("latin1"))
    with pytest.raises(ValueError, match="go.obo'.*valid UTF-8"):
        list(read_concepts(path))


@pytest.mark.parametrize(
    "text, expected",
    [
        (OWL[:-40], "line 29: expected OWL in RDF/XML, but"),
        ("<html/>", "expected an ontology in OWL"),
        ("", "expected an ontology in OWL"),
    ],
)
def test_errors_in_owl(tmp_path, text, expected):
    with pytest.raises(ValueError, match=f"go.owl'.*{expected}"):
        list(read_concepts(write(tmp_path / "go.owl", text)))


@pytest.mark.parametrize("name, form", [("fastobo", "obo"), ("pronto", "owl")])
def test_absent_package(tmp_path, monkeypatch, name, form):
    monkeypatch.setitem(sys.modules, name, None)
    path = write(tmp_path / "x", "")
    with pytest.raises(ImportError, match=rf"'{name}': pip install 'spacy-bioie\[ontologies\]'"):
        list(read_concepts(path, form))
