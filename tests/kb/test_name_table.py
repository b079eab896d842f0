"""Tables of names: what is a name in a text, and what is saved."""

import json

import numpy
import pytest
import spacy
from spacy.tokens import Doc

from spacy_bioie.kb.name_table import MAX_KINDS, PLACES, NameTable, NameTable_v1, name_key

CONCEPTS = [
    {"concept_id": "D1", "name": "Parkinson's Disease", "synonyms": ["PD"], "types": ["disease"]},
    {"concept_id": "D2", "name": "disease", "types": ["disease"]},
    {"concept_id": "D3", "name": "AIDS", "types": ["disease"]},
    {"concept_id": "C1", "name": "interferon γ", "types": ["chemical", "protein"]},
    {"concept_id": "C2", "name": "gut"},
    {"concept_id": "C3", "name": "of"},
    {"concept_id": "C4", "name": "a b c d e f g"},
]


def write(path, concepts=CONCEPTS):
    path.write_text("".join(json.dumps(concept) + "\n" for concept in concepts), encoding="utf8")
    return str(path)


@pytest.fixture
def table(tmp_path):
    table = NameTable_v1({"anatomy": write(tmp_path / "concepts.jsonl")})
    assert len(table) == 0
    table.fill()
    return table


def found(table, doc):
    """Kind, place and token of what is marked."""
    marks = table.find(doc)
    assert marks.dtype == numpy.float32 and marks.shape == (len(doc), table.width)
    assert set(numpy.unique(marks)) <= {0.0, 1.0}
    names = [f"{kind} {place}" for kind in table.kinds for place in PLACES]
    columns = [*names, *(f"{name}+" for name in names)]
    return {(columns[c], doc[t].text) for t, c in zip(*numpy.nonzero(marks), strict=True)}


def spans(table, text):
    """Kind, first and last token of what is marked; + where it has several words."""
    doc = spacy.blank("en")(text)
    marks = found(table, doc)
    begins = {(m.replace(" begin", ""), t) for m, t in marks if " begin" in m}
    ends = {(m.replace(" end", ""), t) for m, t in marks if " end" in m}
    assert {m for m, _ in begins} == {m for m, _ in ends}
    return begins, ends


def test_kinds_are_types_or_sources(table):
    assert table.kinds == ["disease", "chemical", "protein", "anatomy"]
    assert len(table) == 6  # neither the function word nor the name of seven words


@pytest.mark.parametrize(
    "text", ["Parkinson's disease", "PARKINSON’S DISEASES", "Parkinson disease"]
)
def test_names_in_other_forms(table, text):
    begins, ends = spans(table, f"mild {text} of the gut")
    first = spacy.blank("en")(f"mild {text}")[1].text
    assert begins == {("disease+", first), ("anatomy", "gut")}
    assert ends == {("disease+", text.split()[-1]), ("anatomy", "gut")}


def test_a_name_within_a_longer_one_of_its_kind_does_not_count(table):
    begins, _ = spans(table, "disease, Parkinson's disease")
    assert begins == {("disease", "disease"), ("disease+", "Parkinson")}


def test_case_of_short_words_and_capitals(table):
    assert spans(table, "PD and AIDS")[0] == {("disease", "PD"), ("disease", "AIDS")}
    assert name_key("Iron") == name_key("iron") != name_key("IRON")  # a sentence may begin with it
    assert spans(table, "Gut")[0] == {("anatomy", "Gut")}
    assert spans(table, "pd Pd aids of a b c d e f g")[0] == set()


def test_greek_letters_and_several_kinds(table):
    begins, ends = spans(table, "Interferon gamma")
    assert begins == {("chemical+", "Interferon"), ("protein+", "Interferon")}
    assert ends == {("chemical+", "gamma"), ("protein+", "gamma")}
    vocab = spacy.blank("en").vocab
    marks = found(table, Doc(vocab, words=["interferon-γ", "!"]))
    assert {("chemical begin+", "interferon-γ"), ("protein end+", "interferon-γ")} <= marks
    assert name_key("TNFα") == name_key("TNF-alpha") != name_key("TNF")
    assert name_key("γάλα") != name_key("gamma ala")  # a Greek word


