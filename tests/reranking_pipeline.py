"""Pipelines whose linker ranks with a reranker, and documents whose labels say what is meant."""

import pytest
import spacy
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.kb import Concept, build_knowledge_base
from spacy_bioie.pipeline import linker_reranking
from spacy_bioie.tokenization import EnglishTokenizer_v1
from tests.kb.builders import training_names

NAME = "faiss_entity_linker"
STEMS = "butyrate serotonin dopamine valerate tryptophan ghrelin orexin melatonin".split()
NEW_STEMS = ["kynurenine", "histamine"]
# Of two concepts a mention's name is nearer to one, but its label says that the other is meant
CONCEPTS = [
    concept
    for stem in STEMS + NEW_STEMS
    for concept in (
        Concept(f"CELL:{stem}", f"{stem} cell", types=("cell",)),
        Concept(f"GENE:{stem}", f"{stem} receptor gene", types=("gene",)),
    )
]
MODEL = {
    "@architectures": "spacy_bioie.MentionEncoder.v1",
    "hidden_width": 8,
    "dropout": 0.0,
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 8,
        "depth": 1,
        "embed_size": 50,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": False,
    },
}


def make_nlp(**settings):
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    settings = {"context_weight": 0.0, "label_weight": 0.0, "prior_weight": 0.0, **settings}
    nlp.add_pipe(NAME, config={"model": MODEL, **settings})
    return nlp


def make_doc(nlp, stem, *, links=True, odd=False):
    """Two mentions of one name with different labels; odd: and one that is no concept."""
    mentions = [("protein of cells", "gene", f"GENE:{stem}"), ("cells", "cell", f"CELL:{stem}")]
    doc = nlp.make_doc(
        " and ".join(f"{stem} {words}" for words, _, _ in mentions)
        + (f" in house {len(stem)} of {stem[:3]}" if odd else "")
    )
    found = []
    for words, label, concept_id in mentions:
        start = doc.text.index(f"{stem} {words}")
        span = doc.char_span(start, start + len(f"{stem} {words}"))
        found.append(Mention(span.start, span.end, label, kb_id=concept_id if links else ""))
    if odd:
        found.append(Mention(len(doc) - 4, len(doc), "gene"))
    set_mentions(doc, "sc", found)
    return doc


def make_examples(nlp, stems=STEMS, **settings):
    docs = [make_doc(nlp, stem, **settings) for stem in stems]
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


def start(nlp, examples=None, mentions=()):
    linker = nlp.get_pipe(NAME)
    # types are labels where there are no training mentions
    linker.set_kb(
        lambda vocab: build_knowledge_base(
            CONCEPTS, vocab=vocab, mentions=training_names(*mentions)
        )[0]
    )
    examples = make_examples(nlp) if examples is None else examples
    nlp.initialize(lambda: examples)
    return linker


def unlinked(nlp, stems=STEMS + NEW_STEMS, **settings):
    return [make_doc(nlp, stem, links=False, **settings) for stem in stems]


def expected(stems=STEMS + NEW_STEMS):
    return [[f"GENE:{stem}", f"CELL:{stem}"] for stem in stems]


def let_few_mentions_be_enough(patch):
    """For a reranker to be fitted. patch: a ``pytest.MonkeyPatch``."""
    patch.setattr(linker_reranking, "MIN_MENTIONS", 8)


def make_trained(*, odd=False, **settings):
    """A pipeline whose reranker is fitted, to few mentions."""
    with pytest.MonkeyPatch.context() as patch:
        let_few_mentions_be_enough(patch)
        nlp = make_nlp(**settings)
        start(nlp, make_examples(nlp, odd=odd))
    return nlp


def old_scores(nlp):
    """The candidates as the scores without a reranker rank them."""
    linker = nlp.get_pipe(NAME)
    out = []
    for doc in unlinked(nlp):
        mentions = get_mentions(doc)
        texts = [doc[mention.start : mention.end].text for mention in mentions]
        labels = [mention.label for mention in mentions]
        out.append(linker.kb.search(texts, labels, settings=linker.settings))
    return out
