import numpy
import pytest

from spacy_bioie.kb import lexical
from spacy_bioie.kb.lexical import LexicalVectorizer, normalise_rows

NAMES = ["depression", "depressive disorder", "gut microbiota", "k", "β cell", "😀"]


def test_vectors_have_length_one_and_similar_names_are_near():
    vectors = LexicalVectorizer.fit(NAMES).transform([*NAMES, "depressive disorders", ""])
    assert vectors.dtype == numpy.float32 and vectors.shape == (8, 256)
    lengths = numpy.linalg.norm(vectors, axis=1)
    numpy.testing.assert_allclose(lengths, [1] * 7 + [0], atol=1e-5)
    cosines = vectors[:6] @ vectors[6]
    assert cosines.argmax() == 1 and cosines[1] > 0.8 and abs(cosines[2]) < 0.4


def test_a_name_has_the_same_vector_in_any_company(monkeypatch):
    vectorizer = LexicalVectorizer.fit(NAMES)
    together = vectorizer.transform(NAMES)
    for i, name in enumerate(NAMES):
        numpy.testing.assert_array_equal(vectorizer.transform([name])[0], together[i])
    monkeypatch.setattr(lexical, "_CHUNK", 2)
    numpy.testing.assert_array_equal(vectorizer.transform(NAMES), together)
    numpy.testing.assert_array_equal(LexicalVectorizer.fit(NAMES).idf, vectorizer.idf)


def test_idf_and_hashed_tfidf_against_a_plain_count():
    """Many dimensions and few n-grams: hashing then keeps the inner products of exact TF-IDF."""

    def grams(name):
        name = f" {name} "
        return [name[i : i + n] for n in (2, 3, 4) for i in range(len(name) - n + 1)]

    names = ["abc", "abcd", "xbcx", "abab"]
    table = sorted({gram for name in names for gram in grams(name)})
    counts = numpy.asarray([[grams(name).count(gram) for gram in table] for name in names])
    idf = numpy.log((1 + len(names)) / (1 + (counts > 0).sum(axis=0))) + 1
    exact = normalise_rows(counts * idf)
    vectors = LexicalVectorizer.fit(names, dims=1 << 16).transform(names)
    numpy.testing.assert_allclose(vectors @ vectors.T, exact @ exact.T, atol=1e-5)


def test_rare_ngrams_weigh_more():
    names = [f"{letters} disease" for letters in ("ab", "cd", "ef", "gh", "ij", "kl")]
    vectorizer = LexicalVectorizer.fit(names)
    same, other = vectorizer.transform(["ab syndrome", "ab disease"]), vectorizer.transform(names)
    assert (same @ other.T)[0].argmax() == 0


def test_no_dimensions_and_wrong_ones():
    vectorizer = LexicalVectorizer.fit(NAMES, dims=0)
    assert vectorizer.transform(NAMES).shape == (6, 0)
    with pytest.raises(ValueError, match="lexical_dims is -1"):
        LexicalVectorizer.fit(NAMES, dims=-1)


def test_nothing_to_fit_or_to_transform():
    vectorizer = LexicalVectorizer.fit([])
    assert vectorizer.transform([]).shape == (0, 256)
    assert numpy.linalg.norm(vectorizer.transform(["x"])) == pytest.approx(1)
