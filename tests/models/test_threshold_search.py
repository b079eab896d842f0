"""Thresholds against a search through all of them."""

import numpy
import pytest

from spacy_bioie.models.threshold_search import (
    ScoredItems,
    averaged_threshold,
    best_threshold,
    best_thresholds,
)


def make_items(seed, n=60, n_keys=40, n_groups=3, ties=False):
    rng = numpy.random.default_rng(seed)
    keys = rng.integers(0, n_keys, n)
    gold = rng.random(n_keys) < 0.4
    hits = gold[keys]
    scores = numpy.clip(rng.normal(0.35 + 0.2 * hits, 0.2), 0.001, 0.999)
    if ties:
        scores = scores.round(1)
    groups = rng.integers(0, n_groups, n)
    # keys of ten stand in one document; the last has gold items that nothing can predict
    doc_gold = numpy.append(gold.reshape((-1, 10)).sum(axis=1), 3)
    return ScoredItems(keys, scores, hits, groups, int(gold.sum()) + 3, keys // 10, doc_gold)


def one_document(keys, scores, hits, n_gold):
    """Items of one document and one group."""
    zeros = numpy.zeros(len(keys), dtype="int64")
    return ScoredItems(keys, scores, hits, zeros, n_gold, zeros, numpy.asarray([n_gold]))


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
    items = one_document(numpy.arange(5), scores, hits, 3)
    assert best_threshold(items) == (0.31, 1.0)
    close = items.scores.copy()
    close[3] = 0.3119996
    items = one_document(items.keys, close, hits, 3)
    threshold, _ = best_threshold(items)
    assert 0.3119996 < threshold <= 0.312 and threshold == round(threshold, 7)


def test_an_item_counts_once():
    keys = numpy.asarray([1, 1, 1, 2])
    scores = numpy.asarray([0.9, 0.5, 0.4, 0.2])
    hits = numpy.asarray([True, True, True, False])
    items = one_document(keys, scores, hits, 1)
    # below 0.9 nothing new comes before 0.2
    assert best_threshold(items) == (0.55, 1.0)


def test_nothing_to_find():
    nothing = make_items(0).select(numpy.zeros(60, dtype=bool))
    assert best_threshold(nothing) == (None, 0.0)
    wrong = make_items(0).select(~make_items(0).hits)
    assert best_threshold(wrong) == (None, 0.0)
    assert best_thresholds(nothing, 0.5, 1) == ({}, 0.0)
    assert averaged_threshold(nothing) == averaged_threshold(wrong) == (None, 0.0)


def test_averaged_threshold_of_one_document_is_the_best():
    scores = numpy.asarray([0.9, 0.7, 0.312, 0.301, 0.3])
    items = one_document(numpy.arange(5), scores, numpy.arange(5) < 3, 3)
    assert averaged_threshold(items) == best_threshold(items) == (0.31, 1.0)


def test_averaged_threshold_lies_between_those_of_the_documents():
    # the first document wants a threshold of .2, the second one of .6
    scores = numpy.asarray([0.9, 0.3, 0.1, 0.9, 0.7, 0.5, 0.4])
    hits = numpy.asarray([True, True, False, True, True, False, False])
    documents = numpy.asarray([0, 0, 0, 1, 1, 1, 1])
    groups = numpy.zeros(7, dtype="int64")
    items = ScoredItems(numpy.arange(7), scores, hits, groups, 4, documents, numpy.asarray([2, 2]))
    one, other = (
        best_threshold(one_document(*(x[rows] for x in (items.keys, scores, hits)), 2)).threshold
        for rows in (documents == 0, documents == 1)
    )
    assert (one, other) == (0.2, 0.6)
    cut = averaged_threshold(items, samples=200)
    assert one < cut.threshold < other
    assert cut.f1 == pytest.approx(f1_of(items, items.scores >= cut.threshold))
    assert averaged_threshold(items, samples=200) == cut


def test_averaged_thresholds_differ_less_between_documents():
    rng = numpy.random.default_rng(0)
    plain, averaged = [], []
    for _ in range(40):
        n, documents = 300, rng.integers(0, 10, 300)
        hits = rng.random(n) < 0.3
        scores = 1 / (1 + numpy.exp(-rng.normal(1.5 * hits - 1.0, 1.0)))
        doc_gold = numpy.bincount(documents[hits], minlength=10)
        zeros = numpy.zeros(n, dtype="int64")
        items = ScoredItems(
            numpy.arange(n), scores, hits, zeros, int(hits.sum()), documents, doc_gold
        )
        plain.append(best_threshold(items).threshold)
        averaged.append(averaged_threshold(items, samples=30).threshold)
    assert numpy.std(averaged) < numpy.std(plain)


def test_groups_with_few_gold_items_keep_the_common_threshold():
    items = make_items(1)
    sizes = [len(set(items.keys[items.hits & (items.groups == g)].tolist())) for g in range(3)]
    moved, _ = best_thresholds(items, 0.9, max(sizes))
    assert set(moved) <= {group for group in range(3) if sizes[group] == max(sizes)}
    assert best_thresholds(items, 0.9, max(sizes) + 1)[0] == {}


def mean_f1(levels, thresholds):
    return numpy.mean([f1_of(own, own.scores >= thresholds[own.groups]) for own in levels])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_mean_of_several_levels(seed, ties):
    levels = [make_items(3 * seed + i, ties=ties) for i in range(3)]
    assert averaged_threshold(levels[:1]) == averaged_threshold(levels[0])
    # of one sample that holds each document once
    scores = numpy.concatenate([own.scores for own in levels])
    best = max(mean_f1(levels, numpy.full(3, score)) for score in scores)
    cut = averaged_threshold(levels)
    assert cut.f1 == pytest.approx(mean_f1(levels, numpy.full(3, cut.threshold)))
    assert best - 0.1 < cut.f1 <= best + 1e-12
    moved, f1 = best_thresholds(levels, cut.threshold, 1)
    thresholds = numpy.asarray([moved.get(group, cut.threshold) for group in range(3)])
    assert f1 == pytest.approx(mean_f1(levels, thresholds)) and f1 >= cut.f1
    for group in range(3):
        for value in scores:
            other = thresholds.copy()
            other[group] = value
            assert mean_f1(levels, other) <= f1 + 1e-12
