"""Linking of gold mentions in BC5CDR and NCBI Disease, against exact match, TF-IDF and MiniLM.

    OMP_NUM_THREADS=2 python benchmarks/linking_corpora.py --data FOLDER --cache FOLDER

FOLDER of the data holds ``bc5cdr``, ``ncbi_disease`` and ``kb``, the cache keeps the name vectors
(158,384 names of MeSH take minutes). All systems see the same knowledge base, names and mentions,
once with the names of the knowledge base alone (figures ``kb_...``), once with the training split's
mentions as further names (``train_...``). A system whose result exists is left out, unless
``--again`` is given.

Scored are mentions with exactly one concept id. Those of several ("D003110|D009369") are left out
(and from the training names), and so are those without one (-1); their numbers are in the result.
An id that the knowledge base lacks counts as wrong. Prefixes (MESH:, OMIM:) are made alike.
"""

import argparse
import re
import resource
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy
import spacy
from linking_peers import (
    ENCODER,
    TOP_K,
    CachedEncoder,
    Setting,
    exact_names,
    link_by_names,
    minilm_names,
    tfidf_names,
)
from results import FOLDER, describe_files, write_result
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import (
    SPANS_KEY,
    Candidates,
    concept_ids,
    get_mentions,
    mention_texts,
    set_mentions,
)
from spacy_bioie.formats.pubtator import read_pubtator
from spacy_bioie.kb import (
    TrainingNames,
    build_knowledge_base,
    normalise_name,
    read_concepts,
)
from spacy_bioie.scoring.bootstrap import document_weights
from spacy_bioie.scoring.links import candidate_recall, disambiguation_accuracy, score_candidates
from spacy_bioie.tokenization import EnglishTokenizer_v1


class Corpus(NamedTuple):
    """Files below the folder of the data. label: for all mentions; "" keeps the corpus's own."""

    train: str
    dev: str
    kb: str
    label: str


CORPORA = {
    "bc5cdr": Corpus(
        "bc5cdr/CDR_train.PubTator.txt",
        "bc5cdr/CDR_dev.PubTator.txt",
        "kb/kb_mesh.jsonl.gz",
        "",
    ),
    # its labels (SpecificDisease, Modifier ...) say how a mention is used, not what it names
    "ncbi_disease": Corpus(
        "ncbi_disease/NCBItrainset_corpus.txt",
        "ncbi_disease/NCBIdevelopset_corpus.txt",
        "kb/kb_medic.jsonl.gz",
        "Disease",
    ),
}


RESAMPLES = 1000
SEED = 0  # of what is fitted
System = Callable[[Setting], List[Candidates]]


def link_by_search(setting: Setting) -> List[Candidates]:
    """``FaissKnowledgeBase.search`` as it is, without the document."""
    return setting.kb.search(setting.texts, setting.labels, top_k=TOP_K)


def link_in_documents(setting: Setting, fit: bool = False) -> List[Candidates]:
    """The component ``faiss_entity_linker`` with the documents' abbreviations.

    fit: fit its reranker to the links of the training documents.
    """
    nlp = blank()
    nlp.add_pipe("biomedical_sentencizer")
    nlp.add_pipe("abbreviations")
    config = {"context_weight": 0.0, "top_k": TOP_K, "spans_key": SPANS_KEY}
    linker: Any = nlp.create_pipe("faiss_entity_linker", config=config)
    if fit:
        fix_random_seed(SEED)
        examples = [Example(doc, doc) for doc in nlp.pipe(setting.train)]
        linker.initialize(lambda: examples, nlp=nlp, kb_loader=lambda vocab: setting.kb)
    else:
        linker.set_kb(lambda vocab: setting.kb)
    docs = list(nlp.pipe(setting.docs))
    return [found for row in linker.link(docs, setting.mentions) for found in row]


