"""Relations by the distance of their mentions and by predicate."""

import pytest
import spacy
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions, set_relations
from spacy_bioie.scoring.relation_reports import (
    DISTANCES,
    report_relation_sets,
    report_relations,
)
from spacy_bioie.scoring.relations import doc_relation_keys

TEXT = "Mice\nRats ran. Colitis of rats. Nothing here. Pain came. Then anxiety."
WORDS = {"Mice": "animal", "Rats": "animal", "Colitis": "DDF", "rats": "animal"}
WORDS |= {"Pain": "DDF", "anxiety": "DDF"}


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("en")
    nlp.add_pipe("biomedical_sentencizer")
    return nlp


def annotated(nlp, relations, sentences=True):
    doc = nlp(TEXT) if sentences else nlp.make_doc(TEXT)
    mentions = [Mention(t.i, t.i + 1, WORDS[t.text], t.text) for t in doc if t.text in WORDS]
    set_mentions(doc, "sc", mentions)
    if relations is not None:
        set_relations(doc, "sc", [(*row, 1.0) for row in relations])
    return doc


GOLD = [
    ("Colitis", "target", "rats"),
    ("Colitis", "target", "Rats"),
    ("Colitis", "target", "Mice"),
    ("Colitis", "affect", "Pain"),
    ("anxiety", "target", "rats"),
    ("anxiety", "target", "Rats"),
]
PREDICTED = [*GOLD[:2], ("Pain", "affect", "anxiety"), ("Mice", "is", "Rats"), GOLD[5]]


def test_by_distance_and_predicate(nlp):
    example = Example(annotated(nlp, PREDICTED), annotated(nlp, GOLD, sentences=False))
    silent = Example(annotated(nlp, PREDICTED), annotated(nlp, None))
    report = report_relations([example, silent])
    assert list(report["distance"]) == list(DISTANCES)
    rows = {name: (row["gold"], row["predicted"]) for name, row in report["distance"].items()}
    assert rows == {
        "same sentence": (1, 1),
        "1 sentence": (1, 2),
        "2 sentences": (1, 0),
        "3+ sentences": (2, 1),
        "title to abstract": (1, 1),
    }
    figures = {name: [row[f] for f in "prf"] for name, row in report["distance"].items()}
    assert figures["same sentence"] == pytest.approx([1.0, 1.0, 1.0])
    assert figures["1 sentence"] == pytest.approx([0.5, 1.0, 2 / 3])
    assert figures["3+ sentences"] == pytest.approx([1.0, 0.5, 2 / 3])
    assert figures["2 sentences"] == figures["title to abstract"] == [0.0, 0.0, 0.0]
    predicates = report["predicate"]
    assert list(predicates) == ["affect", "is", "target"]
    assert predicates["target"]["r"] == pytest.approx(3 / 5)
    assert predicates["is"] == {"p": 0.0, "r": 0.0, "f": 0.0, "gold": 0, "predicted": 1}


def test_sets_over_several_documents(nlp):
    docs = [annotated(nlp, rows) for rows in (GOLD, PREDICTED, [])]
    keys = [doc_relation_keys(doc) for doc in docs]
    report = report_relation_sets(docs, keys, keys)
    for table in report.values():
        assert all(row["gold"] == row["predicted"] for row in table.values())
        assert sum(row["gold"] for row in table.values()) == len(GOLD) + len(PREDICTED)
    swapped = report_relation_sets(docs[:2], keys[:2], keys[1::-1])
    assert swapped["predicate"]["affect"]["f"] == 0.0
    assert report_relation_sets([], [], []) == {
        "distance": {
            name: {"p": 0.0, "r": 0.0, "f": 0.0, "gold": 0, "predicted": 0} for name in DISTANCES
        },
        "predicate": {},
    }


def test_without_sentences(nlp):
    docs = [annotated(nlp, GOLD, sentences=False) for _ in range(2)]
    with pytest.raises(ValueError, match="'Mice.* has no sentence borders"):
        report_relations([Example(*docs)])
