"""Linking of gold mentions in BioNNE-L, English and Russian: LYX's contextual recipe against names.

    OMP_NUM_THREADS=2 python benchmarks/linking_bionne.py --data FOLDER --cache FOLDER

FOLDER of the data holds ``bionne_l``, the cache keeps the name vectors. UMLS is licensed, so all
systems link over the names of the training mentions: a concept that training does not have counts
as wrong (``mentions_wrong_not_in_kb``). Mentions without a concept (CUILESS) are left out. Scored
are the first five distinct concepts, as at BioNNE-L. A system whose result exists is left out,
unless ``--again`` is given.

The contextual recipe is ``configs/linking_contextual.cfg`` with MiniLM, cut to what a CPU can do:
fewer training documents, epochs and characters of context than LYX had. Nothing is chosen on dev:
the figures are those of the last epoch.
"""

import argparse
import random
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from linking_peers import (
    ENCODER,
    CachedEncoder,
    Setting,
    exact_names,
    link_by_names,
    minilm_names,
)
from results import FOLDER, describe_files, write_result
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed, load_config, load_model_from_config

from spacy_bioie.annotation import Candidates, get_mentions, mention_texts
from spacy_bioie.formats import read_bionne
from spacy_bioie.kb import FaissKnowledgeBase, TrainingNames, build_knowledge_base, normalise_name
from spacy_bioie.kb.context_search import search_names
from spacy_bioie.pipeline.linker_context import mention_vectors
from spacy_bioie.scoring.links import score_candidates

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "linking_contextual.cfg"
TABLE = "bionne_l/{0}/bionnel_{0}_{1}.tsv"
TOP_K = 5
SEED = 11
# How the recipe is cut, alike for both languages.
DOCUMENTS = 54  # all of the English ones
EPOCHS = 3  # LYX: 5, one of them the warm-up
CHARACTERS = 60  # LYX: 250
# The names are means over MiniLM's word pieces; LYX's encoder has its names in the first piece.
POOLING = "mention"


class Corpus(NamedTuple):
    """train: the documents that are learned from. semantic: the knowledge base without spelling."""

    language: str
    train: List[Doc]
    setting: Setting
    semantic: FaissKnowledgeBase


# For each variant of a system, "" the main one, the candidates of all mentions
Found = Dict[str, List[Candidates]]


def link_names(corpus: Corpus, find: Any) -> Found:
    return {"": link_by_names(corpus.setting, find)}


def link_untrained(corpus: Corpus) -> Found:
    """The component ``faiss_entity_linker`` with its defaults, but without a context to learn."""
    nlp = blank()
    config = {"context_weight": 0.0, "top_k": TOP_K}
    linker: Any = nlp.create_pipe("faiss_entity_linker", config=config)
    linker.set_kb(lambda vocab: corpus.setting.kb)
    return {"": link_all(nlp, linker, corpus.setting)}


def link_contextual(corpus: Corpus) -> Found:
    """The recipe; ``context_alone_`` ranks by the cosine of names and context, as LYX did."""
    config = load_config(CONFIG, overrides={"vars.encoder": ENCODER})
    model = config["components"]["faiss_entity_linker"]["model"]
    model.update(context_characters=CHARACTERS, pooling=POOLING, batch_pieces=8192)
    config["initialize"]["components"] = {}
    fix_random_seed(SEED)
    nlp = load_model_from_config(config, auto_fill=True)
    linker: Any = nlp.get_pipe("faiss_entity_linker")
    linker.set_kb(lambda vocab: corpus.semantic)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in corpus.train]
    optimizer = nlp.initialize(lambda: examples)
    for epoch in range(EPOCHS):
        begin, losses = time.perf_counter(), []
        random.shuffle(examples)
        for eg in examples:
            losses.append(nlp.update([eg], sgd=optimizer)["faiss_entity_linker"])
        seconds = time.perf_counter() - begin
        print(f"epoch {epoch}: loss {numpy.mean(losses):.4f}, {seconds:.0f} s", flush=True)
    return {
        "": link_all(nlp, linker, corpus.setting),
        "context_alone_": link_by_context(linker, corpus.setting),
    }


SYSTEMS: Dict[str, Tuple[str, Callable[[Corpus], Found]]] = {
    "exact": ("exact match of normalised names", partial(link_names, find=exact_names)),
    "minilm": ("MiniLM name vectors", partial(link_names, find=minilm_names)),
    "linker": ("spacy_bioie, faiss_entity_linker without training", link_untrained),
    "contextual": ("spacy_bioie, contextual recipe of LYX with MiniLM", link_contextual),
}


def blank() -> Any:
    config = load_config(CONFIG)
    return load_model_from_config({"nlp": {**config["nlp"], "pipeline": []}}, auto_fill=True)


def link_all(nlp: Any, linker: Any, setting: Setting) -> List[Candidates]:
    """The candidates of a linker, with the documents' abbreviations."""
    find = nlp.get_pipe("abbreviations") if "abbreviations" in nlp.pipe_names else None
    find = find or nlp.add_pipe("abbreviations")
    docs = [find(doc.copy()) for doc in setting.docs]
    return [found for row in linker.link(docs, setting.mentions) for found in row]


