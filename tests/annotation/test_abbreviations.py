import pickle

import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import (
    Abbreviation,
    Mention,
    expand_abbreviations,
    get_abbreviation_rows,
    mention_texts,
    set_abbreviations,
)

TEXT = "gut brain axis (GBA) and GBA-like (GBA) axes"
LONG = (0, 14)
ROWS = [Abbreviation(start, start + 3, *LONG) for start in (16, 25, 35)]


@pytest.fixture
def doc(nlp):
    doc = nlp(TEXT)
    set_abbreviations(doc, reversed(ROWS))
    return doc


def mention(doc, start, end, **values) -> Mention:
    """A mention of characters that lie on token borders."""
    span = doc.char_span(start, end)
    return Mention(span.start, span.end, "x", **values)


def test_short_forms_have_long_forms(doc):
    assert get_abbreviation_rows(doc) == ROWS
    assert [span.text for span in doc._.abbreviations] == ["GBA"] * 3
    assert [span.start_char for span in doc._.abbreviations] == [16, 25, 35]
    assert {span._.long_form.text for span in doc._.abbreviations} == {"gut brain axis"}
    assert doc[0:3]._.long_form is None and doc[0:1]._.long_form is None


def test_nothing_stored(nlp):
    for doc in (nlp("the GBA"), nlp("")):
        assert doc._.abbreviations == []
        assert expand_abbreviations(doc, []) == []
    doc = nlp("the GBA")
    assert doc[1:2]._.long_form is None
    assert expand_abbreviations(doc, [Mention(1, 2, "x")]) == ["GBA"]


def test_docbin_and_pickle(doc, nlp):
    (stored,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    for again in (stored, pickle.loads(pickle.dumps(doc))):
        assert get_abbreviation_rows(again) == ROWS
        assert again._.abbreviations[1]._.long_form.text == "gut brain axis"


def test_borders_inside_a_token_are_widened(nlp):
    import spacy

    doc = spacy.blank("en")("gutaxis (GA) GA_2")
    assert [token.text for token in doc] == ["gutaxis", "(", "GA", ")", "GA_2"]
    set_abbreviations(doc, [(9, 11, 3, 7), (13, 15, 3, 7)])
    assert [span.text for span in doc._.abbreviations] == ["GA", "GA_2"]
    assert doc[4:5]._.long_form.text == "gutaxis"
    assert expand_abbreviations(doc, [Mention(4, 5, "x")]) == ["axis_2"]
    assert expand_abbreviations(doc, [Mention(4, 5, "x", char_offsets=(13, 15))]) == ["axis"]


def test_mentions_are_expanded(doc):
    mentions = [
        mention(doc, 25, 28),
        mention(doc, 25, 33),
        mention(doc, 0, 14),
        mention(doc, 21, 44),
    ]
    assert mention_texts(doc, mentions)[1] == "GBA-like"
    assert expand_abbreviations(doc, mentions) == [
        "gut brain axis",
        "gut brain axis-like",
        "gut brain axis",
        "and gut brain axis-like (gut brain axis) axes",
    ]


def test_a_whole_definition_loses_its_brackets(doc, nlp):
    whole, half = mention(doc, 0, 24), mention(doc, 0, 19)
    assert expand_abbreviations(doc, [whole]) == ["gut brain axis and"]
    assert expand_abbreviations(doc, [half]) == ["gut brain axis (GBA"]
    # the long form inside the brackets
    other = nlp("GBA (gut brain axis) tone")
    set_abbreviations(other, [(0, 3, 5, 19)])
    assert expand_abbreviations(other, [mention(other, 0, 25)]) == ["GBA (gut brain axis) tone"]


@pytest.mark.parametrize(
    "rows, message",
    [
        ([(3, 3, 0, 2)], "expected ranges inside the text of 44 characters, none empty"),
        ([(3, 6, 0, 45)], "long_end=45.* expected ranges inside the text"),
        ([(-1, 6, 0, 4)], "start=-1.* expected ranges inside the text"),
        ([(16, 19, 0, 14), (18, 20, 0, 14)], "begins before character 19"),
    ],
)
def test_bad_rows(doc, rows, message):
    with pytest.raises(ValueError, match=message):
        set_abbreviations(doc, rows)
    assert get_abbreviation_rows(doc) == ROWS
