"""Spans to tags and back."""

import numpy
import pytest
import spacy

from spacy_bioie.models.tagging import (
    count_tags,
    decode_tags,
    encode_spans,
    label_weights_of_tags,
    select_flat,
    word_sequences,
)

NO_SPANS = numpy.zeros((0, 3), dtype="int64")


@pytest.fixture(scope="module")
def blank():
    return spacy.blank("en")


def table(*rows):
    return numpy.asarray(rows, dtype="int64").reshape((-1, 3))


def spans_of(words, tags, n_labels, scheme="BIO"):
    found = decode_tags(words, tags, scheme)
    per_chain = n_labels // tags.shape[1]
    rows = zip(found.first, found.last, found.chain * per_chain + found.label, strict=True)
    return sorted(tuple(int(value) for value in row) for row in rows)


def test_sequences_follow_sections_and_leave_white_space_out(blank):
    docs = [blank("Gut  bacteria\nMice and men"), blank(""), blank("  "), blank("One section")]
    words = word_sequences(docs, 100)
    assert words.lengths.tolist() == [2, 3, 2]
    assert words.doc_lengths.tolist() == [len(doc) for doc in docs]
    flat = [token.text for doc in docs for token in doc]
    assert [flat[i] for i in words.token_rows] == [
        *("Gut", "bacteria", "Mice", "and", "men", "One", "section")
    ]
    assert words.begins_sequence.tolist() == [True, False, True, False, False, True, False]


def test_no_documents():
    words = word_sequences([], 100)
    assert len(words.token_rows) == 0 and len(words.lengths) == 0
    tags, kept = encode_spans(words, [], 3, 1)
    assert tags.shape == (0, 1) and kept == []
    assert len(decode_tags(words, tags).first) == 0
    assert count_tags(words, tags, 7).tags.tolist() == [[0] * 7]


def test_long_sections_are_cut_after_sentences(blank):
    doc = blank("one two three four . six seven eight nine ten eleven twelve thirteen . fifteen")
    assert word_sequences([doc], 8).lengths.tolist() == [5, 8, 2]
    assert word_sequences([doc], 15).lengths.tolist() == [15]
    assert word_sequences([blank("word " * 25)], 10).lengths.tolist() == [10, 10, 5]


BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["BIO", "BIOES"])


@BOTH_SCHEMES
@pytest.mark.parametrize("n_chains", [1, 3])
def test_round_trip(blank, n_chains, scheme):
    docs = [blank("a b c d e f"), blank(""), blank("a b c\nd e f")]
    gold = [table((0, 2, 1), (2, 3, 1), (3, 4, 0), (4, 6, 2)), NO_SPANS, table((0, 3, 2))]
    words = word_sequences(docs, 100)
    tags, kept = encode_spans(words, gold, 3, n_chains, scheme)
    assert tags.shape == (12, n_chains)
    assert [mask.tolist() for mask in kept] == [[True] * 4, [], [True]]
    expected = [(0, 2, 1), (2, 3, 1), (3, 4, 0), (4, 6, 2), (6, 9, 2)]
    assert spans_of(words, tags, 3, scheme) == expected


def test_numbers_of_tags(blank):
    words = word_sequences([blank("a b c d e f")], 100)
    gold = [table((0, 3, 1), (3, 4, 0), (4, 6, 1))]
    tags, _ = encode_spans(words, gold, 2, 1, "BIO")
    assert tags[:, 0].tolist() == [3, 4, 4, 1, 3, 4]
    tags, _ = encode_spans(words, gold, 2, 1, "BIOES")
    assert tags[:, 0].tolist() == [5, 6, 7, 4, 5, 7]
    tags, _ = encode_spans(words, gold, 2, 2, "BIOES")
    assert tags.T.tolist() == [[0, 0, 0, 4, 0, 0], [1, 2, 3, 0, 1, 3]]


@BOTH_SCHEMES
@pytest.mark.parametrize("n_chains", [1, 2])
def test_weights_of_labels(blank, n_chains, scheme):
    words = word_sequences([blank("a b c d e f")], 100)
    tags, _ = encode_spans(words, [table((0, 3, 1), (3, 4, 0))], 2, n_chains, scheme)
    found = label_weights_of_tags(tags, numpy.asarray([0.5, 3.0]), scheme)
    by_chain = (
        [[3, 3, 3, 0.5, 1, 1]] if n_chains == 1 else [[1, 1, 1, 0.5, 1, 1], [3, 3, 3, 1, 1, 1]]
    )
    assert found.T.tolist() == by_chain


def test_nested_spans_live_in_chains_of_their_own(blank):
    words = word_sequences([blank("a b c d")], 100)
    gold = [table((0, 4, 0), (1, 3, 1), (1, 3, 2), (3, 4, 2))]
    tags, kept = encode_spans(words, gold, 3, 3)
    assert kept[0].all()
    assert spans_of(words, tags, 3) == sorted(map(tuple, gold[0].tolist()))


def test_of_overlapping_spans_the_longest_wins(blank):
    words = word_sequences([blank("a b c d e f")], 100)
    gold = [table((1, 2, 0), (0, 3, 1), (2, 4, 0), (3, 5, 0), (5, 6, 2))]
    tags, kept = encode_spans(words, gold, 3, 1)
    # (2, 4) overlaps the longer (0, 3) and is gone, so (3, 5) is free
    assert kept[0].tolist() == [False, True, False, True, True]
    assert spans_of(words, tags, 3) == [(0, 3, 1), (3, 5, 0), (5, 6, 2)]
    tags, kept = encode_spans(words, gold, 3, 3)
    assert kept[0].tolist() == [True, True, True, False, True]


