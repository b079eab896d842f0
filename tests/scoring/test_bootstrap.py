import random

import numpy
import pytest

from spacy_bioie.scoring.bootstrap import (
    confidence_intervals,
    document_weights,
    paired_bootstrap,
    paired_table_bootstrap,
    resample_averages,
    table_intervals,
)
from spacy_bioie.scoring.gutbrainie import count
from spacy_bioie.scoring.rules import TASKS, count_items

from .builders import entity

LABELS = ("DDF", "drug", "food")


def corpus(documents=30, missing=0.0, seed=1):
    """Gold annotation, or with ``missing`` above 0 a prediction that lacks some of it."""
    random_ = random.Random(seed)
    out = {}
    for i in range(documents):
        records = [entity(10 * j, 10 * j + 4, label=LABELS[(i + j) % 3]) for j in range(6)]
        out[str(i)] = {"entities": [r for r in records if random_.random() >= missing]}
    return out


def test_identical_systems_do_not_differ():
    pred = corpus(missing=0.3)
    for difference in paired_bootstrap(corpus(), pred, pred, "ner", n=200).values():
        assert (difference.difference, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.p_value == 1.0


def test_better_system_lies_above_zero():
    differences = paired_bootstrap(
        corpus(), corpus(missing=0.1), corpus(missing=0.5, seed=2), "ner", "strict", n=1000
    )
    for name in ("micro_f", "macro_f", "micro_r"):
        assert differences[name].low > 0
        assert differences[name].low < differences[name].difference < differences[name].high
        assert differences[name].p_value == pytest.approx(2 / 1001)


def test_turned_around():
    gold, a, b = corpus(), corpus(missing=0.2), corpus(missing=0.3, seed=5)
    forth = paired_bootstrap(gold, a, b, "ner", n=300)["micro_f"]
    back = paired_bootstrap(gold, b, a, "ner", n=300)["micro_f"]
    assert back.difference == -forth.difference
    assert back.low == pytest.approx(-forth.high)
    assert back.p_value == forth.p_value


def test_seed_repeats_and_matters():
    gold, pred = corpus(), corpus(missing=0.3)
    first = confidence_intervals(gold, pred, "ner", n=200, seed=3)
    assert first == confidence_intervals(gold, pred, "ner", n=200, seed=3)
    assert first != confidence_intervals(gold, pred, "ner", n=200, seed=4)
    assert first["micro_f"].low < first["micro_f"].value < first["micro_f"].high


@pytest.mark.parametrize("rules", ["official-2025", "strict"])
def test_resamples_equal_scoring_the_drawn_documents(rules):
    random_ = random.Random(0)
    classes = [("DDF", "human"), ("DDF", "DDF"), ("drug", "DDF")]
    gold = [random_.sample(classes[:2], k=random_.randint(0, 2)) for _ in range(7)]
    pred = [random_.sample(classes, k=random_.randint(0, 3)) for _ in range(7)]
    table = count_items(gold, pred, TASKS["bt"], rules)
    weights = document_weights(7, 50, seed=0)
    assert weights.sum(axis=1).tolist() == [7] * 50
    in_gold = {item for items in gold for item in items}
    resampled = resample_averages(table, weights)
    for row, figures in zip(weights, resampled, strict=True):
        drawn = [i for i, times in enumerate(row) for _ in range(times)]
        given = [[p for p in pred[i] if rules == "strict" or p in in_gold] for i in drawn]
        # all predictions that the full set does not ignore count in every resample
        micro = count_items([gold[i] for i in drawn], given, TASKS["bt"], "strict").averages()
        expected = [micro[f"{average}_{f}"] for average in ("micro", "macro") for f in "prf"]
        assert figures == pytest.approx(expected)


def test_many_resamples_in_chunks(monkeypatch):
    table = count(corpus(), corpus(missing=0.3), "ner")
    whole = table_intervals(table, 500, seed=0)
    monkeypatch.setattr("spacy_bioie.scoring.bootstrap._CHUNK", 100)
    assert table_intervals(table, 500, seed=0) == whole


def test_errors():
    gold = corpus(5)
    with pytest.raises(ValueError, match="Cannot draw 0 resamples of 5 documents"):
        confidence_intervals(gold, gold, "ner", n=0)
    with pytest.raises(ValueError, match="resamples of 0 documents"):
        confidence_intervals({}, gold, "ner")
    with pytest.raises(ValueError, match="level of a confidence interval is 95"):
        confidence_intervals(gold, gold, "ner", n=5, level=95)
    with pytest.raises(ValueError, match="5 and 6 documents"):
        paired_table_bootstrap(count(gold, gold, "ner"), count(corpus(6), corpus(6), "ner"), 10)
    with pytest.raises(ValueError, match="second: PMID 0: expected an object"):
        paired_bootstrap(gold, gold, {"0": 1}, "ner", name_b="second")


def test_interval_of_dev(dev, peers):
    interval = confidence_intervals(dev, peers["gut-instincts-ner"], "ner", n=2000)["micro_f"]
    assert numpy.allclose([interval.low, interval.high], [0.812, 0.885], atol=0.006)
    interval = confidence_intervals(dev, peers["gut-instincts-tm"], "tm", n=2000)["micro_f"]
    assert numpy.allclose([interval.low, interval.high], [0.452, 0.546], atol=0.006)


def test_systems_of_dev_differ(dev, peers):
    differences = paired_bootstrap(
        dev, peers["gut-instincts-ner"], peers["baseline-ner"], "ner", n=2000
    )
    assert differences["micro_f"].low > 0.02
