import gzip
import json

import numpy
import pytest

from spacy_bioie.kb.name_encoders import TransformerNameEncoder

from ..tiny_encoder import make_tiny_bert

NAMES = ["gut microbiota", "gut", "major depressive disorder", "IL-6", "il 6", "depression"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("kb") / "kb.jsonl.gz"
    records = [{"id": f"C{i}", "name": name} for i, name in enumerate(NAMES)]
    with gzip.open(path, "wt", encoding="utf8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return TransformerNameEncoder(make_tiny_bert(tmp_path_factory.mktemp("encoder") / "tiny"))


@pytest.fixture
def cache(source, encoder, tmp_path, monkeypatch):
    import scale_data

    monkeypatch.setattr(scale_data, "CHUNK", 2)
    scale_data.encode_names(source, tmp_path / "cache", encoder)
    return tmp_path / "cache"


def test_vectors_are_kept_in_parts(source, encoder, cache):
    import scale_data

    names = (cache / "names.txt").read_text(encoding="utf8").split("\n")
    assert names == ["gut", "il 6", "depression", "gut microbiota", "major depressive disorder"]
    files = sorted(cache.glob("*.npy"))
    assert [file.name for file in files] == ["0000.npy", "0001.npy", "0002.npy"]
    kept = files[0].stat().st_mtime_ns
    files[2].unlink()  # a run that was stopped
    with pytest.raises(ValueError, match="vectors of 4 names: expected 5"):
        scale_data.ScaleEncoder(cache, encoder)
    scale_data.encode_names(source, cache, encoder)
    assert files[0].stat().st_mtime_ns == kept
    found = scale_data.ScaleEncoder(cache, encoder).encode(names)
    numpy.testing.assert_allclose(found, encoder.encode(names), atol=2e-3)


def test_derived_and_other_names(cache, encoder):
    import scale_data

    scaled = scale_data.ScaleEncoder(cache, encoder)
    names = ["gut", "gut depression", "gut disorder", "unheard of"]
    vectors = scaled.encode(names)
    numpy.testing.assert_allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = vectors[1:3] @ vectors[0]
    numpy.testing.assert_allclose(cosines, scale_data.COSINE, atol=0.4)  # few dimensions here
    assert (numpy.abs(cosines) < 0.999).all() and vectors[1] @ vectors[2] < 0.999
    numpy.testing.assert_allclose(vectors[3:], encoder.encode(names[3:]), atol=1e-6)
    numpy.testing.assert_array_equal(scaled.encode(names[2:0:-1]), vectors[2:0:-1])
    assert scaled.settings() == encoder.settings()


def test_concepts_with_derived_names(source):
    import scale_data

    concepts = list(scale_data.scale_concepts(source, 14))
    assert [c.name for c in concepts[:6]] == NAMES
    derived = [c for c in concepts if "~" in c.concept_id]
    real = set(scale_data.real_names(source))
    assert len(real | {c.name for c in derived}) >= 12 and len(concepts) < 18
    words = {word for name in real for word in name.split()}
    for concept in derived:
        base, _, word = concept.name.rpartition(" ")
        assert base in real and word in words
    assert concepts == list(scale_data.scale_concepts(source, 14))
    assert len(list(scale_data.scale_concepts(source, 0))) == 6
