"""What the span pointer is told before it learns, and which spans it finds."""

import numpy
import pytest
import torch

from spacy_bioie.models.pointer_head import gold_cells
from spacy_bioie.models.span_head import get_span_head

from .pointer_models import get_module, make_docs, make_gold, make_model, rows_of


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


def test_prepare_counts_what_cannot_be_learned(docs):
    model = make_model(max_width=3)
    head = get_span_head(model)
    # fits; crosses the sections; too wide; 3 words across white space; white space alone
    rows = [(0, 1, 0), (1, 4, 0), (3, 7, 1), (5, 9, 2), (2, 3, 0), (7, 8, 1)]
    tables = [numpy.asarray(rows, dtype="int64"), *(numpy.zeros((0, 3), "int64") for _ in docs[1:])]
    cells, kept = gold_cells(head.sequences(docs), tables, 3)
    assert [token.text for token in docs[0]][7] == " "
    assert kept[0].tolist() == [True, False, False, True, False, False]
    assert cells.tolist() == [[0, 0, 0], [4, 2, 2]]
    assert head.prepare(model, [(docs, tables), (docs, tables)]) == 8
    assert "wider than 3 words" in head.limits and "two sections" in head.limits


def test_starts_from_the_frequencies_of_the_gold_spans(docs, gold):
    model = make_model(max_width=4)
    head = get_span_head(model)
    assert head.prepare(model, [(docs, gold)] * 2) == 2  # one of 5 words, seen twice
    bias = get_module(model).head_width_bias.detach().numpy()
    # of 17 words 4 are the last of their section
    for width, candidates in enumerate([17, 13, 10, 8]):
        for label in range(3):
            mentions = sum(
                int((j - i - (i < 7 < j and table is gold[0])) == width + 1 and k == label)
                for table in gold
                for i, j, k in table.tolist()
            )
            odds = (2 * mentions + 1) / (2 * candidates - 2 * mentions + 999)
            assert bias[width, label] == pytest.approx(numpy.log(odds), abs=1e-5)


def test_preparing_from_nothing(docs):
    model = make_model()
    head = get_span_head(model)
    assert head.prepare(model, []) == 0
    bias = get_module(model).head_width_bias
    torch.testing.assert_close(bias, torch.full_like(bias, -6.9068), rtol=1e-3, atol=0.0)


def test_exact_repetitions_of_a_mention_count_once(docs, gold):
    model = make_model()
    head = get_span_head(model)
    output = model.predict(docs)
    twice = [numpy.concatenate([table, table]) for table in gold]
    assert head.loss(output, twice)[0] == head.loss(output, gold)[0]
    assert head.prepare(model, [(docs, twice)]) == head.prepare(model, [(docs, gold)]) == 0


def test_bad_mentions(docs):
    model = make_model()
    head = get_span_head(model)
    output = model.predict(docs)
    empty = numpy.zeros((0, 3), dtype="int64")
    with pytest.raises(ValueError, match="Mentions of 1 documents for 5 documents"):
        head.loss(output, [empty])
    tables = [empty, empty, numpy.asarray([(0, 2, 1)]), empty, empty]
    with pytest.raises(ValueError, match=r"Document 2 .* tokens 0 to 2, but it has 1 tokens"):
        head.loss(output, tables)


def decode(model, docs, cells):
    """Decode from probabilities: (document, first word, words, label) -> probability."""
    output = model.predict(docs)
    output.logits[:] = numpy.where(numpy.isneginf(output.logits), -numpy.inf, -5.0)
    first_words = output.words.words_before[output.words.doc_starts]
    for (doc, word, n, label), p in cells.items():
        assert numpy.isfinite(output.logits[first_words[doc] + word, n - 1, label])
        output.logits[first_words[doc] + word, n - 1, label] = numpy.log(p / (1 - p))
    return [rows_of(spans) for spans in get_span_head(model).decode(output)]


