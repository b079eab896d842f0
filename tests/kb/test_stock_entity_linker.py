"""``FaissKnowledgeBase`` in spaCy's own ``entity_linker``, over doc.ents."""

import random

import pytest
import spacy
from spacy.cli.evaluate import evaluate
from spacy.cli.train import train
from spacy.tokens import DocBin, Span
from spacy.util import load_config
from thinc.api import Config

from spacy_bioie.kb import FaissKnowledgeBase, TransformerNameEncoder

from .builders import make_kb

EMPTY_KB = {"@misc": "spacy_bioie.EmptyFaissKnowledgeBase.v1"}
# The name "depression" is that of two concepts, which the sentence tells apart
MOOD = ["She was sad and sleepless from depression", "His depression made him cry all day"]
PLACE = ["Water filled the depression between hills", "A depression in the rocks held rain"]
NEW = "Depression made her sad and sleepless. Rain filled a depression in the rocks."


def gold(nlp, text, *links):
    doc = nlp.make_doc(text)
    doc.ents = [
        Span(doc, token.i, token.i + 1, "DDF", kb_id=concept_id)
        for token, concept_id in zip(
            (token for token in doc if token.lower_ == "depression"), links, strict=True
        )
    ]
    return doc


def with_ents(nlp, text):
    doc = nlp.make_doc(text)
    doc.ents = [
        Span(doc, token.i, token.i + 1, "DDF") for token in doc if token.lower_ == "depression"
    ]
    return doc


def linked(nlp, doc):
    random.seed(0)  # the component shuffles candidates
    return [ent.kb_id_ for ent in nlp(doc).ents]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder_dir):
    """The folder of a run of ``spacy train``."""
    folder = tmp_path_factory.mktemp("stock")
    make_kb(name_encoder=TransformerNameEncoder(encoder_dir)).to_disk(folder / "kb")
    nlp = spacy.blank("en")
    docs = [gold(nlp, text, "C1") for text in MOOD] + [gold(nlp, text, "C3") for text in PLACE]
    DocBin(docs=docs).to_disk(folder / "corpus.spacy")
    nlp.add_pipe("sentencizer")
    config = {"generate_empty_kb": EMPTY_KB, "n_sents": 0, "candidates_batch_size": 4}
    nlp.add_pipe("entity_linker", config=config)
    loader = {"@misc": "spacy_bioie.FaissKnowledgeBase.v1", "path": str(folder / "kb")}
    corpus = str(folder / "corpus.spacy")
    settings = {
        "paths": {"train": corpus, "dev": corpus},
        "initialize": {"components": {"entity_linker": {"kb_loader": loader}}},
        "training": {
            "max_steps": 40,
            "eval_frequency": 20,
            "annotating_components": ["sentencizer"],
            "score_weights": {"nel_micro_f": 1.0},
        },
    }
    Config(nlp.config).merge(settings).to_disk(folder / "config.cfg")
    train(folder / "config.cfg", folder / "output")
    (folder / "kb").rename(folder / "moved")  # what was trained brings its own
    return folder


def test_train_save_load_predict(trained):
    nlp = spacy.load(trained / "output" / "model-last")
    kb = nlp.get_pipe("entity_linker").kb
    assert isinstance(kb, FaissKnowledgeBase) and len(kb) == 5
    assert kb.vocab is nlp.vocab
    for text in MOOD:
        assert linked(nlp, with_ents(nlp, text)) == ["C1"]
    for text in PLACE:
        assert linked(nlp, with_ents(nlp, text)) == ["C3"]
    assert linked(nlp, with_ents(nlp, NEW)) == ["C1", "C3"]
    meta = load_config(trained / "output" / "model-last" / "config.cfg")
    empty = meta["components"]["entity_linker"]["generate_empty_kb"]
    assert empty == EMPTY_KB


def test_spacy_evaluate(trained):
    scores = evaluate(str(trained / "output" / "model-best"), trained / "corpus.spacy", silent=True)
    assert scores["nel_micro_f"] == 1.0


def test_saved_again_and_from_bytes(trained, tmp_path):
    nlp = spacy.load(trained / "output" / "model-last")
    nlp.to_disk(tmp_path / "copy")
    nlp.to_disk(tmp_path / "copy")  # over the one that is there
    copies = [spacy.load(tmp_path / "copy")]
    copies.append(spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes()))
    for copy in copies:
        assert linked(copy, with_ents(copy, NEW)) == ["C1", "C3"]
        kb = copy.get_pipe("entity_linker").kb
        assert kb.search(["depression"]) == nlp.get_pipe("entity_linker").kb.search(["depression"])


def test_two_processes(trained):
    nlp = spacy.load(trained / "output" / "model-last")
    docs = [with_ents(nlp, text) for text in MOOD + PLACE]
    found = [[ent.kb_id_ for ent in doc.ents] for doc in nlp.pipe(docs, n_process=2, batch_size=2)]
    assert found == [["C1"], ["C1"], ["C3"], ["C3"]]


def linker(nlp, **config):
    if "sentencizer" not in nlp.pipe_names:
        nlp.add_pipe("sentencizer")
    component = nlp.add_pipe("entity_linker", config={**config, "generate_empty_kb": EMPTY_KB})
    component.set_kb(lambda vocab: make_kb(vocab=vocab, mentions=[("depression", "DDF", "C3")]))
    return component


@pytest.mark.parametrize("batch", [1, 8])
def test_prior_without_context(batch):
    """The search alone, with its scores as priors: training mentions decide between namesakes."""
    nlp = spacy.blank("en")
    linker(nlp, incl_context=False, candidates_batch_size=batch)
    doc = nlp.make_doc("Depression or melancholia or melancholias.")
    doc.ents = [Span(doc, i, i + 1, "DDF") for i in (0, 2, 4)]
    assert linked(nlp, doc) == ["C3", "C1", "C1"]
    assert linked(nlp, nlp.make_doc("Nothing here.")) == []
    assert linked(nlp, nlp.make_doc("")) == []


def test_discarded_labels_and_threshold():
    nlp = spacy.blank("en")
    linker(nlp, incl_context=False, labels_discard=["place"], threshold=0.99)
    doc = nlp.make_doc("Depression or melancholia or hollow.")
    doc.ents = [Span(doc, i, i + 1, label) for i, label in ((0, "DDF"), (2, "DDF"), (4, "place"))]
    assert linked(nlp, doc) == ["NIL", "NIL", "NIL"]


def test_empty_knowledge_base_is_refused():
    nlp = spacy.blank("en")
    component = nlp.add_pipe("entity_linker", config={"generate_empty_kb": EMPTY_KB})
    assert isinstance(component.kb, FaissKnowledgeBase) and component.kb.is_empty()
    with pytest.raises(ValueError, match="E139"):
        component.validate_kb()