SYSTEMS: Dict[str, Tuple[str, System]] = {
    "exact": ("exact match of normalised names", partial(link_by_names, find=exact_names)),
    "tfidf": ("TF-IDF of 3-grams (sklearn)", partial(link_by_names, find=tfidf_names)),
    "minilm": ("MiniLM name vectors", partial(link_by_names, find=minilm_names)),
    "search": ("spacy_bioie, FaissKnowledgeBase.search", link_by_search),
    "linker": ("spacy_bioie, faiss_entity_linker with abbreviations", link_in_documents),
    "reranker": (
        "spacy_bioie, faiss_entity_linker with reranker, fitted to training documents",
        partial(link_in_documents, fit=True),
    ),
}
FITTED = ("reranker",)


def blank() -> Any:
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    return nlp


def main_ids(path: Path) -> Dict[str, str]:
    """From each id of a knowledge base, without its prefix, to the id of its concept."""
    ids: Dict[str, str] = {}
    concepts = list(read_concepts(path))
    for concept in concepts:
        for other in concept.alt_ids:
            ids.setdefault(_bare(other), concept.concept_id)
    ids.update((_bare(concept.concept_id), concept.concept_id) for concept in concepts)
    return ids


def _bare(concept_id: str) -> str:
    return re.sub(r"^(?:MESH|OMIM):", "", concept_id)


def read_mentions(path: Path, ids: Dict[str, str], label: str) -> Tuple[List[Doc], List[List[Any]]]:
    """Documents, and their mentions with the knowledge base's id ("" none, None several)."""
    docs = list(read_pubtator(path, blank()))
    rows = []
    for doc in docs:
        found = []
        for mention in get_mentions(doc):
            named = concept_ids(mention.kb_id)
            concept: Optional[str] = None
            if len(named) < 2:
                concept = ids.get(_bare(named[0]), named[0]) if named else ""
            found.append((mention, label or mention.label, concept))
        rows.append(found)
    return docs, rows


def score(
    gold: Sequence[str], found: Sequence[Candidates], groups: Dict[str, numpy.ndarray], prefix: str
) -> Dict[str, Optional[float]]:
    """Accuracies and candidate recall, of all mentions and of those unseen in training."""
    figures: Dict[str, Optional[float]] = {}
    for group, members in groups.items():
        chosen = numpy.flatnonzero(members).tolist()
        ids, lists = [gold[i] for i in chosen], [found[i] for i in chosen]
        figures.update(score_candidates(ids, lists, f"{prefix}{group}"))
        figures.update(candidate_recall(ids, lists, f"{prefix}{group}", sizes=(10,)))
        figures[f"{prefix}{group}_recall{TOP_K}"] = figures.pop(f"{prefix}{group}_recall")
        accuracy = disambiguation_accuracy(ids, lists)
        figures[f"{prefix}{group}_disambiguation_acc1"] = accuracy
    return figures


def interval(
    gold: Sequence[str], found: Sequence[Candidates], documents: Sequence[int], prefix: str
) -> Dict[str, Optional[float]]:
    """The borders of Acc@1 in 95 % of the resamples of documents."""
    hits = [bool(c) and c[0][0] == concept for concept, c in zip(gold, found, strict=True)]
    distinct, owners = numpy.unique(documents, return_inverse=True)
    weights = document_weights(len(distinct), RESAMPLES, seed=0)[:, owners]
    drawn = (weights @ numpy.asarray(hits, dtype="float64")) / weights.sum(axis=1)
    low, high = numpy.quantile(drawn, [0.025, 0.975])
    return {f"{prefix}_acc1_low": float(low), f"{prefix}_acc1_high": float(high)}


