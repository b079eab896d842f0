"""Thresholds of the component relation_extractor on held-out documents."""

import numpy
import pytest
import spacy

from ..relation_pipeline import (
    NAME,
    TRAIN,
    initialize,
    make_examples,
    make_nlp,
    train,
)


@pytest.fixture(scope="module")
def half_trained():
    """A pipeline that is unsure, and examples that have been through it."""
    nlp = make_nlp()
    train(nlp, initialize(nlp), 7, rate=0.002)
    return nlp


def processed(nlp):
    examples = make_examples(nlp, TRAIN * 2)
    for eg in examples:
        eg.predicted = nlp(eg.predicted)
    return examples


@pytest.mark.parametrize("input", ["gold", "pred"])
@pytest.mark.parametrize("metric", ["bt", "tt", "tm", "mean"])
@pytest.mark.parametrize("one_per_pair", [True, False])
def test_tuned_threshold_is_the_best(half_trained, input, metric, one_per_pair):
    nlp = make_nlp().from_bytes(half_trained.to_bytes())
    pipe = nlp.get_pipe(NAME)
    pipe.cfg["one_predicate_per_pair"] = one_per_pair
    examples = processed(nlp)
    result = pipe.tune_thresholds(examples, metric=metric, input=input)
    name = f"rel_{input}_{metric}_micro_f"
    assert result["threshold"] == pipe.cfg["threshold"] and result["thresholds"] == {}
    assert result[name] == pytest.approx(nlp.evaluate(make_examples(nlp, TRAIN * 2))[name])
    others = []
    for threshold in numpy.linspace(0.0, 1.0, 41):
        pipe.cfg["threshold"] = threshold
        others.append(nlp.evaluate(make_examples(nlp, TRAIN * 2))[name])
    assert result[name] >= max(others) - 1e-9
    assert max(others) > min(others)
    again = pipe.tune_thresholds(
        examples, metric=metric, input=input, per_predicate=True, min_gold=1
    )
    assert again[name] >= result[name] - 1e-12
    assert again[name] == pytest.approx(nlp.evaluate(make_examples(nlp, TRAIN * 2))[name])


def test_tuned_thresholds_are_saved(half_trained, tmp_path):
    nlp = make_nlp().from_bytes(half_trained.to_bytes())
    result = nlp.get_pipe(NAME).tune_thresholds(processed(nlp), per_predicate=True, min_gold=1)
    nlp.to_disk(tmp_path)
    cfg = spacy.load(tmp_path).get_pipe(NAME).cfg
    assert cfg["threshold"] == pytest.approx(result["threshold"])
    assert cfg["thresholds"] == pytest.approx(result["thresholds"])


def test_errors_of_tuning(half_trained):
    pipe = half_trained.get_pipe(NAME)
    examples = processed(half_trained)
    with pytest.raises(ValueError, match="Unknown metric 'ner': expected one of bt, .* mean"):
        pipe.tune_thresholds(examples, metric="ner")
    with pytest.raises(ValueError, match="Unknown input 'silver'"):
        pipe.tune_thresholds(examples, input="silver")
    with pytest.raises(ValueError, match="no reference holds a relation"):
        pipe.tune_thresholds(examples[2:5])
    with pytest.raises(ValueError, match=f"'{NAME}'.*metric 'c', because no reference holds"):
        pipe.tune_thresholds(examples, metric="c")
    bare = make_examples(half_trained)  # without predicted mentions
    threshold = pipe.cfg["threshold"]
    with pytest.warns(UserWarning, match="no gold relation can be predicted over pred mentions"):
        assert pipe.tune_thresholds(bare, input="pred")["threshold"] == threshold
