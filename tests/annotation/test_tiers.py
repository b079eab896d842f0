import pickle

import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import get_tier, set_tier


def test_no_tier_until_one_is_set(nlp):
    doc = nlp("Gut.")
    assert get_tier(doc) == doc._.tier == ""
    set_tier(doc, "silver")
    assert get_tier(doc) == doc._.tier == "silver"
    doc._.tier = "gold"
    assert get_tier(doc) == "gold"
    doc._.tier = ""
    assert get_tier(doc) == "" and not doc.user_data


def test_tier_is_carried_along(nlp):
    docs = [nlp("Gut."), nlp("Brain.")]
    set_tier(docs[1], "platinum")
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    again = list(DocBin(store_user_data=True).from_bytes(data).get_docs(nlp.vocab))
    assert [get_tier(doc) for doc in again] == ["", "platinum"]
    assert get_tier(pickle.loads(pickle.dumps(docs[1]))) == "platinum"
    assert get_tier(docs[1].copy()) == "platinum"


@pytest.mark.parametrize("value", [None, 1, ["gold"]])
def test_tier_is_a_string(nlp, value):
    doc = nlp("Gut.")
    with pytest.raises(ValueError, match="expected a string such as 'gold'"):
        doc._.tier = value
    assert not doc.user_data
