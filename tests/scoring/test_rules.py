import numpy
import pytest

from spacy_bioie.scoring.rules import (
    TASKS,
    check_rules,
    count_items,
    distinct_items,
    get_task,
    longest_of_chains,
    precision_recall_f1,
)

A, B, C = ("DDF", "human"), ("DDF", "animal"), ("drug", "DDF")


def figures(gold, predicted, rules, task="bt"):
    table = count_items(gold, predicted, TASKS[task], rules)
    return table, table.averages()


def test_repeated_hits_count_again_in_2025():
    table, averages = figures([[A]], [[A, A, A]], "official-2025")
    assert averages["micro_r"] == pytest.approx(3.0)
    assert averages["micro_f"] == pytest.approx(1.5)
    assert table.duplicates == 2
    assert table.totals.tolist() == [[3, 0, -2]]


@pytest.mark.parametrize("rules", ["official-2026", "strict"])
def test_repeated_predictions_count_once_elsewhere(rules):
    table, averages = figures([[A, B]], [[A, A, A]], rules)
    assert table.duplicates == 2
    assert averages["micro_p"] == pytest.approx(1.0)
    assert averages["micro_r"] == pytest.approx(0.5)


def test_repeated_errors_hurt_in_2025():
    _, averages = figures([[A], [B]], [[A, B, B], []], "official-2025")
    assert averages["micro_p"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("rules", ["official-2025", "official-2026"])
def test_classes_without_gold_are_ignored(rules):
    table, averages = figures([[A], [A]], [[A, C], [A, C, B]], rules)
    assert averages["micro_f"] == pytest.approx(1.0)
    assert averages["macro_f"] == pytest.approx(1.0)
    assert table.ignored == 3


def test_strict_counts_every_prediction():
    table, averages = figures([[A], [A]], [[A, C], [A, C, B]], "strict")
    assert averages["micro_p"] == pytest.approx(2 / 5)
    assert averages["macro_p"] == pytest.approx(1.0)  # a mean over gold's classes
    assert table.ignored == 0


def test_macro_f1_is_the_mean_of_class_f1():
    # class A: P 1, R 1/2, F 2/3; class B: P 1/2, R 1, F 2/3
    _, averages = figures([[A, B], [A]], [[A, B], [B]], "official-2025")
    assert averages["macro_p"] == pytest.approx(0.75)
    assert averages["macro_r"] == pytest.approx(0.75)
    assert averages["macro_f"] == pytest.approx(2 / 3)


def test_2026_drops_equal_borders_whatever_the_label():
    spans = [(0, 4, "title", "a b c", "drug"), (0, 4, "title", "a b c", "DDF")]
    gold = [[spans[1]]]
    table, averages = figures(gold, [spans], "official-2026", "ner")
    assert averages["micro_r"] == 0.0  # the first, wrong one was kept
    assert table.duplicates == 1
    _, averages = figures(gold, [spans], "strict", "ner")
    assert averages["micro_r"] == pytest.approx(1.0)


def test_2026_keeps_the_longest_of_a_chain():
    a, b, c = (0, 5, "title"), (4, 12, "title"), (10, 13, "title")
    assert longest_of_chains([c, a, b]) == [b]
    table, _ = figures([[]], [[(*x, "t", "DDF") for x in (a, b, c)]], "official-2026", "ner")
    assert table.overlapping == 2


def test_2026_spans_that_share_one_character_do_not_overlap():
    assert longest_of_chains([(0, 5, "title"), (5, 9, "title")]) == [
        (0, 5, "title"),
        (5, 9, "title"),
    ]


def test_2026_first_of_equally_long_spans_and_other_locations():
    spans = [(0, 5, "title"), (3, 8, "title"), (1, 6, "abstract")]
    assert longest_of_chains(spans) == [(1, 6, "abstract"), (0, 5, "title")]


def test_2026_a_short_span_does_not_shorten_the_chain():
    assert longest_of_chains([(0, 9, "title"), (1, 2, "title"), (5, 8, "title")]) == [
        (0, 9, "title")
    ]


def test_distinct_items_keep_the_first():
    assert distinct_items([B, A, B]) == [B, A]


def test_denominators():
    assert precision_recall_f1(numpy.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    precision = precision_recall_f1(numpy.asarray([1, 0, 0]))[0]
    assert precision == 1 / (1 + 1e-10)


def test_counts_are_kept_by_document():
    table, _ = figures([[A], [B], []], [[A], [A], [B]], "strict")
    assert table.counts.shape == (3, 2, 3)
    assert table.counts[:, table.classes.index(A)].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_nothing_at_all():
    _, averages = figures([[], []], [[], []], "official-2025")
    assert set(averages.values()) == {0.0}


def test_unknown_names():
    with pytest.raises(ValueError, match="Unknown task 're'.*ner, nerd"):
        get_task("re")
    with pytest.raises(ValueError, match="Unknown rules '2025'.*official-2025"):
        check_rules("2025")
