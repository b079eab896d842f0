"""Linking on GutBrainIE's dev documents, gold mentions and those of Gut-Instincts.

    python benchmarks/linking_gutbrainie.py --data FOLDER --cache FOLDER [--pipeline FOLDER]

FOLDER of the data holds ``gutbrainie``, ``peers`` and ``kb``; the cache keeps name vectors. All
systems see the concepts with their official names and, as further names, the mentions of platinum
and gold. The pipeline is one that ``python -m spacy project run gutbrainie`` trained; its knowledge
base lacks the mentions of the documents that were held out. A system whose result exists is left
out, unless ``--again`` is given.

Gold mentions: Acc@1, Acc@5, MRR and recall of the candidates. NERD: F1 of span, label and concept
over the entities that Gut-Instincts found on dev.
"""

import argparse
import json
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy
import spacy
from gutbrainie_data import DEV, ENTITIES, TRAIN, dev_with_found_entities
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

from spacy_bioie.annotation import Candidates, Mention, get_mentions, mention_texts
from spacy_bioie.formats.articles import article_to_doc
from spacy_bioie.formats.gutbrainie import read_articles
from spacy_bioie.kb import (
    FaissKnowledgeBase,
    TransformerNameEncoder,
    build_knowledge_base,
    normalise_name,
)
from spacy_bioie.kb.training_names import TrainingNames
from spacy_bioie.pipeline.link_annotation import set_links
from spacy_bioie.scoring.links import candidate_recall, score_candidates, score_links
from spacy_bioie.tokenization import EnglishTokenizer_v1
from spacy_bioie.training.encoder_steps import StepSettings
from spacy_bioie.training.name_alignment import adapt_names

CONCEPTS = "kb/gutbrainie_concepts.jsonl"
KEY = "sc"
# Systems with something that is fitted, by the seed 0
FITTED = ("reranker", "adapted")
# Tried once, on documents held out of platinum
ADAPT = {"steps": 500, "batch_size": 64, "learn_rate": 5e-5}


class Corpus(NamedTuple):
    """Training documents, dev documents with gold links, and dev with Gut-Instincts' entities."""

    train: List[Doc]
    gold: List[Doc]
    found: List[Doc]


# The candidates of the mentions of each document
Linker = Callable[[List[Doc], List[List[Mention]]], List[List[Candidates]]]


def rules_pipeline() -> Any:
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    nlp.add_pipe("biomedical_sentencizer")
    nlp.add_pipe("abbreviations")
    return nlp


