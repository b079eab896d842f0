import numpy
import pytest
import spacy

from spacy_bioie.models.label_pair_table import LabelPairTable_v1
from spacy_bioie.pipeline.relation_targets import prior_logits

from ..relation_pipeline import NAME, TRAIN, initialize, make_examples, train

MODEL = {"@architectures": "spacy_bioie.LabelPairTable.v1"}


def make_nlp(**config):
    nlp = spacy.blank("en")
    nlp.add_pipe("mark_words")
    nlp.add_pipe(NAME, config={"model": MODEL, **config})
    return nlp


def scores(nlp):
    nlp.get_pipe(NAME).cfg["threshold"] = 0.0
    found = {}
    for doc in nlp.pipe(text for text, _ in TRAIN):
        for r in doc._.relations:
            found.setdefault((r.head.label_, r.label, r.tail.label_), set()).add(round(r.score, 5))
    return found


def test_untrained_it_is_the_prior(tmp_path):
    nlp = make_nlp(use_priors=True, one_predicate_per_pair=False)
    initialize(nlp)
    schema = nlp.get_pipe(NAME).schema
    table = prior_logits(make_examples(nlp), schema, "sc")
    found = scores(nlp)
    assert len(found) > 3
    for (head, predicate, tail), values in found.items():
        logit = table[
            schema.labels.index(head), schema.labels.index(tail), schema.predicates.index(predicate)
        ]
        assert list(values) == [pytest.approx(1 / (1 + numpy.exp(-logit)), abs=1e-4)]
    nlp.to_disk(tmp_path)
    assert scores(spacy.load(tmp_path)) == found


def test_learns_how_often_labels_are_related(tmp_path):
    nlp = make_nlp(one_predicate_per_pair=False)
    examples = initialize(nlp)
    train(nlp, examples, 400, rate=0.05)
    found = scores(nlp)
    counts = {}
    pipe = nlp.get_pipe(NAME)
    for eg in examples:
        related = {(r.head.start, r.label, r.tail.start) for r in eg.reference._.relations}
        for head in eg.reference.spans["sc"]:
            for tail in eg.reference.spans["sc"]:
                if head.start == tail.start:
                    continue
                for predicate in pipe.labels:
                    key = (head.label_, predicate, tail.label_)
                    if key in pipe.schema:
                        hit = (head.start, predicate, tail.start) in related
                        counts.setdefault(key, []).append(hit)
    for key, hits in counts.items():
        assert list(found[key]) == [pytest.approx(numpy.mean(hits), abs=0.03)], key
    nlp.to_disk(tmp_path)
    assert scores(spacy.load(tmp_path)) == found


def test_nothing_to_score():
    nlp = make_nlp()
    initialize(nlp)
    assert [len(doc._.relations) for doc in nlp.pipe(["", "Nothing here.", "mice"])] == [0, 0, 0]
    with pytest.raises(ValueError, match="labels and predicates are unknown"):
        LabelPairTable_v1().initialize()