def test_equal_spans(blank):
    words = word_sequences([blank("a b c")], 100)
    _, kept = encode_spans(words, [table((0, 2, 1), (0, 2, 0), (0, 2, 1))], 2, 1)
    assert kept[0].tolist() == [False, True, False]
    _, kept = encode_spans(words, [table((0, 2, 1), (0, 2, 1))], 2, 1)
    assert kept[0].tolist() == [True, True]


def test_spans_across_sections_or_without_words_are_lost(blank):
    doc = blank("a b\nc  d")
    assert [token.text for token in doc] == ["a", "b", "\n", "c", " ", "d"]
    words = word_sequences([doc], 100)
    gold = [table((1, 4, 0), (4, 5, 0), (0, 3, 0), (3, 6, 1))]
    tags, kept = encode_spans(words, gold, 2, 1)
    assert kept[0].tolist() == [False, False, True, True]
    assert spans_of(words, tags, 2) == [(0, 2, 0), (2, 4, 1)]


def test_mentions_outside_their_document_are_an_error(blank):
    words = word_sequences([blank("a b"), blank("c d")], 100)
    with pytest.raises(ValueError, match="Document 0 .* 2 tokens"):
        encode_spans(words, [table((1, 3, 0)), NO_SPANS], 1, 1)
    with pytest.raises(ValueError, match="1 documents for 2"):
        encode_spans(words, [NO_SPANS], 1, 1)


def test_decoding_of_illegal_tags(blank):
    words = word_sequences([blank("a b c\nd e f")], 100)
    # I first; I of another label; then a sequence border inside what would be one span
    tags = numpy.asarray([2, 4, 3, 4, 4, 0])[:, None]
    assert spans_of(words, tags, 2) == [(0, 1, 0), (1, 2, 1), (2, 3, 1), (3, 5, 1)]


def test_decoding_of_illegal_tags_with_ends_and_singles(blank):
    words = word_sequences([blank("a b c d e f\ng h")], 100)
    # of one label: B that nothing goes on with, S, E after S, I and E after O; B at the end of
    # the sequence; E at the start of the next one; I of another label after B
    tags = numpy.asarray([1, 4, 3, 0, 2, 1, 3, 1])[:, None]
    assert spans_of(words, tags, 2, "BIOES") == [
        *((0, 1, 0), (1, 2, 0), (2, 3, 0), (4, 5, 0), (5, 6, 0), (6, 7, 0), (7, 8, 0))
    ]
    tags = numpy.asarray([1, 2, 3, 2, 3, 1, 6, 7])[:, None]
    words = word_sequences([blank("a b c d e f g h")], 100)
    assert spans_of(words, tags, 2, "BIOES") == [(0, 3, 0), (3, 5, 0), (5, 6, 0), (6, 8, 1)]


@pytest.mark.parametrize("n_chains", [1, 2])
def test_counts_of_tags(blank, n_chains):
    words = word_sequences([blank("a b c\nd e"), blank("f")], 100)
    tags = numpy.asarray([[1, 2, 0, 1, 1, 2], [0, 1, 2, 0, 0, 0]]).T[:, :n_chains]
    counts = count_tags(words, tags, 3)
    assert counts.tags.tolist() == [[1, 3, 2], [4, 1, 1]][:n_chains]
    assert counts.starts.tolist() == [[0, 2, 1], [3, 0, 0]][:n_chains]
    first = [[0, 0, 0], [0, 1, 1], [1, 0, 0]]  # no step from c to d, nor from e to f
    second = [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert counts.transitions.tolist() == [first, second][:n_chains]


@BOTH_SCHEMES
def test_random_round_trips(blank, scheme):
    generator = numpy.random.default_rng(0)
    docs = [blank("w " * 40) for _ in range(5)]
    words = word_sequences(docs, 13)
    for _ in range(20):
        gold = []
        for _ in docs:
            starts = generator.integers(0, 39, 30)
            ends = numpy.minimum(starts + generator.integers(1, 6, 30), 40)
            gold.append(numpy.column_stack([starts, ends, generator.integers(0, 4, 30)]))
        for n_chains in (1, 4):
            tags, kept = encode_spans(words, gold, 4, n_chains, scheme)
            expected = {
                (40 * d + i, 40 * d + j, label)
                for d, (rows, mask) in enumerate(zip(gold, kept, strict=True))
                for i, j, label in rows[mask].tolist()
            }
            assert spans_of(words, tags, 4, scheme) == sorted(expected)


def test_select_flat_equals_greedy_choice():
    generator = numpy.random.default_rng(1)
    for _ in range(50):
        n = int(generator.integers(0, 40))
        starts = generator.integers(0, 50, n)
        ends = starts + generator.integers(1, 10, n)
        ranking = generator.permutation(n)
        taken, expected = set(), numpy.zeros(n, dtype=bool)
        for i in ranking:
            cells = set(range(starts[i], ends[i]))
            expected[i] = not cells & taken
            if expected[i]:
                taken |= cells
        assert select_flat(starts, ends, ranking).tolist() == expected.tolist()