def read_corpus(data: Path, nlp: Any) -> Corpus:
    """Read all documents and send them through the rules of ``nlp``."""
    dev = dev_with_found_entities(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entities.json"
        path.write_text(json.dumps(dev, ensure_ascii=False), encoding="utf8")
        found = _read(path, nlp)
    train = [doc for tier in ("platinum", "gold") for doc in _read(data / TRAIN.format(tier), nlp)]
    return Corpus(train, _read(data / DEV, nlp), found)


def _read(path: Path, nlp: Any) -> List[Doc]:
    docs = [article_to_doc(article, nlp.tokenizer, KEY) for article in read_articles(path)]
    for _, rule in nlp.pipeline:
        docs = [rule(doc) for doc in docs]
    return docs


def by_names(kb: FaissKnowledgeBase, encoder: CachedEncoder, find: Any) -> Linker:
    """A linker that knows the names of mentions alone."""

    def link(docs: List[Doc], mentions: List[List[Mention]]) -> List[List[Candidates]]:
        texts = [
            text
            for doc, row in zip(docs, mentions, strict=True)
            for text in mention_texts(doc, row)
        ]
        labels = [mention.label for row in mentions for mention in row]
        setting = Setting(kb, encoder, docs, mentions, texts, labels)
        remaining = iter(link_by_names(setting, find))
        return [[next(remaining) for _ in row] for row in mentions]

    return link


def component(kb: FaissKnowledgeBase, train: List[Doc], **config: Any) -> Linker:
    """A ``faiss_entity_linker`` without context; its reranker is fitted if it has one."""
    nlp = rules_pipeline()
    linker: Any = nlp.add_pipe(
        "faiss_entity_linker", config={"context_weight": 0.0, "top_k": TOP_K, **config}
    )
    examples = [Example(doc, doc) for doc in train]
    linker.initialize(lambda: examples, nlp=nlp, kb_loader=lambda vocab: kb)
    return linker.link


def adapted(cache: Path, concepts: Path, names: TrainingNames, corpus: Corpus) -> Linker:
    """The linker over an encoder that learned the synonyms of the concepts, mentions included."""
    folder = cache / "adapted"
    if not folder.exists():
        settings = StepSettings(ADAPT["learn_rate"], progress=True)
        report = adapt_names(
            [concepts],
            folder,
            ENCODER,
            mentions=names,
            pooling="mean",
            batch_size=int(ADAPT["batch_size"]),
            epochs=0,
            max_steps=int(ADAPT["steps"]),
            settings=settings,
        )
        print({k: v for k, v in report.items() if k != "losses"})
    encoder = TransformerNameEncoder(str(folder))
    kb, _ = build_knowledge_base([concepts], mentions=names, name_encoder=encoder)
    return component(kb, corpus.train)


def trained(folder: Path) -> Linker:
    """The linker of a trained pipeline, over the output of its encoder."""
    nlp = spacy.load(folder)
    linker: Any = nlp.get_pipe("faiss_entity_linker")
    linker.cfg["top_k"] = TOP_K
    encoder = nlp.get_pipe("transformer")

    def link(docs: List[Doc], mentions: List[List[Mention]]) -> List[List[Candidates]]:
        encoder.set_annotations(docs, encoder.predict(docs))
        return linker.link(docs, mentions)

    return link


def score(kb: FaissKnowledgeBase, corpus: Corpus, link: Linker) -> Dict[str, Optional[float]]:
    """The figures of one system."""
    mentions = [get_mentions(doc, KEY) for doc in corpus.gold]
    found = [c for row in link(corpus.gold, mentions) for c in row]
    flat = [mention for row in mentions for mention in row]
    texts = [
        normalise_name(text)
        for doc, row in zip(corpus.gold, mentions, strict=True)
        for text in mention_texts(doc, row)
    ]
    rows = kb.tables.name_rows(texts)
    evidence = numpy.append(numpy.diff(kb.tables.evidence.offsets), 0)
    groups = {
        "": numpy.ones((len(flat),), dtype="bool"),
        "_unseen_names": (rows < 0) | (evidence[rows] == 0),
        "_unseen_concepts": numpy.asarray([not kb.training_mentions(m.kb_id) for m in flat]),
    }
    figures: Dict[str, Optional[float]] = {}
    for group, members in groups.items():
        chosen = numpy.flatnonzero(members).tolist()
        ids, lists = [flat[i].kb_id for i in chosen], [found[i] for i in chosen]
        figures[f"mentions{group}"] = len(chosen)
        figures.update(score_candidates(ids, lists, f"gold{group}"))
        recall = candidate_recall(ids, lists, f"gold{group}", sizes=(10,))
        recall[f"gold{group}_recall{TOP_K}"] = recall.pop(f"gold{group}_recall")
        figures.update(recall)
    entities = [get_mentions(doc, KEY) for doc in corpus.found]
    linked = [doc.copy() for doc in corpus.found]
    for doc, candidates in zip(linked, link(corpus.found, entities), strict=True):
        set_links(doc, KEY, candidates, 0.0)
    examples = [Example(doc, gold) for doc, gold in zip(linked, corpus.gold, strict=True)]
    for name, value in score_links(examples, KEY).items():
        figures[f"gut_instincts_{name}"] = value
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of name vectors")
    parser.add_argument("--pipeline", type=Path, help="a trained pipeline")
    parser.add_argument("--adapt", action="store_true", help="also with an adapted name encoder")
    parser.add_argument("--again", action="store_true", help="also where a result exists")
    arguments = parser.parse_args()
    nlp = rules_pipeline()
    corpus = read_corpus(arguments.data, nlp)
    names = TrainingNames()
    names.add_docs(corpus.train, KEY)
    concepts = arguments.data / CONCEPTS
    lexical, _ = build_knowledge_base([concepts], mentions=names)
    encoder = CachedEncoder(arguments.cache)
    encoder.fill(list(lexical.tables.names))
    kb, _ = build_knowledge_base([concepts], mentions=names, name_encoder=encoder)
    systems: Dict[str, Tuple[str, Callable[[], Linker]]] = {
        "exact": ("exact match of normalised names", lambda: by_names(kb, encoder, exact_names)),
        "tfidf": ("TF-IDF of 3-grams (sklearn)", lambda: by_names(kb, encoder, tfidf_names)),
        "minilm": ("MiniLM name vectors", lambda: by_names(kb, encoder, minilm_names)),
        "search": (
            "spacy_bioie, faiss_entity_linker without reranker",
            lambda: component(kb, corpus.train, reranker=None),
        ),
        "reranker": (
            "spacy_bioie, faiss_entity_linker with reranker",
            partial(component, kb, corpus.train),
        ),
    }
    if arguments.adapt:
        title = "spacy_bioie, faiss_entity_linker with reranker, name encoder adapted"
        systems["adapted"] = (title, lambda: adapted(arguments.cache, concepts, names, corpus))
    if arguments.pipeline:
        title = "spacy_bioie, trained pipeline (reranker and context)"
        systems["pipeline"] = (title, lambda: trained(arguments.pipeline))
    files = [arguments.data / TRAIN.format(tier) for tier in ("platinum", "gold")]
    described = describe_files([*files, concepts, arguments.data / DEV, arguments.data / ENTITIES])
    for system, (title, make) in systems.items():
        name = f"linking_gutbrainie_{system}"
        if (FOLDER / f"{name}.json").exists() and not arguments.again:
            continue
        begin = time.perf_counter()
        metrics = score(kb, corpus, make())
        path = write_result(
            name,
            benchmark="linking_gutbrainie",
            system=title,
            metrics=metrics,
            data=described,
            config={
                "name_encoder": ENCODER,
                "candidates": TOP_K,
                **({"adapt": ADAPT} if system == "adapted" else {}),
            },
            seeds=[0] if system in FITTED else [],
            seconds=time.perf_counter() - begin,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
        print(path.name, {k: round(v, 4) for k, v in metrics.items() if "acc" in k or "_f" in k})


if __name__ == "__main__":
    main()
