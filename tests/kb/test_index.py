import os
import pickle

import numpy
import pytest

from spacy_bioie.kb import index as index_module
from spacy_bioie.kb.faiss_backend import import_faiss
from spacy_bioie.kb.index import NameIndex
from spacy_bioie.kb.lexical import normalise_rows


@pytest.fixture(scope="module")
def vectors():
    random = numpy.random.default_rng(0)
    return normalise_rows(random.normal(size=(2000, 16)).astype("float32"))


@pytest.mark.parametrize(
    "factory, parameters", [("Flat", ""), ("SQ8", ""), ("HNSW16", ""), ("IVF8,Flat", "nprobe=8")]
)
def test_search_save_and_load(factory, parameters, vectors, tmp_path):
    index = NameIndex.build(vectors, factory, parameters)
    assert (len(index), index.dims, index.is_exact) == (2000, 16, factory == "Flat")
    exact = numpy.argsort(-(vectors[:5] @ vectors.T), axis=1)[:, :3]
    scores, rows = index.search(vectors[:5], 3)
    assert scores.shape == rows.shape == (5, 3)
    assert (rows[:, 0] == exact[:, 0]).mean() >= 0.8
    index.write(tmp_path / "x.faiss")
    for mmap in (True, False):
        loaded = NameIndex.read(tmp_path / "x.faiss", mmap=mmap)
        numpy.testing.assert_array_equal(loaded.search(vectors[:5], 3)[1], rows)
        found = loaded.vectors(numpy.asarray([7, 3, 7]))
        numpy.testing.assert_allclose(found, vectors[[7, 3, 7]], atol=0.05)


def test_memory_mapped_index_outlives_its_file(vectors, tmp_path):
    NameIndex.build(vectors).write(tmp_path / "x.faiss")
    loaded = NameIndex.read(tmp_path / "x.faiss")
    os.remove(tmp_path / "x.faiss")
    assert loaded.search(vectors[:2], 1)[1].tolist() == [[0], [1]]


def test_fewer_names_than_asked_for(vectors):
    index = NameIndex.build(vectors[:2])
    assert index.search(vectors[:3], 10)[1].shape == (3, 2)
    assert index.search(vectors[:0], 10)[1].shape == (0, 2)
    assert NameIndex.build(vectors[:0]).search(vectors[:3], 10)[1].shape == (3, 0)


def test_refused_strings_and_files(vectors, tmp_path):
    with pytest.raises(ValueError, match="cannot build the index 'Magic'"):
        NameIndex.build(vectors, "Magic")
    with pytest.raises(ValueError, match="nonsense=3"):
        NameIndex.build(vectors, "Flat", "nonsense=3")
    with pytest.raises(ValueError, match="cannot build the index 'IVF64,Flat'"):
        NameIndex.build(vectors[:10], "IVF64,Flat")
    (tmp_path / "bad").write_bytes(b"not an index")
    with pytest.raises(ValueError, match="bad': expected an index written by faiss"):
        NameIndex.read(tmp_path / "bad")


def test_device(vectors, monkeypatch):
    with pytest.raises(ValueError, match="device is 'tpu'"):
        NameIndex(None, "tpu")
    index = NameIndex.build(vectors[:10])
    monkeypatch.setattr(index_module, "_gpu_count", lambda faiss: 0)
    index.device = "gpu"
    with pytest.raises(ValueError, match="faiss sees no GPU"):
        index.search(vectors[:1], 1)
    index.device = "auto"
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]


class FakeGpu:
    """Stands for a GPU build of faiss, whose copies are the CPU index itself."""

    def __init__(self, refuse=False):
        self.clones = 0
        self.refuse = refuse

    def get_num_gpus(self):
        return 1

    def StandardGpuResources(self):
        return object()

    def index_cpu_to_gpu(self, resources, device, index):
        self.clones += 1
        if self.refuse:
            raise RuntimeError("not implemented for this type of index")
        return index


def test_gpu_copy_is_made_once_in_each_process_and_never_pickled(vectors, monkeypatch):
    index = NameIndex.build(vectors[:10])
    index.device = "gpu"
    gpu = FakeGpu()
    monkeypatch.setattr(index_module, "import_faiss", lambda: gpu)
    for _ in range(2):
        assert index.search(vectors[:1], 1)[1].tolist() == [[0]]
    assert gpu.clones == 1
    index._clone = (os.getpid() + 1, None, None)  # as a forked child finds it
    index.search(vectors[:1], 1)
    assert gpu.clones == 2
    again = pickle.loads(pickle.dumps(index))
    assert again._clone is None and again.device == "gpu"


def test_index_that_no_gpu_holds(vectors, monkeypatch):
    index = NameIndex.build(vectors[:10])
    gpu = FakeGpu(refuse=True)
    monkeypatch.setattr(index_module, "import_faiss", lambda: gpu)
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]  # auto falls back to the CPU
    index.search(vectors[:1], 1)
    assert gpu.clones == 1
    index.device = "gpu"
    index._clone = None
    with pytest.raises(ValueError, match="cannot copy an index of this kind"):
        index.search(vectors[:1], 1)


@pytest.mark.skipif(not import_faiss().get_num_gpus(), reason="faiss sees no GPU here")
def test_gpu_and_cpu_find_the_same(vectors):
    cpu, gpu = NameIndex.build(vectors), NameIndex.build(vectors)
    cpu.device, gpu.device = "cpu", "gpu"
    numpy.testing.assert_array_equal(cpu.search(vectors[:50], 5)[1], gpu.search(vectors[:50], 5)[1])
