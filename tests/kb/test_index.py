import os
import pickle
from types import SimpleNamespace

import numpy
import pytest

from spacy_bioie.kb import index as index_module
from spacy_bioie.kb.faiss_backend import import_faiss
from spacy_bioie.kb.index import NameIndex, spread_rows
from spacy_bioie.kb.lexical import normalise_rows
from spacy_bioie.kb.torch_search import TorchSearcher


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


# Small versions of the kinds that scale: scalar and product quantizers, lists, graphs, refinement
FACTORIES = [
    *("Flat", "SQ8", "SQ4", "SQfp16", "PQ8x4", "PQ8x4fs", "OPQ8,PQ8x4", "PCA12,SQ8"),
    *("IVF8,Flat", "IVF8,SQ8", "IVF8,PQ8x4", "OPQ8,IVF8,PQ8x4", "IVF8_HNSW8,SQ8"),
    *("HNSW16", "HNSW16,SQ8", "SQ4,RFlat", "PQ8x4,Refine(SQ8)", "OPQ8,PQ8x4,RFlat"),
    *("PCAR12,PQ6x4fs_64,Refine(RR16,SQ8)", "PCAR12,IVF8,PQ6x4fs,Refine(RR16,SQ8)"),
]


# faiss takes these with inner products, but gives distances, or products of other vectors
NO_PRODUCTS = [
    *("HNSW8,PQ8x4", "HNSW8_PQ1", "NSG8,PQ8x4", "ZnLattice4x4_4", "OPQ8,HNSW8,PQ8x4"),
    *("HNSW8,PQ8x4,RFlat", "SQ8_direct", "PCAW8,Flat"),
]


@pytest.mark.parametrize("factory", NO_PRODUCTS)
def test_index_that_gives_no_inner_products_is_refused(factory, vectors):
    with pytest.raises(ValueError, match=f"'{factory}' of width 16.* are no inner products"):
        NameIndex.build(vectors[:300], factory)


@pytest.mark.parametrize("factory", ["RaBitQ", "IVF4,RaBitQ", "RQ4x4", "PQ2x4", "HNSW8"])
def test_coarse_products_are_taken(factory, vectors):
    """Of vectors that it has itself, of few vectors, of copies of one, and of zeros."""
    for given in (vectors[:1000], vectors[:30], vectors[:1].repeat(50, axis=0), 0 * vectors[:40]):
        assert len(NameIndex.build(given, factory)) == len(given)


@pytest.mark.parametrize("factory", FACTORIES)
def test_update_keeps_what_is_stored(factory, vectors, tmp_path):
    """Rows 0, 2, ... of the first half go, the second half comes between those that stay."""
    index = NameIndex.build(vectors[:1000], factory, train_sample=700)
    index.write(tmp_path / "old.faiss")
    index = NameIndex.read(tmp_path / "old.faiss")  # mapped: it cannot be changed itself
    rows = numpy.arange(1000).reshape(-1, 1)
    kept = numpy.concatenate([rows, numpy.full_like(rows, -1)], axis=1)[1::2].reshape(-1)
    updated = index.updated(kept, [vectors[1000:1300], vectors[1300:1500]])
    assert (len(index), len(updated), updated.dims) == (1000, 1000, 16)
    in_order = numpy.empty((1000, 16), dtype="float32")
    in_order[0::2], in_order[1::2] = vectors[1:1000:2], vectors[1000:1500]
    numpy.testing.assert_array_equal(
        updated.vectors(numpy.arange(0, 1000, 2)), index.vectors(numpy.arange(1, 1000, 2))
    )
    assert numpy.abs(updated.vectors(numpy.arange(1000)) - in_order).mean() < 0.2
    is_flat = "IVF" not in factory and "HNSW" not in factory and "fs" not in factory
    assert (updated.unused, updated.positions is None) == ((0, True) if is_flat else (500, False))
    updated.write(tmp_path / "new.faiss")
    for again in (
        updated,
        NameIndex.read(tmp_path / "new.faiss", positions=updated.positions),
        pickle.loads(pickle.dumps(updated)),
        updated.updated(numpy.arange(1000), []),
    ):
        products, found = again.search(in_order[:200], 3)
        assert (found >= 0).all() and found.max() < 1000
        assert (numpy.diff(products, axis=1) <= 0).all()
        assert (found == numpy.arange(200)[:, None]).any(axis=1).mean() > 0.7
        numpy.testing.assert_array_equal(found, updated.search(in_order[:200], 3)[1])


