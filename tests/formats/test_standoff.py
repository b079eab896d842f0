import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.formats.standoff import (
    FRAGMENTS_KEY,
    check_discontinuous,
    covering,
    fragment_text,
    get_fragments,
    set_fragments,
)


@pytest.fixture
def doc(nlp):
    doc = nlp("lung and liver injuries")
    set_mentions(doc, "sc", [Mention(0, 4, "DISO", "T7"), Mention(2, 4, "DISO", "T8")])
    set_fragments(doc, {"T7": [(15, 23), (0, 4)], "T8": [(9, 23)]})
    return doc


def test_parts_of_a_mention(doc, nlp):
    (again,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    first, second = get_mentions(again)
    assert get_fragments(again, first) == [(15, 23), (0, 4)]
    assert get_fragments(again, second) == [(9, 23)]
    assert list(again.user_data[FRAGMENTS_KEY]) == ["T7"]
    assert fragment_text("lung\nand\r", [(5, 9), (0, 5)]) == "and  lung "


def test_parts_of_another_mention_with_that_id_are_not_its_own(doc):
    (mention,) = set_mentions(doc, "sc", [Mention(2, 4, "DISO", "T7")])
    assert get_fragments(doc, mention) == [(9, 23)]
    exact = Mention(0, 4, "DISO", "T7", char_offsets=(1, 23))
    assert get_fragments(doc, exact) == [(1, 23)]


def test_nothing_in_parts_is_not_kept(doc):
    set_fragments(doc, {"T8": [(9, 23)]})
    assert FRAGMENTS_KEY not in doc.user_data
    assert get_fragments(doc, get_mentions(doc)[0]) == [(0, 23)]


def test_covering_and_choices():
    assert covering([(5, 9), (0, 2), (3, 4)]) == (0, 9)
    check_discontinuous("cover")
    with pytest.raises(ValueError, match="discontinuous mentions 'drop': expected one of cover, s"):
        check_discontinuous("drop")