def test_names_do_not_go_over_borders(table):
    nlp = spacy.blank("en")
    assert spans(table, "Parkinson\ndisease")[0] == {("disease", "disease")}
    doc = nlp("the Parkinson disease")
    whole = found(table, doc)
    assert ("disease begin+", "Parkinson") in whole
    for token in doc:
        token.is_sent_start = token.i in (0, 2)
    assert {text for _, text in found(table, doc)} == {"disease"}
    for token in doc:
        token.is_sent_start = token.i in (0, 1)
    assert found(table, doc) == whole


def test_words_within_tokens_and_tokens_within_words(table):
    vocab = spacy.blank("en").vocab
    doc = Doc(
        vocab, words=["pre-gut", "Parkin", "son", "disease"], spaces=[True, False, True, False]
    )
    marks = found(table, doc)
    assert ("anatomy begin", "pre-gut") in marks and ("anatomy end", "pre-gut") in marks
    assert ("disease begin+", "Parkin") in marks and ("disease end+", "disease") in marks
    assert ("disease within+", "son") in marks and ("disease begin+", "son") not in marks


def test_texts_without_words(table):
    nlp = spacy.blank("en")
    for text in ("", " ", "?!", "\n"):
        assert not found(table, nlp(text))
    assert NameTable().find(nlp("gut")).shape == (1, 0)


def test_save_and_load(table):
    again = NameTable().from_bytes(table.to_bytes())
    doc = spacy.blank("en")("PD of the gut, interferon gamma")
    assert again.kinds == table.kinds and len(again) == len(table)
    numpy.testing.assert_array_equal(again.find(doc), table.find(doc))
    assert again.find(doc).any()


def test_keys():
    assert name_key("Gut microbes") == name_key("gut-microbe") != name_key("microbes gut")
    assert name_key("microbes") == name_key("MICROBE".lower())
    assert name_key("IL-6") is not None and name_key("IL6") == name_key("il-6")
    assert name_key("12") is None and name_key("The") is None and name_key("") is None
    assert name_key("all") is None and name_key("ALL") is not None


def test_sources_as_kinds(tmp_path):
    types = [str(i) for i in range(MAX_KINDS + 1)]
    many = write(tmp_path / "many.jsonl", [{"concept_id": "A", "name": "gut", "types": types}])
    other = write(tmp_path / "other.jsonl", [{"concept_id": "B", "name": "mice", "types": ["x"]}])
    table = NameTable_v1({"anatomy": many, "animals": other}, "sources")
    table.fill()
    assert table.kinds == ["anatomy", "animals"]
    rows = table.find(spacy.blank("en")("gut mice"))
    assert numpy.flatnonzero(rows[0]).tolist() == [0, 1, 2]
    assert numpy.flatnonzero(rows[1]).tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="kinds is 'files', expected 'types' or 'sources'"):
        NameTable_v1({"anatomy": many}, "files")  # type: ignore[arg-type]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="no sources"):
        NameTable_v1({})
    with pytest.raises(FileNotFoundError):
        NameTable({"a": str(tmp_path / "missing.jsonl")}).fill()
    nameless = write(tmp_path / "nameless.jsonl", [{"concept_id": "A", "name": "of"}])
    with pytest.raises(ValueError, match="no name of up to 6 words.*nameless.jsonl"):
        NameTable({"a": nameless}).fill()
    kinds = [str(i) for i in range(MAX_KINDS + 1)]
    many = write(tmp_path / "many.jsonl", [{"concept_id": "A", "name": "gut", "types": kinds}])
    table = NameTable({"a": many})
    with pytest.raises(ValueError, match="more than 64 types"):
        table.fill()
    assert len(table) == 0 and not table.kinds
    full = write(tmp_path / "full.jsonl", [{"concept_id": "A", "name": "gut", "types": kinds[1:]}])
    table = NameTable({"a": full})
    table.fill()
    assert table.find(spacy.blank("en")("gut")).sum() == 3 * MAX_KINDS
