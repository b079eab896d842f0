import pytest

from spacy_bioie.annotation import (
    Section,
    find_sections,
    join_sections,
    section_offsets,
    section_token_ranges,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A title\nAn abstract.", [("title", 0, 7), ("abstract", 8, 20)]),
        ("\nAn abstract.", [("title", 0, 0), ("abstract", 1, 13)]),
        ("A title\n", [("title", 0, 7), ("abstract", 8, 8)]),
        ("no break", [("text", 0, 8)]),
        ("two\nline\nbreaks", [("text", 0, 15)]),
        ("", [("text", 0, 0)]),
    ],
)
def test_sections_follow_from_the_text(nlp, text, expected):
    assert find_sections(text) == [Section(*row) for row in expected]
    assert nlp(text)._.sections == [Section(*row) for row in expected]


def test_join_keeps_offsets():
    assert join_sections("a\nb", "c\nd") == "a b\nc d"


@pytest.mark.parametrize("text", ["A title\nAn abstract.", "\nx", "x\n", "one two", "  \n  a ", ""])
def test_token_ranges_cover_each_token_once(nlp, text):
    doc = nlp(text)
    covered = [i for start, end in section_token_ranges(doc) for i in range(start, end)]
    assert covered == list(range(len(doc)))


def test_line_break_belongs_to_the_title(nlp):
    doc = nlp("A title\nAn abstract.")
    assert section_token_ranges(doc) == [(0, 3), (3, 6)]
    assert doc[2].text == "\n"


def test_sections_by_hand(nlp):
    doc = nlp("Methods We did. Results It was.")
    doc._.sections = [("methods", 0, 15), ("results", 16, 31)]
    assert [s.name for s in doc._.sections] == ["methods", "results"]
    assert [doc[i:j].text for i, j in section_token_ranges(doc)] == [
        "Methods We did.",
        "Results It was.",
    ]
    (again,) = _round_trip(doc)
    assert again._.sections == doc._.sections
    doc._.sections = None
    assert [s.name for s in doc._.sections] == ["text"]


def test_bad_sections_by_hand(nlp):
    doc = nlp("some text")
    with pytest.raises(ValueError, match="Section 'b' covers characters 2 to 6"):
        doc._.sections = [("a", 0, 4), ("b", 2, 6)]
    with pytest.raises(ValueError, match="inside a text of 9 characters"):
        doc._.sections = [("a", 0, 10)]


def test_section_offsets(nlp):
    doc = nlp("A title\nAn abstract.")
    assert section_offsets(doc, 11, 19) == ("abstract", 3, 11)
    with pytest.raises(ValueError, match="lie in no single section"):
        section_offsets(doc, 2, 10)


def _round_trip(doc):
    from spacy.tokens import DocBin

    return DocBin(docs=[doc], store_user_data=True).get_docs(doc.vocab)
