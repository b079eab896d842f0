"""What the whole pipeline costs over the bare forward pass of its encoder, on the same texts.

    python benchmarks/pipeline_overhead.py PIPELINE ARTICLES.json --name NAME

Both run in this process, one after the other, several times in turn; the ratio is that of the
medians. The bare pass is the encoder's forward pass alone, on ready tensors of the same titles and
abstracts, in the buckets and the precision that the pipeline uses. The breakdown runs the
components one by one over the same documents. Naming mentions (the vectors of their names) has a
row of its own: ``first`` with an empty cache, ``again`` with a full one. ``added_by`` is a
component's time over that of all the others.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import spacy
import torch
from results import describe_files, write_result

from spacy_bioie.annotation import join_sections
from spacy_bioie.formats import read_articles
from spacy_bioie.models.half_precision import cpu_has_bfloat16
from spacy_bioie.models.length_buckets import make_buckets

PIECES = 4096


def bare_encoder(nlp: Any, texts: List[str]) -> Callable[[], None]:
    """The forward pass over all sections, outside spaCy; pieces and batches are made beforehand."""
    model = nlp.get_pipe("transformer").model
    encoder, tokenizer = model.transformer, model.tokenizer
    device = next(encoder.parameters()).device
    mixed = bool(nlp.config["components"]["transformer"]["model"].get("mixed_precision"))
    mixed = mixed and (device.type != "cpu" or cpu_has_bfloat16())
    longest = encoder.config.max_position_embeddings
    sections = [section for text in texts for section in text.split("\n") if section]
    whole = tokenizer(sections)["input_ids"]
    pieces = [row[i : i + longest] for row in whole for i in range(0, len(row), longest)]
    batches = []
    for rows in make_buckets([len(row) for row in pieces], PIECES):
        width = max(len(pieces[row]) for row in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(pieces[row])] = torch.tensor(pieces[row])
            mask[i, : len(pieces[row])] = 1
        batches.append((ids.to(device), mask.to(device)))

    def run() -> None:
        encoder.eval()
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            for ids, mask in batches:
                encoder(ids, attention_mask=mask)

    return run


def breakdown(nlp: Any, texts: List[str]) -> Dict[str, float]:
    """Seconds of the tokenizer and of each component over the same documents."""
    seconds = {}
    start = time.perf_counter()
    docs = [nlp.make_doc(text) for text in texts]
    seconds["tokenizer"] = time.perf_counter() - start
    for name, component in nlp.pipeline:
        start = time.perf_counter()
        docs = list(component.pipe(docs, batch_size=nlp.batch_size))
        seconds[name] = time.perf_counter() - start
    return seconds


def added_time(spent: Dict[str, float]) -> Dict[str, float]:
    """The time that linking and relations add, as a part of that of all other components.

    spent: medians of ``breakdown``, and what naming new mentions takes besides.
    """
    naming = spent.get("name_vectors_first", 0.0)
    known = sum(spent.values()) - naming
    added = {
        f"added_by_{name}_again": spent[name] / (known - spent[name])
        for name in ("faiss_entity_linker", "relation_extractor")
        if name in spent
    }
    if "faiss_entity_linker" in spent:
        linking = spent["faiss_entity_linker"]
        added["added_by_faiss_entity_linker_first"] = (linking + naming) / (known - linking)
    return added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pipeline")
    parser.add_argument("articles", type=Path)
    parser.add_argument("--name", required=True, help="name of the file in results/")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="torch threads, 0 for its default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    nlp = spacy.load(arguments.pipeline)
    texts = [
        join_sections(article.metadata["title"], article.metadata["abstract"])
        for article in read_articles(arguments.articles)
    ]
    bare = bare_encoder(nlp, texts)
    linker = nlp.get_pipe("faiss_entity_linker") if nlp.has_pipe("faiss_entity_linker") else None

    def whole() -> None:
        for _ in nlp.pipe(texts):
            pass

    def timed(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    begin = time.perf_counter()
    timed(bare), timed(whole)  # warm-up
    seconds: Dict[str, List[float]] = {"bare": [], "first": [], "again": []}
    parts: Dict[str, List[float]] = {}
    for _ in range(arguments.runs):
        seconds["bare"].append(timed(bare))
        if linker is not None:
            linker.require_kb().vectorizer.clear_cache()
        seconds["first"].append(timed(whole))
        seconds["again"].append(timed(whole))
        if linker is not None:
            linker.require_kb().vectorizer.clear_cache()
        first = breakdown(nlp, texts)
        again = breakdown(nlp, texts)
        if linker is not None:
            name = "faiss_entity_linker"
            again["name_vectors_first"] = first[name] - again[name]
        for name, value in again.items():
            parts.setdefault(name, []).append(value)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    metrics = {
        "ratio_to_bare_encoder_first": median["first"] / median["bare"],
        "ratio_to_bare_encoder_again": median["again"] / median["bare"],
        "docs_per_second_bare": len(texts) / median["bare"],
        "docs_per_second_first": len(texts) / median["first"],
        "docs_per_second_again": len(texts) / median["again"],
    }
    spent = {name: statistics.median(values) for name, values in parts.items()}
    metrics.update({f"seconds_{name}": value for name, value in spent.items()})
    metrics.update(added_time(spent))
    path = write_result(
        arguments.name,
        benchmark="pipeline_overhead",
        system=f"spacy_bioie {arguments.name.removeprefix('pipeline_overhead_')}",
        metrics=metrics,
        data=describe_files([arguments.articles]),
        config={
            "runs": arguments.runs,
            "threads": torch.get_num_threads(),
            "pipeline": nlp.pipe_names,
        },
        seeds=[],
        seconds=time.perf_counter() - begin,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    json.dump(metrics, sys.stdout, indent=2)
    print(f"\n{path.name}")


if __name__ == "__main__":
    main()
