import faiss
import numpy
import pytest
import torch

from spacy_bioie.kb.lexical import normalise_rows
from spacy_bioie.kb.torch_search import TorchSearcher


def flat(vectors):
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


@pytest.fixture(scope="module")
def vectors():
    random = numpy.random.default_rng(0)
    return normalise_rows(random.normal(size=(1500, 24)).astype("float32"))


@pytest.mark.parametrize("n", [1, 30, 1100])  # faiss computes few and many queries differently
@pytest.mark.parametrize("max_products", [2**26, 50_000, 1])
def test_same_as_faiss(n, max_products, vectors):
    queries = normalise_rows(numpy.random.default_rng(1).normal(size=(n, 24)).astype("float32"))
    k = 3 if max_products == 1 else 32
    vectors = vectors[:100] if max_products == 1 else vectors
    products, rows = flat(vectors).search(queries, k)
    found, places = TorchSearcher(torch.from_numpy(vectors), max_products).search(queries, k)
    assert (found.dtype, places.dtype) == (numpy.float32, numpy.int64)
    numpy.testing.assert_allclose(found, products, atol=1e-6)
    # Rounding may turn neighbours around whose products differ by less than it
    apart = numpy.abs(numpy.diff(products, axis=1, prepend=2, append=-2)) > 1e-6
    clear = apart[:, :-1] & apart[:, 1:]
    assert clear.mean() > 0.99
    numpy.testing.assert_array_equal(places[clear], rows[clear])


@pytest.mark.parametrize("max_products", [2**26, 2000])
@pytest.mark.parametrize("k", [1, 4, 60, 400])
def test_equal_products_are_ordered_by_row(k, max_products):
    """Small whole numbers, so that products are exact and many of them equal.

    faiss leaves open which of the rows that are equal to the last one it gives.
    """
    random = numpy.random.default_rng(2)
    vectors = random.integers(-2, 3, size=(400, 5)).astype("float32")
    queries = random.integers(-2, 3, size=(50, 5)).astype("float32")
    found, places = TorchSearcher(torch.from_numpy(vectors), max_products).search(queries, k)
    numpy.testing.assert_array_equal(found, flat(vectors).search(queries, k)[0])
    expected = numpy.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]
    numpy.testing.assert_array_equal(places, expected)


def test_fewer_rows_than_asked_for(vectors):
    products, rows = flat(vectors[:5]).search(vectors[:3], 8)
    found, places = TorchSearcher(torch.from_numpy(vectors[:5])).search(vectors[:3], 8)
    numpy.testing.assert_array_equal(places, rows)
    numpy.testing.assert_allclose(found[:, :5], products[:, :5], atol=1e-6)
    assert (found[:, 5:] == -numpy.inf).all() and (places[:, 5:] == -1).all()


def test_nothing_to_search(vectors):
    some, none = torch.from_numpy(vectors), torch.from_numpy(vectors[:0])
    assert TorchSearcher(some).search(vectors[:0], 4)[1].shape == (0, 4)
    assert TorchSearcher(none).search(vectors[:2], 4)[1].tolist() == [[-1] * 4] * 2
    assert TorchSearcher(some).search(vectors[:2], 0)[1].shape == (2, 0)


def test_copies_an_index_in_single_or_half_precision(vectors, monkeypatch):
    monkeypatch.setattr("spacy_bioie.kb.torch_search._COPIED_ROWS", 400)
    index = flat(vectors)
    single = TorchSearcher.from_index(index, "cpu")
    numpy.testing.assert_array_equal(single.vectors.numpy(), vectors)
    half = TorchSearcher.from_index(index, "cpu", half=True)
    assert half.vectors.dtype == torch.float16
    products, rows = index.search(vectors[:50], 5)
    found, places = half.search(vectors[:50], 5)
    numpy.testing.assert_allclose(found, products, atol=1e-3)
    assert (places == rows).mean() > 0.98


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("half", [False, True])
def test_gpu_and_faiss_find_the_same(half, vectors):
    products, rows = flat(vectors).search(vectors[:200], 10)
    found, places = TorchSearcher.from_index(flat(vectors), "cuda", half).search(vectors[:200], 10)
    numpy.testing.assert_allclose(found, products, atol=1e-3 if half else 1e-5)
    assert (places == rows).mean() > (0.98 if half else 0.9999)
