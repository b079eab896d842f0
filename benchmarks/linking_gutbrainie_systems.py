"""The systems of ``linking_gutbrainie``: what links mentions, and how each is made."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

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
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed
from thinc.api import Adam

from spacy_bioie.annotation import Candidates, Mention, get_mentions, mention_texts
from spacy_bioie.kb import FaissKnowledgeBase, TransformerNameEncoder, build_knowledge_base
from spacy_bioie.kb.training_names import TrainingNames
from spacy_bioie.pipeline.faiss_entity_linker import FaissEntityLinker
from spacy_bioie.tokenization import EnglishTokenizer_v1
from spacy_bioie.training.encoder_steps import StepSettings
from spacy_bioie.training.name_alignment import adapt_names

KEY = "sc"
# Systems with something that is fitted, by the seed 0, and those with an adapted encoder of names
ADAPTED = (
    "adapted",
    "adapted_coherence",
    "cross_encoder",
    "cross_encoder_coherence",
    "cross_encoder_one_concept",
)
FITTED = ("reranker", *ADAPTED)
UNFITTED = ("exact", "tfidf", "minilm", "search")
# Over the encoder of a trained pipeline; the first learns from platinum and gold with the seed 0
OF_PIPELINE = ("projection", "pipeline")
# Tried once, on documents held out of platinum
ADAPT = {"steps": 500, "batch_size": 64, "learn_rate": 5e-5}
# What one core does in a quarter of an hour; rates for fewer steps than those of the config file
CROSS_ENCODER = {
    "@architectures": "spacy_bioie.CandidateCrossEncoder.v1",
    "name": ENCODER,
    "n_rerank": 3,
    "context_pieces": 32,
    "epochs": 1,
    "learn_rate": 5e-5,
}
CROSS_ENCODER_DOCUMENTS = 60  # the first ones, of platinum
# Tried once; the encoder does not learn
PROJECTION = {"epochs": 15, "batch_size": 16, "learn_rate": 1e-3, "context_weight": 0.1}


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


def component(
    kb: FaissKnowledgeBase, train: List[Doc], nlp: Any = None, **config: Any
) -> FaissEntityLinker:
    """A ``faiss_entity_linker`` without context; its reranker is fitted if it has one.

    nlp: the pipeline that it ends, by default one of rules alone.
    """
    nlp = rules_pipeline() if nlp is None else nlp
    linker: Any = nlp.add_pipe(
        "faiss_entity_linker", config={"context_weight": 0.0, "top_k": TOP_K, **config}
    )
    examples = [Example(doc, doc) for doc in train]
    linker.initialize(lambda: examples, nlp=nlp, kb_loader=lambda vocab: kb)
    return linker


def coherent(linker: FaissEntityLinker, margin: Optional[float] = None) -> Linker:
    """The same linker, of which mentions of one text and label in a document get one concept.

    margin: of scores by which contexts disagree; the component's own by default.
    """
    before = {name: linker.cfg[name] for name in ("coherence", "coherence_margin")}
    margin = before["coherence_margin"] if margin is None else margin

    def link(docs: List[Doc], mentions: List[List[Mention]]) -> List[List[Candidates]]:
        linker.cfg.update(coherence=True, coherence_margin=margin)
        try:
            return linker.link(docs, mentions)
        finally:
            linker.cfg.update(before)

    return link


def adapted_folder(cache: Path, concepts: Path, names: TrainingNames) -> Path:
    """Where the encoder lies that learned these names, by these settings."""
    settings = json.dumps([ENCODER, ADAPT, names.texts], sort_keys=True).encode()
    digest = hashlib.sha256(settings + concepts.read_bytes()).hexdigest()
    return cache / f"adapted_{digest[:8]}"


def adapted_kb(cache: Path, concepts: Path, names: TrainingNames) -> FaissKnowledgeBase:
    """Over an encoder that learned the synonyms of the concepts, mentions included."""
    folder = adapted_folder(cache, concepts, names)
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
    return build_knowledge_base([concepts], mentions=names, name_encoder=encoder)[0]


def trained(folder: Path) -> Linker:
    """The linker of a trained pipeline, over the output of its encoder."""
    nlp = spacy.load(folder)
    linker: Any = nlp.get_pipe("faiss_entity_linker")
    linker.cfg["top_k"] = TOP_K
    return over_encoder(linker, nlp.get_pipe("transformer"))


def over_encoder(linker: FaissEntityLinker, encoder: Any) -> Linker:
    """A linker that first lets a shared encoder read the documents."""

    def link(docs: List[Doc], mentions: List[List[Mention]]) -> List[List[Candidates]]:
        encoder.set_annotations(docs, encoder.predict(docs))
        return linker.link(docs, mentions)

    return link


def projected(kb: FaissKnowledgeBase, train: List[Doc], pipeline: Path) -> Linker:
    """A linker that searches with what the shared encoder says of a mention, see
    ``NameProjection``; the name encoder reads no mention of the documents that are scored."""
    fix_random_seed(0)
    nlp = rules_pipeline()
    encoder: Any = nlp.add_pipe("transformer", source=spacy.load(pipeline))
    learning = {"@misc": "spacy_bioie.NameProjection.v1"}
    linker = component(
        kb,
        train,
        nlp=nlp,
        model={
            "@architectures": "spacy_bioie.MentionEncoder.v1",
            "tok2vec": {"@architectures": "spacy_bioie.TransformerListener.v1"},
        },
        search_by="projection",
        learning=learning,
        context_weight=PROJECTION["context_weight"],
    )
    for begin in range(0, len(train), 64):
        docs = train[begin : begin + 64]
        encoder.set_annotations(docs, encoder.predict(docs))
    size, optimizer = int(PROJECTION["batch_size"]), Adam(PROJECTION["learn_rate"])
    random = numpy.random.default_rng(0)
    for _ in range(int(PROJECTION["epochs"])):
        order = random.permutation(len(train)).tolist()
        for begin in range(0, len(order), size):
            batch = [train[i] for i in order[begin : begin + size]]
            linker.update([Example(doc, doc) for doc in batch], sgd=optimizer)
    return over_encoder(linker, encoder)


def make_systems(
    kb: FaissKnowledgeBase,
    encoder: CachedEncoder,
    corpus: Corpus,
    adapt: Callable[[], FaissKnowledgeBase],
    pipeline: Optional[Path],
) -> Dict[str, Tuple[str, Callable[[], Linker]]]:
    """Name, title and maker of each system. adapt: makes the base over the adapted encoder."""
    own, reranked = "spacy_bioie, faiss_entity_linker", "with reranker, name encoder adapted"
    crossed = "with a cross-encoder reranker (cut), name encoder adapted"
    adapt = lru_cache(adapt)

    @lru_cache
    def perceptron() -> FaissEntityLinker:
        return component(adapt(), corpus.train)

    @lru_cache
    def cross_encoder() -> FaissEntityLinker:
        train = corpus.train[:CROSS_ENCODER_DOCUMENTS]
        return component(adapt(), train, reranker=CROSS_ENCODER)

    systems: Dict[str, Tuple[str, Callable[[], Linker]]] = {
        "exact": ("exact match of normalised names", lambda: by_names(kb, encoder, exact_names)),
        "tfidf": ("TF-IDF of 3-grams (sklearn)", lambda: by_names(kb, encoder, tfidf_names)),
        "minilm": ("MiniLM name vectors", lambda: by_names(kb, encoder, minilm_names)),
        "search": (
            f"{own} without reranker",
            lambda: component(kb, corpus.train, reranker=None).link,
        ),
        "reranker": (f"{own} with reranker", lambda: component(kb, corpus.train).link),
        "adapted": (f"{own} {reranked}", lambda: perceptron().link),
        "adapted_coherence": (f"{own} {reranked}, coherence", lambda: coherent(perceptron())),
        "cross_encoder": (f"{own} {crossed}", lambda: cross_encoder().link),
        "cross_encoder_coherence": (
            f"{own} {crossed}, coherence",
            lambda: coherent(cross_encoder()),
        ),
        "cross_encoder_one_concept": (
            f"{own} {crossed}, coherence whatever the contexts say",
            lambda: coherent(cross_encoder(), margin=1.0),
        ),
    }
    if pipeline:
        systems["projection"] = (
            f"{own} with reranker, searching with the shared encoder's vectors",
            lambda: projected(kb, corpus.train, pipeline),
        )
        systems["pipeline"] = ("spacy_bioie, trained pipeline", lambda: trained(pipeline))
    return systems


def describe_config(system: str, corpus: Corpus) -> Dict[str, Any]:
    """What belongs to the result of a system."""
    config: Dict[str, Any] = {"name_encoder": ENCODER, "candidates": TOP_K}
    if system in ADAPTED:
        config["adapt"] = ADAPT
    if system == "projection":
        config["projection"] = PROJECTION
    if system.startswith("cross_encoder"):
        train = corpus.train[:CROSS_ENCODER_DOCUMENTS]
        n = sum(len(get_mentions(doc, KEY)) for doc in train)
        config["reranker"] = CROSS_ENCODER
        config["cut"] = (
            f"cross-encoder fitted to {len(train)} of {len(corpus.train)} training documents "
            f"({n:,} mentions), {CROSS_ENCODER['epochs']} epoch, the {CROSS_ENCODER['n_rerank']} "
            f"best candidates of a mention, {CROSS_ENCODER['context_pieces']} pieces of context"
        )
    return config
