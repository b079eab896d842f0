"""Thresholds against a search through all of them."""

import numpy
import pytest

from spacy_bioie.models.threshold_search import ScoredItems, best_threshold, best_thresholds


def make_items(seed, n=60, n_keys=40, n_groups=3, ties=False):
    rng = numpy.random.default_rng(seed)
    keys = rng.integers(0, n_keys, n)
    gold = rng.random(n_keys) < 0.4
    hits = gold[keys]
    scores = numpy.clip(rng.normal(0.35 + 0.2 * hits, 0.2), 0.001, 0.999)
    if ties:
        scores = scores.round(1)
    return ScoredItems(keys, scores, hits, rng.integers(0, n_groups, n), int(gold.sum()) + 3)


def f1_of(items, kept, n_more=0, hits_more=0):
    predicted = set(items.keys[kept].tolist())
    hits = len(set(items.keys[kept & items.hits].tolist()))
    return 2 * (hits + hits_more) / (len(predicted) + n_more + items.n_gold)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_common_threshold(seed, ties):
    items = make_items(seed, ties=ties)
    cut = best_threshold(items)
    every = [f1_of(items, items.scores >= threshold) for threshold in items.scores]
    assert cut.f1 == pytest.approx(max(every))
    assert f1_of(items, items.scores >= cut.threshold) == pytest.approx(cut.f1)


def test_base():
    items = make_items(0)
    cut = best_threshold(items, base=(10, 8))
    every = [f1_of(items, items.scores >= threshold, 10, 8) for threshold in items.scores]
    assert cut.f1 == pytest.approx(max(every))


def test_place_of_the_threshold():
    scores = numpy.asarray([0.9, 0.7, 0.312, 0.301, 0.3])
    hits = numpy.asarray([True, True, True, False, False])
    items = ScoredItems(numpy.arange(5), scores, hits, numpy.zeros(5, dtype=int), 3)
    assert best_threshold(items) == (0.31, 1.0)
    close = items.scores.copy()
    close[3] = 0.3119996
    items = ScoredItems(items.keys, close, hits, items.groups, 3)
    threshold, _ = best_threshold(items)
    assert 0.3119996 < threshold <= 0.312 and threshold == round(threshold, 7)


def test_an_item_counts_once():
    keys = numpy.asarray([1, 1, 1, 2])
    scores = numpy.asarray([0.9, 0.5, 0.4, 0.2])
    hits = numpy.asarray([True, True, True, False])
    items = ScoredItems(keys, scores, hits, numpy.zeros(4, dtype=int), 1)
    # below 0.9 nothing new comes before 0.2
    assert best_threshold(items) == (0.55, 1.0)


def test_nothing_to_find():
    nothing = make_items(0).select(numpy.zeros(60, dtype=bool))
    assert best_threshold(nothing) == (None, 0.0)
    wrong = make_items(0).select(~make_items(0).hits)
    assert best_threshold(wrong) == (None, 0.0)
    assert best_thresholds(nothing, 0.5, 1) == ({}, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_of_groups(seed):
    items = make_items(seed)
    common = best_threshold(items)
    moved, f1 = best_thresholds(items, common.threshold, 1)
    assert f1 >= common.f1
    thresholds = numpy.asarray([moved.get(group, common.threshold) for group in range(3)])
    assert f1_of(items, items.scores >= thresholds[items.groups]) == pytest.approx(f1)
    # no single threshold can be moved to a better place
    for group in range(3):
        for value in items.scores:
            other = thresholds.copy()
            other[group] = value
            assert f1_of(items, items.scores >= other[items.groups]) <= f1 + 1e-12


def test_groups_with_few_gold_items_keep_the_common_threshold():
    items = make_items(1)
    sizes = [len(set(items.keys[items.hits & (items.groups == g)].tolist())) for g in range(3)]
    moved, _ = best_thresholds(items, 0.9, max(sizes))
    assert set(moved) <= {group for group in range(3) if sizes[group] == max(sizes)}
    assert best_thresholds(items, 0.9, max(sizes) + 1)[0] == {}
