import pytest

from spacy_bioie.kb import Concept, Filters, read_concepts
from spacy_bioie.kb.findings import Findings
from spacy_bioie.kb.sources import check_form


def write(path, text):
    path.write_text(text, encoding="utf8")
    return path


def test_a_row_for_each_name(tmp_path):
    """The vocabularies of BioNNE-L."""
    path = write(
        tmp_path / "vocab.tsv",
        "CUI\tsemantic_type\tconcept_name\n"
        "C0000005\tCHEM\t(131)I-MAA\n"
        "C0000005\tCHEM\t131I-макроагрегат\n"
        "\n"
        'C0000039\tCHEM\t"5"" nucleotide"\n'
        'C0000040\tANATOMY\t"head of a name\n'
        'C0000040\tDISO\tits tail"\n'
        "C0000005\tCHEM\tMAA\n",
    )
    assert list(read_concepts(path)) == [
        Concept("C0000005", "(131)I-MAA", ("131I-макроагрегат",), ("CHEM",)),
        Concept("C0000039", '5" nucleotide', (), ("CHEM",)),
        Concept("C0000040", '"head of a name', ('its tail"',), ("ANATOMY", "DISO")),
        Concept("C0000005", "MAA", (), ("CHEM",)),  # joined when the knowledge base is built
    ]


def test_a_row_for_each_concept(tmp_path):
    text = (
        "\ufeffClass ID,Preferred Label,Synonyms,Definitions,Obsolete,xref,alt_ids\r\n"
        'A,"one, first","uno|eins| uno |one, first","The ""first"",\r\nof",false,M:1|M:2,A1\r\n'
        "B,,due|zwei,,true,,\r\n"
        ",,,,,,\r\n"
    )
    first = Concept(
        "A", "one, first", ("uno", "eins"), (), 'The "first",\nof', ("A1",), ("M:1", "M:2")
    )
    second = Concept("B", "due", ("zwei",))
    path, findings = write(tmp_path / "c.csv", text), Findings()
    assert list(read_concepts(path, findings=findings)) == [first]
    assert findings.counts == {"left_out": 1} and findings.examples == {"left_out": ["B: "]}
    kept = Filters(keep_suppressed=True)
    assert list(read_concepts(path, filters=kept)) == [first, second]
    other = text.replace("|", "/").replace(",", ";").replace("one; first", "one, first")
    (found,) = read_concepts(write(tmp_path / "semicolons.csv", other))
    assert found.name == "one, first"


def test_header_with_delimiters_in_its_cells(tmp_path):
    path = write(
        tmp_path / "c.csv",
        'CUI,"Class ID",name,"Definition, long ""or"" short",definition,Deprecated\n'
        ",A,one,x,first,\n"
        ',B,two,x,"of two, the other",True\n',
    )
    assert check_form(path.rename(tmp_path / "c.txt")) == "table"
    found = list(read_concepts(tmp_path / "c.txt", filters=Filters(keep_suppressed=True)))
    assert found == [
        Concept("A", "one", definition="first"),
        Concept("B", "two", definition="of two, the other"),
    ]


def test_filters_and_empty_names(tmp_path):
    path = write(
        tmp_path / "c.tsv",
        "id\tname\tlang\tsab\ttypes\n"
        "A\tone\tENG\tMSH\tDISO\n"
        "A\tuno\tITA\tMSH\tDISO\n"
        "A\t \tENG\tMSH\tDISO\n"
        "B\ttwo\tENG\tNCI\tDISO\n"
        "C\tthree\tENG\tMSH\tCHEM|DRUG\n",
    )
    findings = Findings()
    filters = Filters(languages=["eng"], vocabularies=["MSH"], semantic_types=["drug", "DISO"])
    a, c = read_concepts(path, filters=filters, findings=findings)
    assert a == Concept("A", "one", (), ("DISO",)) and c.concept_id == "C"
    assert findings.counts == {"empty_names": 1, "left_out": 2}
    assert findings.examples["left_out"] == ["A: uno", "B: two"]
    with pytest.raises(
        ValueError, match=r"c.tsv': no concept passes the filters languages=\['x'\]"
    ):
        list(read_concepts(path, filters=Filters(languages=["x"])))


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("c.tsv", "", "line 1: expected a header with a column for the concept id"),
        ("c.tsv", "id\tcolour\nA\tred\n", "line 1: expected a header"),
        ("c.csv", "name,synonyms\na,b\n", "line 1: expected a header"),
        ("c.tsv", "id\tname\nA\tone\nB\ttwo\tthree\n", "line 3: expected 2 cells .* got 3"),
        ("c.csv", "id,name\nA\n", "line 2: expected 2 cells as in the header, got 1"),
        ("c.tsv", "My-ID\tname\n", "line 1: expected a header"),
        ("c.tsv", "UMLS_CUI\tname\n\n \tone\n", "line 3, column 'UMLS_CUI': expected a concept id"),
        ("c.csv", 'id,name\n"A\nB",one\nC,"two\n', "line 4: expected cells between ','"),
        ("c.csv", 'id,name\nA,"one" two\n', "line 2: expected cells between ','"),
    ],
)
def test_errors_name_file_line_and_column(tmp_path, name, text, expected):
    with pytest.raises(ValueError, match=f"{name}', {expected}"):
        list(read_concepts(write(tmp_path / name, text)))


def test_filter_without_its_column(tmp_path):
    path = write(tmp_path / "c.csv", "id,name\nA,one\n")
    with pytest.raises(ValueError, match="line 1: no column 'language', which the filter lang"):
        list(read_concepts(path, filters=Filters(languages=["ENG"])))
