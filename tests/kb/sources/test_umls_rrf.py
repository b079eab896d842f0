import gzip

import pytest

from spacy_bioie.kb import Concept, Filters, read_concepts
from spacy_bioie.kb.findings import Findings

COLUMNS = "CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF"


def name(cui, string, sab="MSH", code="D1", **columns):
    """A row of MRCONSO."""
    row = dict.fromkeys(COLUMNS.split(), "")
    row.update(CUI=cui, LAT="ENG", TS="S", STT="PF", ISPREF="Y", SUPPRESS="N", TTY="ET")
    row.update({"STR": string, "SAB": sab, "CODE": code, **columns})
    return "".join(f"{cell}|" for cell in row.values())


def semantic_type(cui, tui, sty):
    return f"{cui}|{tui}|A1.2|{sty}|AT1||"


def definition(cui, text, sab="MSH", suppress="N"):
    return f"{cui}|A1|AT1||{sab}|{text}|{suppress}||"


NAMES = [
    name("C0000001", "Blues", TS="S"),
    name("C0000001", "Depressive disorder", "NCI", "C2", TTY="PT"),
    name("C0000001", "Depression", TS="P", STT="VO"),
    name("C0000001", "depression", TS="P"),
    name("C0000001", "Depressió", "MSHCAT", "D1", LAT="CAT", TS="P"),
    name("C0000001", "sadness, obsolete", "NCI", "C3", SUPPRESS="O"),
    name("C0000001", " ", "NCI", "NOCODE"),
    name("C0000002", "Aspirin", "GO", "GO:0000002", TS="P"),
    name("C0000003", "Nowhere", SUPPRESS="Y"),
    name("C0000004", "Last", "NCI", "NOCODE"),
]
TYPES = [
    semantic_type("C0000001", "T048", "Mental or Behavioral Dysfunction"),
    semantic_type("C0000001", "T033", "Finding"),
    semantic_type("C0000002", "T109", "Organic Chemical"),
    semantic_type("C0000004", "T033", "Finding"),
]
DEFINITIONS = [
    definition("C0000000", "Of no name."),
    definition("C0000001", "Suppressed.", suppress="O"),
    definition("C0000001", "Low mood.", "NCI"),
    definition("C0000001", "Lowered mood.", "MSH"),
]


def write(folder, names=NAMES, types=TYPES, definitions=DEFINITIONS):
    for file, rows in (("MRCONSO", names), ("MRSTY", types), ("MRDEF", definitions)):
        if rows is not None:
            (folder / f"{file}.RRF").write_text("".join(f"{row}\n" for row in rows), "utf8")
    return folder


def read(folder, **filters):
    return {c.concept_id: c for c in read_concepts(folder, filters=Filters(**filters))}


def test_the_files_are_joined(tmp_path):
    write(tmp_path)
    findings = Findings()
    found = list(read_concepts(tmp_path, findings=findings))
    assert found == [
        Concept(
            "C0000001",
            "depression",  # TS=P, STT=PF, ISPREF=Y, in English
            ("Blues", "Depressive disorder", "Depression", "Depressió"),
            ("T048", "T033"),
            "Low mood.",
            (),
            ("MSH:D1", "NCI:C2", "MSHCAT:D1"),
        ),
        Concept("C0000002", "Aspirin", (), ("T109",), "", (), ("GO:0000002",)),
        Concept("C0000004", "Last", (), ("T033",)),
    ]
    assert findings.counts == {"left_out": 2, "empty_names": 1}
    assert findings.examples["left_out"] == ["C0000001: sadness, obsolete", "C0000003: Nowhere"]


def test_filters(tmp_path):
    write(tmp_path)
    catalan = read(tmp_path, languages=["cat"])
    assert {c.names for c in catalan.values()} == {("Depressió",)}
    both = read(tmp_path, languages=["CAT", "ENG"])
    assert both["C0000001"].name == "Depressió" and len(both["C0000001"].names) == 5
    nci = read(tmp_path, vocabularies=["nci"])
    assert sorted(nci) == ["C0000001", "C0000004"]
    # its vocabulary's preferred term stands in for the one that was left out
    assert nci["C0000001"].names == ("Depressive disorder",)
    assert nci["C0000001"].definition == "Low mood."
    assert read(tmp_path, vocabularies=["MSH"])["C0000001"].definition == "Lowered mood."
    assert sorted(read(tmp_path, semantic_types=["T033"])) == ["C0000001", "C0000004"]
    assert sorted(read(tmp_path, semantic_types=["organic chemical"])) == ["C0000002"]
    suppressed = read(tmp_path, keep_suppressed=True)
    assert suppressed["C0000003"].name == "Nowhere"
    assert suppressed["C0000001"].name == "depression"
    assert "sadness, obsolete" in suppressed["C0000001"].synonyms
    assert suppressed["C0000001"].definition == "Suppressed."
    with pytest.raises(ValueError, match="no concept passes the filters vocabularies"):
        read(tmp_path, vocabularies=["XYZ"])


def test_files_may_be_gzipped_absent_or_named(tmp_path):
    write(tmp_path, types=None, definitions=None)
    plain = tmp_path / "MRCONSO.RRF"
    assert read(plain)["C0000002"] == Concept("C0000002", "Aspirin", xrefs=("GO:0000002",))
    (tmp_path / "MRCONSO.RRF.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    (tmp_path / "MRSTY.RRF.gz").write_bytes(gzip.compress(TYPES[2].encode() + b"\n"))
    assert read(tmp_path)["C0000002"].types == ("T109",)


@pytest.mark.parametrize(
    "files, expected",
    [
        (
            {"names": NAMES[::-1]},
            r"MRCONSO.RRF', line 2, column CUI: C0000003 stands behind C00.*4",
        ),
        ({"types": TYPES[::-1]}, r"MRSTY.RRF', line 2, column CUI: C0000002 stands behind"),
        ({"definitions": DEFINITIONS[::-1]}, r"MRDEF.RRF', line 4, column CUI: C0000000 stands"),
        (
            {"names": ["C1|ENG|P|"]},
            r"MRCONSO.RRF', line 1: expected 18 columns.*got 'C1\|ENG\|P\|'",
        ),
        ({"types": TYPES + ["x"]}, r"MRSTY.RRF', line 5: expected 6 columns"),
        ({"names": [name("", "x")]}, r"MRCONSO.RRF', line 1, column CUI: expected a CUI"),
    ],
)
def test_errors_name_file_line_and_column(tmp_path, files, expected):
    write(tmp_path, **{"names": [*NAMES, name("C0000009", "x")], **files})
    with pytest.raises(ValueError, match=expected):
        read(tmp_path)


def test_absent_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="expected a folder with MRCONSO.RRF or MRCONSO.RRF"
    ):
        read_concepts(tmp_path)
    write(tmp_path, types=None)
    with pytest.raises(
        FileNotFoundError, match="no MRSTY.RRF beside MRCONSO, which the filter sem"
    ):
        read(tmp_path, semantic_types=["T033"])