def link_by_context(linker: Any, setting: Setting) -> List[Candidates]:
    """Concepts by their nearest name, searched by the vectors of the mentions alone."""
    kb = linker.require_kb()
    vectors = mention_vectors(linker.model, setting.docs, setting.mentions, linker.name)
    cosines, names = search_names(kb, vectors, 50)
    ranked = []
    for row, values in zip(names, cosines.tolist(), strict=True):
        found: Dict[str, float] = {}
        for name, value in zip(row[row >= 0].tolist(), values, strict=False):
            for concept in kb.tables.name_concepts[name].tolist():
                found.setdefault(kb.tables.concept_ids[concept], value)
        ranked.append(list(found.items()))
    return ranked


def read(language: str, data: Path, encoder: CachedEncoder) -> Corpus:
    """The training names as a knowledge base, with and without spelling, and dev's mentions."""
    nlp = blank()
    train, dev = (
        list(read_bionne(data / TABLE.format(language, split), nlp)) for split in ("train", "dev")
    )
    names = TrainingNames()
    names.add_docs(train)
    encoder.fill(sorted({name for name, _, _ in names.counts}))
    both, _ = build_knowledge_base([], vocab=nlp.vocab, mentions=names, name_encoder=encoder)
    semantic, _ = build_knowledge_base(
        [], vocab=nlp.vocab, mentions=names, name_encoder=encoder, lexical_weight=0.0
    )
    mentions = [[m for m in get_mentions(doc) if m.kb_id] for doc in dev]
    texts = [t for doc, row in zip(dev, mentions, strict=True) for t in mention_texts(doc, row)]
    labels = [mention.label for row in mentions for mention in row]
    setting = Setting(both, encoder, dev, mentions, texts, labels)
    return Corpus(language, train[:DOCUMENTS], setting, semantic)


def score(corpus: Corpus, found: Found) -> Dict[str, Optional[float]]:
    """Accuracies of all mentions, and of those whose name or concept training does not have."""
    setting = corpus.setting
    tables = setting.kb.tables
    gold = [mention.kb_id for row in setting.mentions for mention in row]
    known = tables.name_rows([normalise_name(text) for text in setting.texts]) >= 0
    in_kb = numpy.asarray([concept in setting.kb for concept in gold])
    groups = {
        "": numpy.ones((len(gold),), dtype="bool"),
        "unseen_names_": ~known,
        "seen_concepts_": in_kb,
    }
    figures: Dict[str, Optional[float]] = {
        "mentions": len(gold),
        "mentions_left_out_no_id": sum(
            not m.kb_id for doc in setting.docs for m in get_mentions(doc)
        ),
        "mentions_wrong_not_in_kb": int((~in_kb).sum()),
        "mentions_unseen_names": int((~known).sum()),
    }
    for variant, ranked in found.items():
        for group, members in groups.items():
            chosen = numpy.flatnonzero(members).tolist()
            lists = [ranked[i][:TOP_K] for i in chosen]
            prefix = f"{variant}{group}"
            scores = score_candidates([gold[i] for i in chosen], lists, "x")
            figures.update({prefix + key.removeprefix("x_"): v for key, v in scores.items()})
    return figures


def run(language: str, systems: Sequence[str], data: Path, cache: Path) -> None:
    """Link the mentions of dev by each system, and write a result for each."""
    corpus = read(language, data, CachedEncoder(cache))
    files = [data / TABLE.format(language, split) for split in ("train", "dev")]
    described = describe_files(files)
    described[files[1].name]["documents"] = len(corpus.setting.docs)
    described[files[0].name]["documents"] = len(
        {line.split("\t")[0] for line in files[0].read_text("utf8").splitlines()[1:]}
    )
    for system in systems:
        title, link = SYSTEMS[system]
        learns = system == "contextual"
        begin, cpu = time.perf_counter(), time.process_time()
        found = link(corpus)
        config: Dict[str, Any] = {
            "language": language,
            "encoder": ENCODER,
            "names": len(corpus.setting.kb.tables.names),
            "concepts": len(corpus.setting.kb),
            "candidates": TOP_K,
        }
        if learns:
            n = sum(len(get_mentions(doc)) for doc in corpus.train)
            described[files[0].name]["learned_from"] = f"first {len(corpus.train)} documents"
            config.update(
                file=f"configs/{CONFIG.name}",
                cut="documents, epochs and context, to what a CPU does in minutes; the names are "
                "those of all training documents",
                documents=len(corpus.train),
                mentions=n,
                epochs=f"{EPOCHS} (1 of warm-up); LYX: 5",
                context_characters=f"{CHARACTERS}; LYX: 250",
                pooling=f"{POOLING}; LYX: cls, with an encoder whose names are cls vectors",
                cpu_seconds=round(time.process_time() - cpu),
            )
        path = write_result(
            f"linking_bionne_{language}_{system}",
            benchmark="linking_bionne",
            system=title,
            metrics=score(corpus, found),
            data=described,
            config=config,
            seeds=[SEED] if learns else [],
            seconds=time.perf_counter() - begin,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
        metrics = score(corpus, found)
        print(path.name, {key: round(metrics[key] or 0, 4) for key in ("acc1", "acc5", "mrr")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of name vectors")
    parser.add_argument("--languages", nargs="+", choices=("en", "ru"), default=["en", "ru"])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--again", action="store_true", help="also where a result exists")
    arguments = parser.parse_args()
    for language in arguments.languages:
        systems = [
            system
            for system in arguments.systems
            if arguments.again
            or not (FOLDER / f"linking_bionne_{language}_{system}.json").is_file()
        ]
        if systems:
            run(language, systems, arguments.data, arguments.cache)


if __name__ == "__main__":
    main()
