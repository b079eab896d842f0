"""The component faiss_entity_linker, searching with vectors projected into the space of names."""

import pytest
import spacy
from spacy.util import fix_random_seed

from spacy_bioie.kb import TransformerNameEncoder, build_knowledge_base
from spacy_bioie.pipeline.linking_objectives import NameProjection_v1
from tests.pipeline.test_contextual_linking import (
    ARTICLES,
    CONCEPTS,
    EXPECTED,
    NAME,
    assert_same,
    candidates,
    links,
    make_examples,
    unlinked,
)
from tests.tiny_encoder import make_tiny_bert

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


def make_nlp(**settings):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy_bioie.MentionEncoder.v1",
        "hidden_width": 32,
        "dropout": 0.0,
        "tok2vec": TOK2VEC,
    }
    config = {
        "model": model,
        "learning": {"@misc": "spacy_bioie.NameProjection.v1"},
        "search_by": "projection",
        "context_weight": 0.5,
        "reranker": None,
        **settings,
    }
    nlp.add_pipe(NAME, config=config)
    return nlp


def train(nlp, source, steps=60, rate=0.01, examples=None, **settings):
    """RETURNS: the loss of each step."""
    nlp.get_pipe(NAME).set_kb(
        lambda vocab: build_knowledge_base(
            CONCEPTS, vocab=vocab, name_encoder=TransformerNameEncoder(source), **settings
        )[0]
    )
    examples = make_examples(nlp) if examples is None else examples
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = rate
    return [nlp.update(examples, sgd=optimizer, losses={})[NAME] for _ in range(steps)]


def forbid_encoding(nlp, monkeypatch):
    def encode(names, progress=False):
        raise AssertionError(f"encoded {names}")

    monkeypatch.setattr(nlp.get_pipe(NAME).kb.vectorizer.encoder, "encode", encode)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def trained(source):
    nlp = make_nlp()
    train(nlp, source)
    return nlp


def test_overfits_and_reloads_without_asking_the_name_encoder(trained, tmp_path, monkeypatch):
    trained.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    docs = list(trained.pipe(unlinked(trained)))
    assert links(docs) == EXPECTED
    assert again.get_pipe(NAME).cfg["search_by"] == "projection"
    forbid_encoding(again, monkeypatch)
    assert_same(list(again.pipe(unlinked(again))), docs)


def test_search_by_name_asks_it(trained, tmp_path, monkeypatch):
    trained.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    again.get_pipe(NAME).cfg["search_by"] = "name"
    forbid_encoding(again, monkeypatch)
    with pytest.raises(AssertionError, match="encoded"):
        list(again.pipe(unlinked(again)))


def test_batch_equals_single_and_processes(trained):
    docs = list(trained.pipe(unlinked(trained)))
    assert_same([trained(doc) for doc in unlinked(trained)], docs)
    assert_same(list(trained.pipe(unlinked(trained), n_process=2)), docs)


def test_mentions_do_not_change_each_other(trained):
    text = "patients with depression had depression of rock in the valley"
    one = trained(make_examples(trained, [(text, [("depression", "")])])[0].reference)
    two = trained(
        make_examples(trained, [(text, [("depression", ""), ("valley", "")])])[0].reference
    )
    assert candidates([one])[0][0] == candidates([two])[0][0]


def test_mentions_without_links_teach_the_space_of_names(source):
    nlp = make_nlp(context_weight=0.0)
    unlinked_articles = [(text, [(words, "") for words, _ in found]) for text, found in ARTICLES]
    losses = train(nlp, source, examples=make_examples(nlp, unlinked_articles))
    assert losses[-1] < 0.2 * losses[0]
    assert losses[0] > 0


def test_loss_is_that_of_both_parts(source):
    first = {}
    for weight in (0.0, 1.0, 3.0):
        nlp = make_nlp(learning={"@misc": "spacy_bioie.NameProjection.v1", "weight": weight})
        first[weight] = train(nlp, source, steps=1)[0]
    distance = first[1.0] - first[0.0]
    assert distance > 0
    assert first[3.0] == pytest.approx(first[0.0] + 3 * distance, rel=1e-4)


def test_lexical_knowledge_base_searches_by_spelling(trained):
    nlp = make_nlp(context_weight=0.0)
    nlp.get_pipe(NAME).set_kb(lambda vocab: build_knowledge_base(CONCEPTS, vocab=vocab)[0])
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    assert links(nlp.pipe(unlinked(nlp)))[0][1] == "C4"


def test_refuses_a_negative_weight():
    with pytest.raises(ValueError, match=r"NameProjection.v1: weight is -1.0, expected 0 or more"):
        NameProjection_v1(weight=-1.0)


def test_refuses_another_search():
    with pytest.raises(ValueError, match="'meaning'"):
        make_nlp(search_by="meaning")
