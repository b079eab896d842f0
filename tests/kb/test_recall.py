import numpy
import pytest

from spacy_bioie.kb.index import NameIndex
from spacy_bioie.kb.lexical import normalise_rows
from spacy_bioie.kb.recall import ExactNeighbours, misspelt_names


@pytest.fixture(scope="module")
def vectors():
    random = numpy.random.default_rng(0)
    return normalise_rows(random.normal(size=(900, 16)).astype("float32"))


def test_neighbours_are_those_of_all_vectors(vectors):
    exact = ExactNeighbours(vectors[:20], 10)
    for begin, end in ((0, 4), (4, 500), (500, 900)):  # the first part has fewer than ten
        exact.add(vectors[begin:end])
    expected = numpy.argsort(-(vectors[:20] @ vectors.T), axis=1)[:, :10]
    numpy.testing.assert_array_equal(exact.rows, expected)
    assert exact.recall(NameIndex.build(vectors)) == 1.0


def test_recall_counts_what_an_index_misses(vectors):
    exact = ExactNeighbours(vectors[:20], 10)
    exact.add(vectors)
    coarse = NameIndex.build(vectors, "IVF16,Flat")  # looks into one of 16 lists
    _, found = coarse.search(vectors[:20], 10)
    shared = [
        len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.rows.tolist(), strict=True)
    ]
    assert exact.recall(coarse) == pytest.approx(sum(shared) / 200) and 0 < sum(shared) < 200


def test_fewer_names_than_ten(vectors):
    exact = ExactNeighbours(vectors[:2], 10)
    exact.add(vectors[:3])
    assert exact.rows.shape == (2, 3)
    assert exact.recall(NameIndex.build(vectors[:3], "SQ8")) == 1.0


def test_names_with_a_slip():
    names = [f"name number {i}" for i in range(50)] + ["a", "β", "-"]
    drawn = misspelt_names(names, 20, seed=3)
    assert drawn == misspelt_names(names, 20, seed=3) != misspelt_names(names, 20, seed=4)
    assert len(drawn) == 20 and len(misspelt_names(names, 99)) == len(names)
    for name, slip in zip(names, misspelt_names(names, 99), strict=True):
        assert slip and len(name) - len(slip) in (0, 1, 2)  # a blank at the end goes as well
        if len(slip) == len(name):
            assert sorted(slip) == sorted(name)
    assert (
        sum(slip == name for name, slip in zip(names, misspelt_names(names, 99), strict=True)) < 9
    )