def run(name: str, corpus: Corpus, systems: Sequence[str], data: Path, cache: Path) -> None:
    """Link the mentions of a corpus by each system, and write a result for each."""
    files = [data / corpus.train, data / corpus.dev, data / corpus.kb]
    ids = main_ids(files[2])
    concepts = set(ids.values())
    train_docs, train = read_mentions(files[0], ids, corpus.label)
    docs, dev = read_mentions(files[1], ids, corpus.label)
    known = TrainingNames()
    for doc, row in zip(train_docs, train, strict=True):
        texts = mention_texts(doc, [mention for mention, _, _ in row])
        for text, (_, label, concept) in zip(texts, row, strict=True):
            if concept:
                known.add(text, label, concept)
    linked = [[entry for entry in row if entry[2]] for row in dev]
    mentions = [[replace(mention, label=label) for mention, label, _ in row] for row in linked]
    gold = [concept for row in linked for _, _, concept in row]
    for doc, row in zip(train_docs, train, strict=True):
        links = [replace(m, label=label, kb_id=concept or "") for m, label, concept in row]
        set_mentions(doc, SPANS_KEY, links)
    texts = [t for doc, row in zip(docs, mentions, strict=True) for t in mention_texts(doc, row)]
    labels = [mention.label for row in mentions for mention in row]
    documents = [i for i, row in enumerate(mentions) for _ in row]
    seen_names = {text for text, _, _ in known.counts}
    groups = {
        "": numpy.ones((len(gold),), dtype="bool"),
        "_unseen_names": numpy.asarray([normalise_name(t) not in seen_names for t in texts]),
        "_unseen_concepts": numpy.asarray([concept not in known.texts for concept in gold]),
    }
    everything = [concept for row in dev for _, _, concept in row]
    counts = {
        "mentions": len(gold),
        "mentions_left_out_several_ids": everything.count(None),
        "mentions_left_out_no_id": everything.count(""),
        "mentions_wrong_not_in_kb": sum(concept not in concepts for concept in gold),
        **{f"mentions{g}": int(members.sum()) for g, members in groups.items() if g},
    }
    encoder = CachedEncoder(cache)
    settings = {}
    for prefix, names in (("kb", TrainingNames()), ("train", known)):
        lexical, _ = build_knowledge_base([files[2]], mentions=names)
        encoder.fill(list(lexical.tables.names))
        kb, _ = build_knowledge_base([files[2]], mentions=names, name_encoder=encoder)
        settings[prefix] = Setting(kb, encoder, docs, mentions, texts, labels, train_docs)
    described = describe_files(files)
    for path, n in zip(files, (len(train), len(dev), len(concepts)), strict=True):
        described[path.name]["documents"] = n
    for system in systems:
        title, link = SYSTEMS[system]
        metrics: Dict[str, Optional[float]] = dict(counts)
        begin = time.perf_counter()
        for prefix, setting in settings.items():
            found = link(setting)
            metrics.update(score(gold, found, groups, prefix))
            metrics.update(interval(gold, found, documents, prefix))
        path = write_result(
            f"linking_{name}_{system}",
            benchmark="linking_corpora",
            system=title,
            metrics=metrics,
            data=described,
            config={
                "corpus": name,
                "encoder": ENCODER,
                "names": {p: len(s.kb.tables.names) for p, s in settings.items()},
                "concepts": {p: len(s.kb) for p, s in settings.items()},
                "candidates": TOP_K,
                "resamples": RESAMPLES,
                "label": corpus.label or "the corpus's own",
            },
            seeds=[SEED] if system in FITTED else [],
            seconds=time.perf_counter() - begin,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
        print(path.name, {key: metrics[key] for key in ("kb_acc1", "train_acc1", "train_acc5")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of name vectors")
    parser.add_argument("--corpora", nargs="+", choices=list(CORPORA), default=list(CORPORA))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--again", action="store_true", help="also where a result exists")
    arguments = parser.parse_args()
    for name in arguments.corpora:
        systems = [
            system
            for system in arguments.systems
            if arguments.again or not (FOLDER / f"linking_{name}_{system}.json").is_file()
        ]
        if systems:
            run(name, CORPORA[name], systems, arguments.data, arguments.cache)


if __name__ == "__main__":
    main()
