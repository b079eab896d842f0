import numpy
import pytest

from spacy_bioie.kb import NoNameEncoder, indexing
from spacy_bioie.kb.index import NameIndex
from spacy_bioie.kb.indexing import index_names, vectors_in_parts
from spacy_bioie.kb.lexical import LexicalVectorizer
from spacy_bioie.kb.name_vectors import NameVectorizer

NAMES = sorted(f"{a}{b} {c}{a} {b}ase" for a in "abcdefgh" for b in "klmnopq" for c in "rstuvwx")


class Watched(NameVectorizer):
    """Tells what it was asked for."""

    def __init__(self):
        super().__init__(LexicalVectorizer.fit(NAMES, 32), NoNameEncoder())
        self.asked = []

    def vectors(self, names, progress=False):
        self.asked.append(list(names))
        return super().vectors(names)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(indexing, "CHUNK", 50)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,Flat", "HNSW8"])
def test_index_is_that_of_all_vectors_at_once(factory, tmp_path):
    vectorizer = Watched()
    index, _ = index_names(vectorizer, NAMES, factory, train_sample=130, recall_queries=0)
    assert sorted(name for part in vectorizer.asked for name in part) == NAMES  # each once
    assert max(map(len, vectorizer.asked)) == 50
    index.write(tmp_path / "parts")
    at_once = NameIndex.build(vectorizer.vectors(NAMES), factory, train_sample=130)
    at_once.write(tmp_path / "once")
    if factory != "HNSW8":  # a graph depends on what is added together
        assert (tmp_path / "parts").read_bytes() == (tmp_path / "once").read_bytes()
    queries = vectorizer.vectors(NAMES[:30])
    numpy.testing.assert_allclose(index.search(queries, 1)[0], at_once.search(queries, 1)[0])


def test_recall_is_measured_where_search_is_not_exact():
    assert index_names(Watched(), NAMES)[1] is None
    assert index_names(Watched(), NAMES, "SQ8", recall_queries=0)[1] is None
    recalls = {
        (factory, parameters): index_names(
            Watched(), NAMES, factory, parameters, recall_queries=60
        )[1]
        for factory, parameters in (
            ("SQ8", ""),
            ("IVF16,Flat", "nprobe=16"),
            ("IVF16,Flat", "nprobe=1"),
            ("PQ4x4", ""),
        )
    }
    fine, every_list, one_list, coarse = recalls.values()
    assert every_list == 1.0 and fine > 0.9
    assert 0 < one_list < 0.9 and 0 < coarse < 0.8
    again = index_names(Watched(), NAMES, "PQ4x4", recall_queries=60)[1]
    assert again == coarse
    assert index_names(Watched(), NAMES, "PQ4x4", recall_queries=60, seed=1)[1] != again


def test_strings_are_refused_before_names_are_encoded():
    vectorizer = Watched()
    with pytest.raises(ValueError, match="cannot build the index 'Magic'"):
        index_names(vectorizer, NAMES, "Magic")
    assert not vectorizer.asked


def test_vectors_in_parts():
    parts = list(vectors_in_parts(Watched(), NAMES[:120]))
    assert [len(part) for part in parts] == [50, 50, 20]
    numpy.testing.assert_array_equal(numpy.concatenate(parts), Watched().vectors(NAMES[:120]))
    assert not list(vectors_in_parts(Watched(), []))
