"""A small annotated corpus, and pipelines of all three components over either kind of encoder."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import fix_random_seed
from thinc.api import Config

from spacy_bioie.annotation import Mention, set_mentions, set_relations
from spacy_bioie.kb.building import build_knowledge_base
from spacy_bioie.kb.concepts import Concept
from spacy_bioie.tokenization import EnglishTokenizer_v1
from spacy_bioie.training.optimizers import LayeredAdam_v1

ENCODERS = ("transformer", "tok2vec")
HEADS = ("nested_spancat", "faiss_entity_linker", "relation_extractor")
WIDTH = 32


class Article(NamedTuple):
    """A text; mentions as (words, label, concept id); relations as (head, predicate, tail).

    Mentions stand in the order of the text, so that each is found after the one before it.
    """

    text: str
    mentions: Sequence[Tuple[str, str, str]] = ()
    relations: Sequence[Tuple[int, str, int]] = ()


ARTICLES = (
    Article(
        "Butyrate and depression\nButyrate of gut bacteria eased depression in mice.",
        [
            ("Butyrate", "chemical", "CHEBI:17968"),
            ("depression", "DDF", "MESH:D003866"),
            ("Butyrate", "chemical", "CHEBI:17968"),
            ("gut bacteria", "bacteria", "NCIT:C14187"),
            ("depression", "DDF", "MESH:D003866"),
            ("mice", "animal", "NCIT:C14238"),
        ],
        [(2, "influence", 4), (0, "influence", 1), (4, "target", 5)],
    ),
    Article(
        "Serotonin in the colon\nRats with anxiety had less serotonin than healthy rats.",
        [
            ("Serotonin", "chemical", "CHEBI:28790"),
            ("Rats", "animal", "NCIT:C14266"),
            ("anxiety", "DDF", "MESH:D001007"),
            ("serotonin", "chemical", "CHEBI:28790"),
            ("rats", "animal", "NCIT:C14266"),
        ],
        [(2, "target", 1), (3, "influence", 2)],
    ),
    Article(
        "Sleep of mice\nSleep was short. <i>Escherichia coli</i> changed the anxiety of mice.",
        [
            ("mice", "animal", "NCIT:C14238"),
            ("Escherichia coli", "bacteria", "NCIT:C14206"),
            ("anxiety", "DDF", "MESH:D001007"),
            ("mice", "animal", "NCIT:C14238"),
        ],
        [(1, "change", 2), (2, "target", 3)],
    ),
    Article("A short note\nNothing of that kind was found in this study.", [], []),
)
TEXTS = tuple(article.text for article in ARTICLES)
NEW_TEXT = "Depression of rats\nDepression of rats was eased by butyrate, not by serotonin."
CONCEPTS = (
    Concept("CHEBI:17968", "butyrate", ("butanoate", "butyric acid anion"), ("chemical",)),
    Concept("CHEBI:28790", "serotonin", ("5-hydroxytryptamine", "5-HT"), ("chemical",)),
    Concept("MESH:D003866", "depressive disorder", ("depression",), ("DDF",)),
    Concept("MESH:D001007", "anxiety", ("nervousness",), ("DDF",)),
    Concept("NCIT:C14187", "bacteria", ("gut bacteria", "eubacteria"), ("bacteria",)),
    Concept("NCIT:C14206", "Escherichia coli", ("E. coli",), ("bacteria",)),
    Concept("NCIT:C14238", "mouse", ("mice", "Mus musculus"), ("animal",)),
    Concept("NCIT:C14266", "rat", ("rats", "Rattus norvegicus"), ("animal",)),
)


def save_knowledge_base(folder, concepts: Sequence[Concept] = CONCEPTS) -> str:
    """Write a knowledge base whose name vectors are lexical alone; return the folder."""
    kb, _ = build_knowledge_base(concepts, lexical_dims=WIDTH)
    kb.to_disk(folder)
    return str(folder)


def make_pipeline(
    encoder: str,
    bert: str = "",
    kb: str = "",
    *,
    heads: Sequence[str] = HEADS,
    settings: Dict[str, Dict[str, Any]] | None = None,
    **transformer: Any,
) -> Language:
    """A pipeline, not initialized, without any dropout of its own.

    encoder: "transformer" (spacy_bioie.TransformerModel.v1 over the folder ``bert``), "tok2vec"
        or "" (each head has a small encoder of its own).
    kb: folder of the linker's knowledge base.
    settings: of the components, by name. transformer: further settings of the encoder's model.
    """
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.config["nlp"]["tokenizer"] = {"@tokenizers": "spacy_bioie.EnglishTokenizer.v1"}
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    convolutions = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": WIDTH,
        "depth": 2,
        "embed_size": 300,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
    }
    listener: Dict[str, Any] = convolutions
    if encoder == "transformer":
        model = {
            "@architectures": "spacy_bioie.TransformerModel.v1",
            "name": bert,
            **transformer,
        }
        nlp.add_pipe("transformer", config={"model": model})
        listener = {"@architectures": "spacy_bioie.TransformerListener.v1"}
    elif encoder == "tok2vec":
        nlp.add_pipe("tok2vec", config={"model": convolutions})
        listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
    models: Dict[str, Dict[str, Any]] = {
        "nested_spancat": {"@architectures": "spacy_bioie.SpanTagger.v1", "dropout": 0.0},
        "faiss_entity_linker": {
            "@architectures": "spacy_bioie.MentionEncoder.v1",
            "hidden_width": 32,
            "dropout": 0.0,
        },
        "relation_extractor": {
            "@architectures": "spacy_bioie.PairClassifier.v1",
            "hidden_size": 32,
            "dropout": 0.0,
        },
    }
    for head in heads:
        config = {
            "model": {**models[head], "tok2vec": dict(listener)},
            **(settings or {}).get(head, {}),
        }
        nlp.add_pipe(head, config=config)
    if "faiss_entity_linker" in heads:
        nlp.config["initialize"]["components"]["faiss_entity_linker"] = {
            "kb_loader": {"@misc": "spacy_bioie.FaissKnowledgeBase.v1", "path": kb}
        }
    return nlp


def make_reference(nlp: Language, article: Article) -> Doc:
    """The Doc that a corpus holds for an article."""
    doc = nlp.make_doc(article.text)
    mentions: List[Mention] = []
    place = 0
    for words, label, concept_id in article.mentions:
        place = article.text.index(words, place)
        span = doc.char_span(place, place + len(words))
        assert span is not None, f"{words!r} does not lie on token borders"
        place += len(words)
        mentions.append(Mention(span.start, span.end, label, kb_id=concept_id))
    ids = [mention.id for mention in set_mentions(doc, "sc", mentions)]
    rows = [(ids[head], predicate, ids[tail], 1.0) for head, predicate, tail in article.relations]
    set_relations(doc, "sc", rows)
    return doc


def make_examples(nlp: Language, articles: Sequence[Article] = ARTICLES) -> List[Example]:
    return [Example(nlp.make_doc(a.text), make_reference(nlp, a)) for a in articles]


def train_in_memory(nlp: Language, articles: Sequence[Article] = ARTICLES, steps: int = 60) -> None:
    """Initialize a pipeline and learn the articles by heart."""
    examples = make_examples(nlp, articles)
    nlp.initialize(lambda: examples)
    optimizer = LayeredAdam_v1(0.003, scales={"crf": 5.0, "head": 2.0})
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def save_corpus(nlp: Language, path, articles: Sequence[Article] = ARTICLES) -> str:
    """Write articles as a .spacy file; return its path."""
    docs = [make_reference(nlp, article) for article in articles]
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return str(path)


def training_config(nlp: Language, corpus: str, **training: Any) -> Config:
    """The config of a pipeline for ``spacy train``, with one corpus for training and evaluation."""
    settings = {
        "seed": 0,
        "dropout": 0.0,
        "max_steps": 60,
        "eval_frequency": 30,
        "annotating_components": [],
        "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": len(ARTICLES)},
        "optimizer": {
            "@optimizers": "spacy_bioie.LayeredAdam.v1",
            "learn_rate": 0.003,
            "scales": {"crf": 5.0, "head": 2.0},
        },
        "score_weights": {
            "spans_sc_f": 0.4,
            "nel_gold_acc1": 0.2,
            "nerd_strict_micro_f": 0.0,
            "rel_gold_tm_micro_f": 0.2,
            "rel_pred_tm_micro_f": 0.2,
        },
        **training,
    }
    return Config(nlp.config).merge(
        {"paths": {"train": corpus, "dev": corpus}, "training": settings}
    )


def what_was_found(doc: Doc) -> Dict[str, list]:
    """Mentions with links, and relations, as plain values without scores."""
    return {
        "mentions": [(s.start, s.end, s.label_, s.kb_id_, s.id_) for s in doc.spans["sc"]],
        "relations": sorted((r.head.id_, r.label, r.tail.id_) for r in doc._.relations),
    }


def encoder_name(nlp: Language) -> str:
    """The name of the shared encoder in a pipeline."""
    return next(name for name in nlp.component_names if name in ENCODERS)


def parameters(nlp: Language, pipe: str) -> numpy.ndarray:
    """All parameters of a component, one after the other: float32, (parameters,)."""
    return _flat(value for value, _ in _parameters(nlp, pipe))


def gradient(nlp: Language, pipe: str) -> numpy.ndarray:
    """The gradient that has arrived at them, zeros where none has: float32, (parameters,)."""
    return _flat(numpy.zeros_like(v) if g is None else g for v, g in _parameters(nlp, pipe))


def forget_gradients(nlp: Language) -> None:
    """Drop the gradients of all components."""
    for name in nlp.pipe_names:
        model = getattr(nlp.get_pipe(name), "model", None)
        for node in model.walk() if model is not None else ():
            for param in node.param_names:
                if node.has_grad(param):
                    node.set_grad(param, numpy.zeros_like(node.get_grad(param)))
            for shim in node.shims:
                shim._model.zero_grad(set_to_none=True)


def _parameters(nlp: Language, pipe: str):
    component: Any = nlp.get_pipe(pipe)
    for node in component.model.walk():
        for param in node.param_names:
            if node.has_param(param):
                grad = node.get_grad(param) if node.has_grad(param) else None
                yield node.get_param(param), grad
        for shim in node.shims:
            for tensor in shim._model.parameters():
                yield (
                    tensor.detach().numpy(),
                    None if tensor.grad is None else tensor.grad.numpy(),
                )


def _flat(arrays) -> numpy.ndarray:
    # a copy: arrays of torch and thinc change in place
    return numpy.concatenate([numpy.array(array, dtype="float32").ravel() for array in arrays])