def test_updated_exact_index_is_the_one_built_anew(vectors, tmp_path):
    index = NameIndex.build(vectors[:1000])
    kept = numpy.asarray([5, -1, 4, 999, -1])
    updated = index.updated(kept, [vectors[1000:1002]])
    updated.write(tmp_path / "updated")
    NameIndex.build(vectors[[5, 1000, 4, 999, 1001]]).write(tmp_path / "anew")
    assert (tmp_path / "updated").read_bytes() == (tmp_path / "anew").read_bytes()
    assert len(index.updated(numpy.asarray([-1]), [vectors[:1]])) == 1  # none is kept


def test_names_behind_many_unused_vectors_are_found(vectors):
    index = NameIndex.build(vectors, "IVF4,Flat", "nprobe=4")
    left = numpy.argsort(vectors @ vectors[0])[:30]  # the farthest from the query
    updated = index.updated(left, [])
    assert updated.unused == 1970
    products, rows = updated.search(vectors[:1], 40)
    assert rows.tolist() == [list(range(29, -1, -1))]
    numpy.testing.assert_allclose(products[0], vectors[left[::-1]] @ vectors[0], atol=1e-6)
    index.index.nprobe = 1
    _, rows = index.updated(left, []).search(vectors[:1], 30)
    assert -1 in rows[0] and len(set(rows[0][rows[0] >= 0])) == (rows[0] >= 0).sum()


@pytest.mark.parametrize(
    "factory", ["SQ8", "PCAR12,PQ6x4,Refine(RR16,SQ8)", "IVF4,PQ8x4,Refine(SQ8)"]
)
def test_codes_do_not_move_while_vectors_are_added(factory, vectors):
    """Where an array grows it is copied, and memory holds it twice."""
    faiss = import_faiss()
    index = NameIndex.create(16, factory)
    index.train(vectors)
    index.reserve(2000)
    codes = faiss.downcast_index(getattr(index.index, "refine_index", index.index))
    codes = getattr(codes, "index", codes)  # behind a rotation
    codes = faiss.downcast_index(codes).codes
    index.add(vectors[:1])
    first = int(codes.data())
    index.add(vectors[1:])
    assert int(codes.data()) == first and len(index) == 2000


def test_sample_is_spread_evenly():
    assert spread_rows(10, 4).tolist() == [0, 2, 5, 7]
    assert spread_rows(3, 4).tolist() == [0, 1, 2] and not len(spread_rows(0, 4))
    with pytest.raises(ValueError, match="train_sample is 0"):
        spread_rows(3, 0)


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
    for factory in ("PQ7", "IVF8", "SQ3", "", "IVF0,Flat", "HNSW1,SQ8"):
        with pytest.raises(ValueError, match=f"cannot build the index '{factory}'.* width 16"):
            NameIndex.build(vectors[:10], factory)
    index = NameIndex.build(vectors[:500], "NSG16,Flat")
    with pytest.raises(ValueError, match="index 'NSG16,Flat' of width 16 with 500 vectors and 5"):
        index.add(vectors[:5])
    with pytest.raises(ValueError, match="index 'IndexNSGFlat' of width 16 with 500 vectors and 5"):
        index.updated(numpy.asarray([3, -1, -1, -1, -1, -1]), [vectors[:5]])
    (tmp_path / "bad").write_bytes(b"not an index")
    with pytest.raises(ValueError, match="bad': expected an index written by faiss"):
        NameIndex.read(tmp_path / "bad")


def test_device(vectors, monkeypatch):
    with pytest.raises(ValueError, match="device is 'tpu'"):
        NameIndex(None, "tpu")
    index = NameIndex.build(vectors[:10])
    monkeypatch.setattr(index_module, "_gpu_count", lambda faiss: 0)
    monkeypatch.setattr(index_module, "_torch_has_gpu", lambda: False)
    for device in ("gpu", "gpu_fp16"):
        index.device = device
        with pytest.raises(ValueError, match=f"is '{device}', but faiss sees no GPU"):
            index.search(vectors[:1], 1)
    index.device = "auto"
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]


