"""Relations between concepts: scores over gold mentions, and thresholds."""

from dataclasses import replace

import numpy
import pytest

from spacy_bioie.annotation import get_mentions, set_concept_rows, set_mentions

from ..relation_pipeline import NAME, TRAIN, initialize, make_examples, make_nlp, train


@pytest.fixture(scope="module")
def half_trained():
    """A pipeline that is unsure."""
    nlp = make_nlp()
    train(nlp, initialize(nlp), 7, rate=0.002)
    return nlp


def processed(nlp):
    examples = make_examples(nlp, TRAIN[:2])
    for eg in examples:
        eg.predicted = nlp(eg.predicted)
    return examples


CONCEPTS = {"butyrate": "C1", "serotonin": "C1|C2", "anxiety": "D1", "rats": "A1", "gut": "L1"}


def with_concepts(doc):
    mentions = get_mentions(doc)
    found = [replace(m, kb_id=CONCEPTS.get(doc[m.start].lower_, "")) for m in mentions]
    set_mentions(doc, "sc", found)
    return doc


def linked(nlp, stated):
    """Examples that have been through the pipeline, with concepts on both sides."""
    examples = processed(nlp)
    for eg in examples:
        with_concepts(eg.reference)
        with_concepts(eg.predicted)
        if stated:
            triples = {(r.head, r.label, r.tail) for r in eg.reference._.concept_relations}
            # the other way around: the order counts for nothing
            set_concept_rows(eg.reference, [t[::-1] for t in sorted(triples)])
    return examples


@pytest.mark.parametrize("input", ["gold", "pred"])
@pytest.mark.parametrize("stated", [False, True])
def test_threshold_for_concepts_is_the_best(half_trained, input, stated):
    config = {"scorer": {"@scorers": "spacy_bioie.relation_scorer.v1", "symmetric": ["*"]}}
    nlp = make_nlp(**config).from_bytes(half_trained.to_bytes())
    pipe = nlp.get_pipe(NAME)
    examples = linked(nlp, stated)
    name = f"rel_{input}_c_micro_f"

    def figure():
        for eg in examples:
            pipe(eg.predicted)
        return pipe.score(examples)[name]

    result = pipe.tune_thresholds(examples, metric="c", input=input)
    assert result[name] == pytest.approx(figure())
    others = []
    for threshold in numpy.linspace(0.0, 1.0, 15):
        pipe.cfg["threshold"] = threshold
        others.append(figure())
    assert result[name] >= max(others) - 1e-9 and max(others) > min(others)
    again = pipe.tune_thresholds(examples, metric="c", input=input, per_predicate=True, min_gold=1)
    assert again[name] >= result[name] - 1e-12
    assert again[name] == pytest.approx(figure())


def test_concepts_of_gold_mentions_are_scored():
    trained = make_nlp()
    train(trained, initialize(trained), 60)
    examples = linked(trained, False)
    for eg in examples:
        set_mentions(eg.predicted, "sc", [])
        trained.get_pipe(NAME)(eg.predicted)
    figures = trained.get_pipe(NAME).score(examples)
    assert figures["rel_gold_c_micro_f"] == pytest.approx(1.0)
    assert figures["rel_pred_c_micro_f"] == 0.0
    assert figures["rel_gold_mean_micro_f"] == pytest.approx(1.0)
    unlinked = trained.get_pipe(NAME).score(processed(trained))
    assert unlinked["rel_gold_c_micro_f"] is unlinked["rel_pred_c_micro_f"] is None
