import numpy
import pytest

from spacy_bioie.kb.lexical import LexicalVectorizer
from spacy_bioie.kb.name_encoders import NoNameEncoder, TransformerNameEncoder
from spacy_bioie.kb.name_vectors import NameVectorizer

NAMES = ["depression", "depressive disorder", "gut microbiota"]


class CountingEncoder:
    dims = 3

    def __init__(self):
        self.encoded = []

    def encode(self, names, progress=False):
        self.encoded.append(list(names))
        return numpy.eye(3, dtype="float32")[[len(name) % 3 for name in names]]


def test_inner_products_are_weighted_sums_of_both_cosines(encoder_dir):
    lexical = LexicalVectorizer.fit(NAMES)
    encoder = TransformerNameEncoder(encoder_dir)
    vectorizer = NameVectorizer(lexical, encoder, lexical_weight=3, semantic_weight=1)
    vectors = vectorizer.vectors(NAMES)
    assert vectors.shape == (3, vectorizer.dims) == (3, 288)
    a, b = lexical.transform(NAMES), encoder.encode(NAMES)
    expected = 0.75 * a @ a.T + 0.25 * b @ b.T
    numpy.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)
    assert vectorizer.context_slice == slice(256, 288)


def test_without_an_encoder():
    vectorizer = NameVectorizer(LexicalVectorizer.fit(NAMES), NoNameEncoder(), lexical_weight=0.3)
    assert (vectorizer.lexical_weight, vectorizer.semantic_weight) == (1, 0)
    assert vectorizer.context_slice == slice(0, 256)


def test_vectors_are_cached_by_name_and_the_oldest_dropped():
    encoder = CountingEncoder()
    vectorizer = NameVectorizer(LexicalVectorizer.fit(NAMES), encoder, cache_size=2)
    first = vectorizer.cached_vectors(["a", "bb"])
    again = vectorizer.cached_vectors(["bb", "a", "ccc"])
    assert encoder.encoded == [["a", "bb"], ["ccc"]]
    numpy.testing.assert_array_equal(again[[1, 0]], first)
    vectorizer.cached_vectors(["bb"])
    assert encoder.encoded[2:] == [["bb"]]  # "a" and "ccc" were used later
    numpy.testing.assert_array_equal(
        vectorizer.cached_vectors(["a", "bb", "ccc", "d"])[:3], again[[1, 0, 2]]
    )
    vectorizer.cache_size = 0
    vectorizer.cached_vectors(["a"])
    assert not vectorizer._cache


def test_no_weight_at_all():
    with pytest.raises(ValueError, match="expected no negative weight"):
        NameVectorizer(LexicalVectorizer.fit(NAMES), NoNameEncoder(), lexical_weight=0)
    with pytest.raises(ValueError, match="expected no negative weight"):
        NameVectorizer(LexicalVectorizer.fit(NAMES), NoNameEncoder(), lexical_weight=-1)
