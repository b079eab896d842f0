"""Pipelines with a linker alone, and documents whose text says which concept a name means."""

import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.kb import Concept, build_knowledge_base
from spacy_bioie.tokenization import EnglishTokenizer_v1

CONCEPTS = [
    Concept("C1", "depression", ("depressive disorder",)),
    Concept("C3", "depression (terrain)", ("depression",)),
    Concept("C2", "gut microbiota", ("intestinal flora",)),
    Concept("C4", "serotonin", ("5-HT",)),
]
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 32,
    "depth": 2,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}
# The text says which of two concepts of one name is meant; a title and an abstract in one of them
ARTICLES = [
    ("Patients with depression had less serotonin .", [("depression", "C1"), ("serotonin", "C4")]),
    ("Rain filled the depression of the valley floor .", [("depression", "C3")]),
    (
        "Gut-microbiota\nMood and depression of patients .",
        [("Gut-microbiota", "C2"), ("depression", "C1")],
    ),
    ("The valley has a depression of rock .", [("depression", "C3")]),
    ("Nothing here .", []),
    ("", []),
]


def make_doc(nlp, text, mentions, links=True, label="thing"):
    """mentions: (words, concept id); the words are those that the text has first."""
    doc = nlp.make_doc(text)
    found = []
    for words, concept_id in mentions:
        start = text.index(words)
        span = doc.char_span(start, start + len(words))
        kb_id = concept_id if links else ""
        found.append(Mention(span.start, span.end, label, kb_id=kb_id, score=0.5))
    if text:
        set_mentions(doc, "sc", found)
    return doc


def make_examples(nlp, links=True):
    return [
        Example(nlp.make_doc(text), make_doc(nlp, text, mentions, links))
        for text, mentions in ARTICLES
    ]


def make_nlp(tok2vec=TOK2VEC, **settings):
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    model = {
        "@architectures": "spacy_bioie.MentionEncoder.v1",
        "hidden_width": 32,
        "dropout": 0.0,
        "tok2vec": tok2vec,
    }
    nlp.add_pipe("faiss_entity_linker", config={"model": model, **settings})
    return nlp


def loader(**settings):
    return lambda vocab: build_knowledge_base(CONCEPTS, vocab=vocab, **settings)[0]


def start(nlp, examples=None, **settings):
    """Initialize with a knowledge base; returns the optimizer and the examples."""
    nlp.get_pipe("faiss_entity_linker").set_kb(loader(**settings))
    examples = make_examples(nlp) if examples is None else examples
    return nlp.initialize(lambda: examples), examples


def train(nlp, steps=40, **settings):
    fix_random_seed(0)
    optimizer, examples = start(nlp, **settings)
    optimizer.learn_rate = 0.01
    losses = {}
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer, losses={})
    return losses["faiss_entity_linker"]


def unlinked(nlp):
    """Documents as a component before the linker leaves them."""
    return [make_doc(nlp, text, mentions, links=False) for text, mentions in ARTICLES]


def pipe(nlp, docs, **settings):
    return list(nlp.pipe(docs, **settings))


def links(docs):
    return [[span.kb_id_ for span in doc.spans.get("sc", [])] for doc in docs]


def candidates(docs):
    return [[span._.kb_ents for span in doc.spans.get("sc", [])] for doc in docs]


EXPECTED = [[concept_id for _, concept_id in mentions] for _, mentions in ARTICLES]
