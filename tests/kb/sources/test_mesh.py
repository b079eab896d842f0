"""MeSH in XML and in ASCII: what both say of a record is read alike."""

import pytest

from spacy_bioie.kb import Concept, Filters, read_concepts
from spacy_bioie.kb.findings import Findings

XML_HEAD = '<?xml version="1.0"?>\n<!DOCTYPE {0} SYSTEM "x.dtd">\n<{0} LanguageCode="eng">\n'
DESCRIPTORS = (
    XML_HEAD.format("DescriptorRecordSet")
    + """\
<DescriptorRecord DescriptorClass="1">
 <DescriptorUI>D000001</DescriptorUI>
 <DescriptorName><String>Calcimycin</String></DescriptorName>
 <PharmacologicalActionList><PharmacologicalAction><DescriptorReferredTo>
  <DescriptorUI>D000900</DescriptorUI>
  <DescriptorName><String>Anti-Bacterial Agents</String></DescriptorName>
 </DescriptorReferredTo></PharmacologicalAction></PharmacologicalActionList>
 <TreeNumberList><TreeNumber>D03.633.100.221.173</TreeNumber></TreeNumberList>
 <ConceptList>
  <Concept PreferredConceptYN="Y">
   <ConceptUI>M0000001</ConceptUI>
   <RegistryNumberList>
    <RegistryNumber>37H9VM9WZL</RegistryNumber><RegistryNumber>0</RegistryNumber>
   </RegistryNumberList>
   <ScopeNote>An ionophorous antibiotic
    from Streptomyces.</ScopeNote>
   <RelatedRegistryNumberList>
    <RelatedRegistryNumber>52665-69-7 (Calcimycin)</RelatedRegistryNumber>
   </RelatedRegistryNumberList>
   <SemanticTypeList><SemanticType><SemanticTypeUI>T109</SemanticTypeUI></SemanticType>
    <SemanticType><SemanticTypeUI>T195</SemanticTypeUI></SemanticType></SemanticTypeList>
   <TermList>
    <Term RecordPreferredTermYN="Y"><TermUI>T000002</TermUI><String>Calcimycin</String></Term>
    <Term><TermUI>T000001</TermUI><String>A-23187</String></Term>
    <Term><TermUI>T000009</TermUI><String> </String></Term>
   </TermList>
  </Concept>
  <Concept PreferredConceptYN="N">
   <ConceptUI>M0353609</ConceptUI>
   <RegistryNumberList><RegistryNumber>EC 1.1.1.1</RegistryNumber></RegistryNumberList>
   <ScopeNote>Of the other.</ScopeNote>
   <TermList><Term><TermUI>T000003</TermUI><String>Antibiotic A23187</String></Term></TermList>
  </Concept>
 </ConceptList>
</DescriptorRecord>
<DescriptorRecord DescriptorClass="1">
 <DescriptorUI>D000002</DescriptorUI><DescriptorName><String>Temefos</String></DescriptorName>
</DescriptorRecord>
</DescriptorRecordSet>
"""
)
SUPPLEMENTS = (
    XML_HEAD.format("SupplementalRecordSet")
    + """\
<SupplementalRecord SCRClass="1">
 <SupplementalRecordUI>C000001</SupplementalRecordUI>
 <SupplementalRecordName><String>bevonium</String></SupplementalRecordName>
 <Note>structure given in first source</Note>
 <HeadingMappedToList><HeadingMappedTo><DescriptorReferredTo>
  <DescriptorUI>*D001561</DescriptorUI><DescriptorName><String>Benzilates</String></DescriptorName>
 </DescriptorReferredTo></HeadingMappedTo></HeadingMappedToList>
 <ConceptList><Concept PreferredConceptYN="Y">
  <RegistryNumberList><RegistryNumber>txid9606</RegistryNumber>
   <RegistryNumber>50-00-0</RegistryNumber><RegistryNumber>odd</RegistryNumber>
  </RegistryNumberList>
  <TermList><Term><String>bevonium</String></Term><Term><String>CG 201</String></Term></TermList>
 </Concept></ConceptList>
</SupplementalRecord>
</SupplementalRecordSet>
"""
)
ASCII = """\
*NEWRECORD
RECTYPE = D
MH = Calcimycin
AQ = AA AD
PRINT ENTRY = A-23187|T109|T195|LAB|NRW|NLM (1991)|900308|abbcdef
ENTRY = |T109
ENTRY = Antibiotic A23187
MN = D03.633.100.221.173
RN = 37H9VM9WZL
RN = 0
RR = 52665-69-7 (Calcimycin)
ST = T109
ST = T195
MS = An ionophorous antibiotic from Streptomyces.
UI = D000001

*NEWRECORD
RECTYPE = D
MH = Temefos
PI =
UI = D000002

"""
ASCII_SUPPLEMENTS = """\
*NEWRECORD
RECTYPE = C
NM = bevonium
RN = txid9606
RN = 50-00-0
RN = odd
SY = CG 201|T109|T121|NON|EQV|UNK (19XX)|830101|abbcdef
HM = *Benzilates
NO = structure given in first source
UI = C000001
"""
CALCIMYCIN = Concept(
    "D000001",
    "Calcimycin",
    ("A-23187", "Antibiotic A23187"),
    ("T109", "T195", "D03.633.100.221.173"),
    "An ionophorous antibiotic from Streptomyces.",
    (),
    ("UNII:37H9VM9WZL",),
)
BEVONIUM = Concept(
    "C000001", "bevonium", ("CG 201",), xrefs=("NCBITaxon:9606", "CAS:50-00-0", "odd")
)