class FakeGpu:
    """Stands for a GPU build of faiss, whose copies are the CPU index itself."""

    def __init__(self, refuse=False):
        self.clones = 0
        self.halves = 0
        self.refuse = refuse

    def get_num_gpus(self):
        return 1

    def StandardGpuResources(self):
        return object()

    def GpuClonerOptions(self):
        return SimpleNamespace(useFloat16=False)

    def index_cpu_to_gpu(self, resources, device, index, options):
        self.clones += 1
        self.halves += options.useFloat16
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
    index._clone = ((os.getpid() + 1, "gpu"), None, None)  # as a forked child finds it
    index.search(vectors[:1], 1)
    assert (gpu.clones, gpu.halves) == (2, 0)
    again = pickle.loads(pickle.dumps(index))
    assert again._clone is None and again.device == "gpu"


def test_gpu_copy_in_half_precision(vectors, monkeypatch):
    index = NameIndex.build(vectors[:10])
    gpu = FakeGpu()
    monkeypatch.setattr(index_module, "import_faiss", lambda: gpu)
    for device in ("gpu", "gpu_fp16", "gpu_fp16"):
        index.device = device
        index.search(vectors[:1], 1)
    assert (gpu.clones, gpu.halves) == (2, 1)


@pytest.fixture
def torch_gpu(monkeypatch):
    """torch sees a GPU and faiss none; torch's CPU stands for the GPU. RETURNS: its copies."""
    copies = []

    def from_index(index, device, half):
        copies.append((device, half))
        return original(index, "cpu", half)

    original = TorchSearcher.from_index
    monkeypatch.setattr(index_module, "_gpu_count", lambda faiss: 0)
    monkeypatch.setattr(index_module, "_torch_has_gpu", lambda: True)
    monkeypatch.setattr(TorchSearcher, "from_index", from_index)
    return copies


@pytest.mark.parametrize("device", ["auto", "gpu", "gpu_fp16"])
def test_gpu_that_only_torch_sees(device, vectors, torch_gpu):
    index = NameIndex.build(vectors)
    index.device = "cpu"
    products, rows = index.search(vectors[:40], 7)
    index.device = device
    for _ in range(2):
        again, found = index.search(vectors[:40], 7)
        numpy.testing.assert_array_equal(found, rows)
        numpy.testing.assert_allclose(again, products, atol=1e-3)
    assert torch_gpu == [("cuda", device == "gpu_fp16")]
    assert pickle.loads(pickle.dumps(index))._clone is None


def test_torch_searches_no_compressed_index(vectors, torch_gpu):
    index = NameIndex.build(vectors, "SQ8")
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]  # auto: on the CPU
    index.device = "gpu"
    with pytest.raises(ValueError, match="torch none on which it could search an exact index"):
        index.search(vectors[:1], 1)
    assert not torch_gpu


def test_gpu_of_torch_that_is_too_small(vectors, torch_gpu, monkeypatch):
    def full(index, device, half):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(TorchSearcher, "from_index", full)
    index = NameIndex.build(vectors[:10])
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]
    index.device = "gpu"
    with pytest.raises(ValueError, match="torch cannot copy .* CUDA out of memory"):
        index.search(vectors[:1], 1)


def test_index_that_no_gpu_holds(vectors, monkeypatch):
    index = NameIndex.build(vectors[:10])
    gpu = FakeGpu(refuse=True)
    monkeypatch.setattr(index_module, "import_faiss", lambda: gpu)
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]  # auto falls back to the CPU
    index.search(vectors[:1], 1)
    assert gpu.clones == 1
    index.device = "gpu"
    with pytest.raises(ValueError, match="cannot copy an index of this kind"):
        index.search(vectors[:1], 1)


@pytest.mark.skipif(not import_faiss().get_num_gpus(), reason="faiss sees no GPU here")
def test_gpu_and_cpu_find_the_same(vectors):
    cpu, gpu = NameIndex.build(vectors), NameIndex.build(vectors)
    cpu.device, gpu.device = "cpu", "gpu"
    numpy.testing.assert_array_equal(cpu.search(vectors[:50], 5)[1], gpu.search(vectors[:50], 5)[1])
