"""All forms through the one call: told apart, gzipped, streamed."""

import gzip
import json
import tracemalloc

import pytest

from spacy_bioie.kb import Filters, build_knowledge_base, read_concepts
from spacy_bioie.kb.sources import FORMS, check_form, source_files

from .test_mesh import ASCII, DESCRIPTORS, XML_HEAD
from .test_ontologies import OBO, OWL
from .test_umls_rrf import name, semantic_type, write

TABLE = "concept_id\tname\nA\tone\n"
SAMPLES = {
    "jsonl": '{"concept_id": "A"}\n',
    "table": TABLE,
    "obo": OBO,
    "owl": OWL,
    "rrf": name("C0000001", "one") + "\n",
    "mesh-xml": DESCRIPTORS,
    "mesh-ascii": ASCII,
}


@pytest.mark.parametrize("form", [form for form in FORMS if form != "rrf"])
def test_the_form_is_told_by_content(tmp_path, form):
    for file, content in (
        (tmp_path / "x.txt", SAMPLES[form].encode()),
        (tmp_path / "y.xml.gz", gzip.compress(b"\xef\xbb\xbf" + SAMPLES[form].encode())),
    ):
        file.write_bytes(content)
        assert check_form(file) == form
        assert source_files(file, form) == [file]


def test_the_form_is_told_by_suffix(tmp_path):
    for suffix, form in (
        ("jsonl", "jsonl"),
        ("CSV", "table"),
        ("tsv.gz", "table"),
        ("obo", "obo"),
        ("owl.gz", "owl"),
        ("RRF", "rrf"),
    ):
        path = tmp_path / f"x.{suffix}"
        path.write_text("")
        assert check_form(path) == form
    write(tmp_path)
    assert check_form(tmp_path) == "rrf"
    names = [path.name for path in source_files(tmp_path, "rrf")]
    assert names == ["MRCONSO.RRF", "MRSTY.RRF", "MRDEF.RRF"]


def test_gzip_and_damaged_gzip(tmp_path):
    lines = "".join(
        json.dumps({"concept_id": f"C{i}", "name": f"name {i * 7919 % 1009}"}) + "\n"
        for i in range(2000)
    )
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    assert len(list(read_concepts(path))) == 2000
    path.rename(tmp_path / "c.jsonl")  # told by its content
    assert len(list(read_concepts(tmp_path / "c.jsonl"))) == 2000
    path.write_bytes((tmp_path / "c.jsonl").read_bytes()[:-2000])
    with pytest.raises(ValueError, match="c.jsonl.gz.*breaks off or is damaged after line 1"):
        list(read_concepts(path))
    path.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="after line 0"):
        list(read_concepts(path))


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_reports_damaged_gzip(tmp_path, form):
    if form in ("obo", "owl"):
        pytest.importorskip("pronto")
    whole = gzip.compress(SAMPLES[form].encode())
    path = tmp_path / "x.gz"
    path.write_bytes(whole)
    assert list(read_concepts(path, form))
    path.write_bytes(whole[: len(whole) - 12])
    with pytest.raises(ValueError, match="x.gz': the gzip data breaks off or is damaged"):
        list(read_concepts(path, form))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("c.jsonl", "\n", "c.jsonl': no concept. Expected at least one."),
        ("c.csv", "id,name\n", "c.csv': no concept. Expected"),
        ("c.csv", "id,name,obsolete\nA,one,true\n", "no concept, 1 are suppressed or obsolete."),
        ("c.obo", "format-version: 1.2\n", "c.obo': no concept."),
    ],
)
def test_a_source_without_a_concept(tmp_path, name, text, message):
    if name == "c.obo":
        pytest.importorskip("fastobo")
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_concepts(path))
    whole = tmp_path / "whole.jsonl"
    whole.write_text(SAMPLES["jsonl"])
    with pytest.raises(ValueError, match=message):  # beside another source, too
        build_knowledge_base([whole, path])


def test_wrong_calls(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file of concepts: 'nowhere.jsonl'"):
        read_concepts("nowhere.jsonl")
    path = tmp_path / "x.dat"
    path.write_text("what is this?")
    with pytest.raises(ValueError, match=r"x.dat': neither suffix nor content.*'jsonl', 'table'"):
        read_concepts(path)
    with pytest.raises(ValueError, match=r"The form is 'xml': expected one of \['jsonl'"):
        read_concepts(path, "xml")
    with pytest.raises(ValueError, match="is a folder: expected a file of the form 'obo'"):
        read_concepts(tmp_path, "obo")
    with pytest.raises(ValueError, match=r"the form 'jsonl' cannot be filtered by languages, keep"):
        read_concepts(path, "jsonl", Filters(languages=["ENG"], keep_suppressed=True))
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="bad.gz': the gzip data breaks off"):
        read_concepts(tmp_path / "bad.gz")


COUNT = 3000
NAME = "name " * 30
ROWS = {
    "jsonl": ("", '{{"concept_id": "A{0}", "name": "{1}{0}"}}\n', ""),
    "table": ("id\tname\n", "A{0}\t{1}{0}\n", ""),
    "obo": ("format-version: 1.2\n\n", "[Term]\nid: A:{0}\nname: {1}{0}\n\n", ""),
    "mesh-xml": (
        XML_HEAD.format("DescriptorRecordSet"),
        "<DescriptorRecord><DescriptorUI>D{0:06}</DescriptorUI><DescriptorName><String>{1}{0}"
        "</String></DescriptorName></DescriptorRecord>\n",
        "</DescriptorRecordSet>",
    ),
    "mesh-ascii": ("", "*NEWRECORD\nRECTYPE = D\nMH = {1}{0}\nUI = D{0:06}\n", ""),
}


def check_streamed(concepts, read, size):
    """The first concept comes before the rest is read, and what was read is let go."""
    next(concepts)
    assert sum(read) < size / 3
    tracemalloc.start()
    try:
        assert sum(1 for _ in concepts) == COUNT - 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(read) == size
    assert peak < size * 2 / 3  # some buffers; to hold the concepts takes more than the file


@pytest.mark.parametrize("form", list(ROWS))
def test_reading_is_streamed(tmp_path, form):
    if form == "obo":
        pytest.importorskip("fastobo")
    head, row, foot = ROWS[form]
    path = tmp_path / "x"
    path.write_text(head + "".join(row.format(i, NAME) for i in range(COUNT)) + foot)
    read = []
    check_streamed(read_concepts(path, form, on_read=read.append), read, path.stat().st_size)


def test_a_release_is_streamed(tmp_path):
    cuis = [f"C{i:07}" for i in range(COUNT)]
    names = [name(cui, NAME + cui) for cui in cuis]
    write(tmp_path, names, [semantic_type(cui, "T033", "Finding") for cui in cuis], [])
    size = sum(file.stat().st_size for file in source_files(tmp_path, "rrf"))
    read = []
    check_streamed(read_concepts(tmp_path, on_read=read.append), read, size)


def test_real_forms_are_told(data_dir):
    """The knowledge bases at hand have neither a suffix in common nor the same fields."""
    for file, first in (
        ("gutbrainie_concepts.jsonl", "http://purl.obolibrary.org/obo/NCBITaxon_1653434"),
        ("kb_medic.jsonl.gz", "C565588"),
        ("kb_mesh.jsonl.gz", "MESH:D004961"),
        ("kb_open_union.jsonl.gz", "GO:0009257"),
    ):
        path = data_dir / "kb" / file
        assert check_form(path) == "jsonl" and next(read_concepts(path)).concept_id == first