def write(path, text):
    path.write_text(text, encoding="utf8")
    return path


@pytest.mark.parametrize("name, text", [("desc2024.xml", DESCRIPTORS), ("d2024.bin", ASCII)])
def test_descriptors(tmp_path, name, text):
    path = write(tmp_path / name, text)
    findings = Findings()
    found = list(read_concepts(path, findings=findings))
    assert found == [CALCIMYCIN, Concept("D000002", "Temefos")]
    assert findings.counts == {"empty_names": 1}
    assert list(read_concepts(path, filters=Filters(semantic_types=["t195"]))) == [CALCIMYCIN]


@pytest.mark.parametrize(
    "name, text", [("supp2024.xml", SUPPLEMENTS), ("c2024.bin", ASCII_SUPPLEMENTS)]
)
def test_supplements(tmp_path, name, text):
    assert list(read_concepts(write(tmp_path / name, text))) == [BEVONIUM]


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("DescriptorRecordSet", "QualifierRecordSet", "expected MeSH XML with the root Descriptor"),
        ("<DescriptorUI>D000002", "<DescriptorUI>", "record 2, element DescriptorUI: expected an"),
        ("Temefos", " ", r"record 2 \(D000002\), element DescriptorName/String: expected a name"),
        ("</DescriptorName>\n</Desc", "\n</Desc", r"line 41: expected MeSH XML.*after 1 records"),
    ],
)
def test_errors_in_xml(tmp_path, old, new, expected):
    assert old in DESCRIPTORS
    path = write(tmp_path / "desc.xml", DESCRIPTORS.replace(old, new))
    with pytest.raises(ValueError, match=f"desc.xml'.*{expected}"):
        list(read_concepts(path, "mesh-xml"))


def test_truncated_and_empty_xml(tmp_path):
    path = write(tmp_path / "desc.xml", DESCRIPTORS[:-30])
    with pytest.raises(ValueError, match=r"desc.xml', line 41: expected MeSH XML.*after 1 rec"):
        list(read_concepts(path))
    with pytest.raises(ValueError, match="desc.xml', line 1: expected MeSH XML"):
        list(read_concepts(write(path, ""), "mesh-xml"))


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("*NEWRECORD\nRECTYPE = D\nMH = C", "MH = C", r"line 1: expected \*NEWRECORD before any"),
        ("AQ = AA AD", "AQ AA AD", "line 4: expected 'KEY = value', got 'AQ AA AD'"),
        ("= D\nMH = T", "= Q\nMH = T", "record of line 17, key RECTYPE: expected D .* got 'Q'"),
        ("UI = D000002", "UI =", "record of line 17, key UI: expected an identifier"),
        ("MH = Temefos", "SH = x", r"record of line 17 \(D000002\), key MH: expected a name"),
    ],
)
def test_errors_in_ascii(tmp_path, old, new, expected):
    assert old in ASCII
    path = write(tmp_path / "d2024.bin", ASCII.replace(old, new))
    with pytest.raises(ValueError, match=f"d2024.bin', {expected}"):
        list(read_concepts(path, "mesh-ascii"))