def test_overlap(docs):
    cells = {
        (4, 0, 4, 0): 0.9,
        (4, 1, 2, 0): 0.8,  # inside the first
        (4, 2, 4, 1): 0.95,  # crosses it, and is better
        (4, 3, 3, 1): 0.7,  # crosses the first too, and lies inside the better one
        (4, 2, 4, 2): 0.6,  # has its borders
        (4, 6, 2, 0): 0.51,
        (4, 7, 1, 0): 0.49,
        (0, 0, 1, 0): 0.9,
    }
    found = {
        overlap: decode(make_model(overlap=overlap), docs, cells)
        for overlap in ("any", "nested", "flat")
    }
    rest = [(2, 6, 1), (2, 6, 2), (3, 6, 1), (6, 8, 0)]
    assert found["any"] == [[(0, 1, 0)], [], [], [], [(0, 4, 0), (1, 3, 0), *rest]]
    # (1, 3) crosses the best span too, but is inside of one that was left out
    assert found["nested"] == [[(0, 1, 0)], [], [], [], rest]
    assert found["flat"] == [[(0, 1, 0)], [], [], [], [(2, 6, 1), (6, 8, 0)]]


def test_min_score_and_temperature(docs):
    cells = {(4, 0, 1, 0): 0.9, (4, 1, 1, 0): 0.5, (4, 2, 1, 0): 0.3, (4, 3, 1, 0): 0.2}
    every = [(i, i + 1, 0) for i in range(4)]
    for min_score, n in ((0.25, 3), (0.5, 2), (0.75, 1)):
        assert decode(make_model(min_score=min_score), docs, cells)[4] == every[:n]
    model = make_model()
    model.attrs["temperature"] = 2.0
    assert decode(model, docs, cells)[4] == every[:2]  # .5 stays where it is
    output = model.predict(docs)
    sharp = get_span_head(make_model()).decode(make_model().predict(docs))
    for soft, spans in zip(get_span_head(model).decode(output), sharp, strict=True):
        assert rows_of(soft) == rows_of(spans)
        sure = numpy.sqrt(spans.scores.astype("float64"))
        expected = sure / (sure + numpy.sqrt(1.0 - spans.scores))
        numpy.testing.assert_allclose(soft.scores, expected, rtol=1e-3)


def test_rescoring_keeps_the_spans(docs):
    model = make_model(min_score=0.3, overlap="nested")
    model.attrs["temperature"] = 40.0
    head = get_span_head(model)
    output = model.predict(docs)
    expected = head.decode(output)
    assert min(spans.scores.min(initial=1.0) for spans in expected) < 0.5
    for temperature in (20.0, 40.0, 90.0):
        for spans, wanted in zip(head.rescore(output, temperature), expected, strict=True):
            assert rows_of(spans) == rows_of(wanted)
            odds = numpy.log(wanted.scores / (1.0 - wanted.scores))
            probabilities = 1.0 / (1.0 + numpy.exp(-odds * 40.0 / temperature))
            numpy.testing.assert_allclose(spans.scores, probabilities, rtol=1e-3)


@pytest.mark.parametrize("overlap", ["any", "nested", "flat"])
def test_a_threshold_on_candidates_equals_a_higher_min_score(docs, overlap):
    low, high = (make_model(overlap=overlap, min_score=score) for score in (0.3, 0.7))
    for model in (low, high):
        model.attrs["temperature"] = 10.0
    found, expected = (get_span_head(m).decode(m.predict(docs)) for m in (low, high))
    assert sum(map(len, (s.scores for s in found))) > sum(map(len, (s.scores for s in expected)))
    for spans, wanted in zip(found, expected, strict=True):
        kept = spans.scores >= 0.7
        assert rows_of(wanted) == [row for row, k in zip(rows_of(spans), kept, strict=True) if k]


def test_batch_equals_single(docs):
    for overlap in ("any", "nested", "flat"):
        model = make_model(overlap=overlap, chunk_size=24)
        head = get_span_head(model)
        together = head.decode(model.predict(docs))
        assert sum(len(spans.scores) for spans in together) > 5
        for doc, spans in zip(docs, together, strict=True):
            (alone,) = head.decode(model.predict([doc]))
            assert rows_of(alone) == rows_of(spans)
            numpy.testing.assert_allclose(alone.scores, spans.scores, rtol=1e-4, atol=1e-6)
