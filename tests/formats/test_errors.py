import pickle

from spacy_bioie.formats import FormatError


def test_message_joins_what_is_known():
    error = FormatError("a.json", "PMID 1", "entities[3].label", "expected a string")
    assert str(error) == "a.json: PMID 1: entities[3].label: expected a string"
    assert str(FormatError("", "line 2", "", "no text")) == "line 2: no text"
    assert isinstance(error, ValueError)


def test_survives_pickling():
    error = pickle.loads(pickle.dumps(FormatError("a.json", "PMID 1", "title", "missing")))
    assert (error.file, error.record, error.field, error.problem) == (
        "a.json",
        "PMID 1",
        "title",
        "missing",
    )
