"""What ``linking_scale.py`` compares with: scispaCy's name vectors, searched in two ways.

scispaCy describes a name by the TF-IDF of its character 3-grams within words, of those that occur
in ten names or more, and searches with nmslib's HNSW graph.
"""

import pickle
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy


def vectorizer() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), min_df=10, dtype=numpy.float32, lowercase=False
    )


def tfidf_brute_force(
    names: List[str],
    queries: Dict[str, List[str]],
    folder: Path,
    searched: Callable[..., Dict[str, float]],
    resident_mb: Callable[[], float],
) -> Dict[str, float]:
    """All names are compared: recall is 1 by definition."""
    from scipy import sparse

    start, cpu = time.perf_counter(), time.process_time()
    tfidf = vectorizer()
    matrix = tfidf.fit_transform(names)
    metrics = {
        "index_seconds": time.perf_counter() - start,
        "index_cpu_seconds": time.process_time() - cpu,
    }
    sparse.save_npz(folder / "matrix.npz", matrix, compressed=False)
    (folder / "vectorizer.pickle").write_bytes(pickle.dumps(tfidf))
    del tfidf, matrix, names
    start = time.perf_counter()
    before = resident_mb()
    tfidf = pickle.loads((folder / "vectorizer.pickle").read_bytes())
    matrix = sparse.load_npz(folder / "matrix.npz")
    metrics["load_seconds_auto"] = time.perf_counter() - start
    # Not a fresh process: what loading adds
    metrics["resident_added_by_load_mb"] = resident_mb() - before
    metrics["index_mb"] = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    by_ngram = matrix.T.tocsr()

    def search(batch: Any, k: int) -> numpy.ndarray:
        rows = []
        for i in range(batch.shape[0]):
            found = batch[i] @ by_ngram
            best = numpy.argsort(-found.data, kind="stable")[:k]
            row = numpy.full((k,), -1, dtype="int64")
            row[: len(best)] = found.indices[best]
            rows.append(row)
        return numpy.asarray(rows)

    for name, texts in queries.items():
        vectors = tfidf.transform(texts)
        metrics.update(searched(search, vectors, numpy.zeros((len(texts), 1)), name))
        metrics.pop(f"{name}_recall_at_10")
    return metrics


def nmslib_hnsw(
    names: List[str],
    n: int,
    queries: Dict[str, List[str]],
    folder: Path,
    searched: Callable[..., Dict[str, float]],
    resident_mb: Callable[[], float],
) -> Dict[str, float]:
    """scispaCy's settings (M 100, efConstruction 2000, efSearch 200) over n names spread evenly."""
    import nmslib

    spread = numpy.arange(min(n, len(names))) * len(names) // min(n, len(names))
    names = [names[row] for row in spread.tolist()]
    tfidf = vectorizer()
    matrix = tfidf.fit_transform(names)

    def empty() -> Any:
        return nmslib.init(
            method="hnsw", space="cosinesimil_sparse", data_type=nmslib.DataType.SPARSE_VECTOR
        )

    start, cpu = time.perf_counter(), time.process_time()
    index = empty()
    index.addDataPointBatch(matrix)
    index.createIndex({"M": 100, "efConstruction": 2000, "post": 0, "indexThreadQty": 2})
    metrics: Dict[str, float] = {
        "indexed_names": len(names),
        "index_seconds": time.perf_counter() - start,
        "index_cpu_seconds": time.process_time() - cpu,
    }
    index.saveIndex(str(folder / "index"), save_data=True)
    del index
    before, start = resident_mb(), time.perf_counter()
    index = empty()
    index.loadIndex(str(folder / "index"), load_data=True)
    index.setQueryTimeParams({"efSearch": 200})
    metrics["load_seconds_auto"] = time.perf_counter() - start
    metrics["resident_added_by_load_mb"] = resident_mb() - before
    metrics["index_mb"] = sum(file.stat().st_size for file in folder.iterdir()) / 2**20

    def search(batch: Any, k: int) -> numpy.ndarray:
        out = numpy.full((batch.shape[0], k), -1, dtype="int64")
        for i, (rows, _) in enumerate(index.knnQueryBatch(batch, k=k, num_threads=2)):
            out[i, : len(rows)] = rows
        return out

    for name, texts in queries.items():
        vectors = tfidf.transform(texts)
        products = (vectors @ matrix.T).toarray()
        exact = numpy.argsort(-products, axis=1, kind="stable")[:, :10]
        metrics.update(searched(search, vectors, exact, name))
    return metrics
