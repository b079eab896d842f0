"""Odd texts and knowledge bases: the whole pipeline has a clear answer to each."""

import gc
import resource
import time
import warnings

import numpy
import pytest
import spacy
from spacy.tokens import DocBin

from spacy_bioie.annotation import get_mentions
from spacy_bioie.kb.building import build_knowledge_base
from tests.pipelines import (
    ARTICLES,
    CONCEPTS,
    ENCODERS,
    HEADS,
    TEXTS,
    Article,
    forget_gradients,
    make_examples,
    make_pipeline,
    save_knowledge_base,
    train_in_memory,
    what_was_found,
)
from tests.tiny_encoder import make_tiny_bert

NOTHING = {"mentions": [], "relations": []}
UNTITLED = Article(
    "Butyrate of gut bacteria eased depression in mice.",
    ARTICLES[0].mentions[2:],
    [(0, "influence", 2), (2, "target", 3)],
)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def kb_folder(tmp_path_factory):
    return save_knowledge_base(tmp_path_factory.mktemp("kb") / "kb")


@pytest.fixture(scope="module", params=ENCODERS)
def trained(request, tiny_bert, kb_folder):
    nlp = make_pipeline(request.param, tiny_bert, kb_folder)
    train_in_memory(nlp, (*ARTICLES, UNTITLED))
    return nlp


@pytest.fixture
def small(kb_folder):
    """A function that makes a small trained pipeline."""

    def make(kb=kb_folder, steps=25):
        nlp = make_pipeline("tok2vec", kb=kb)
        train_in_memory(nlp, steps=steps)
        return nlp

    return make


def assert_sound(doc, text):
    """Every value is in its range, and nothing of the text is lost."""
    assert doc.text == text
    mentions = get_mentions(doc)
    assert len({m.id for m in mentions}) == len(mentions)
    for mention in mentions:
        assert 0 <= mention.start < mention.end <= len(doc)
        assert 0.0 <= mention.score <= 1.0
        assert all(0.0 <= score <= 1.0 for _, score in mention.candidates)
        assert mention.kb_id == (mention.candidates[0][0] if mention.candidates else "")
    for relation in doc._.relations:
        assert 0.5 <= relation.score <= 1.0
        assert relation.head.id_ != relation.tail.id_


# Texts


@pytest.mark.parametrize("text", ["", " ", "\n", " \n\t \r\n ", "\u00a0\u2003"])
def test_no_text(trained, text):
    doc = trained(text)
    assert doc.text == text
    assert doc._.sections is not None and doc._.concept_relations == []
    assert what_was_found(doc) == NOTHING


@pytest.mark.parametrize("text", ["<i></i>", "<sup><b>\n</b></sup>", "</p>", "&lt;&gt;", "<" * 500])
def test_markup_alone(trained, text):
    assert_sound(trained(text), text)


@pytest.mark.parametrize(
    "text",
    [
        "Mice\x00 and\x07 rats\x1b[31m had\x7f anxiety.",
        "\ufeffButyrate\u200b of\u200d mice\u2028Serotonin\u2029of rats\x0b\x0c\x85",
        "🧠🐭 Mice 👩🏽‍🔬 had anxiety 😀😀😀",
        "😀" * 300,
        "Ünïcödé ﬁbrosis İstanbul Ω μg ₂ ﷽ אבג 微生物",
        "e\u0301" * 200 + " butyrate",
        "\ud7ff\ue000\ufffd\uffff",
        "\r\n\r\nButyrate\r\rof mice\n\n\nin three\nlines\r",
    ],
)
def test_control_characters_and_emoji(trained, text):
    doc = trained(text)
    assert_sound(doc, text)
    bytes_data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (again,) = DocBin().from_bytes(bytes_data).get_docs(trained.vocab)
    assert what_was_found(again) == what_was_found(doc)


def test_words_without_blanks(trained):
    text = "C" * 3000 + "\n" + "CC(=O)OC1=CC=CC=C1C(=O)O" * 60
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a token longer than a window is cut, and said to be
        assert_sound(trained(text), text)


def test_text_without_sections(trained):
    for text in (UNTITLED.text, f"{TEXTS[0]}\nA third line."):
        doc = trained(text)
        assert [(s.name, s.start, s.end) for s in doc._.sections] == [("text", 0, len(text))]
        assert_sound(doc, text)
    (example,) = make_examples(trained, [UNTITLED])
    doc = trained(UNTITLED.text)
    assert what_was_found(doc) == what_was_found(example.reference)


def test_odd_texts_beside_others(trained):
    texts = [TEXTS[0], "", "<i></i>", TEXTS[1], " \n", "😀", TEXTS[2]]
    for doc, text in zip(trained.pipe(texts, batch_size=3), texts, strict=True):
        assert what_was_found(doc) == what_was_found(trained(text))
    assert what_was_found(trained(TEXTS[0]))["relations"]


def test_100000_characters(trained):
    # as dense in mentions as an abstract in its first part
    filler = "Nothing of that kind was found in this study, and none of it was short. "
    text = " ".join(TEXTS[:3]).replace("\n", " ") + " "
    text = (text * 40 + "\n" + filler * 2000)[:100_000]
    assert len(text) == 100_000
    mentions = [mention for article in ARTICLES[:3] for mention in article.mentions] * 40
    related = [(2, "influence", 4), (9, "influence", 8)]
    (example,) = make_examples(trained, [Article(text, mentions, related)])
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    doc = trained(text)
    figures = trained.evaluate([example])
    losses = trained.update([example], sgd=False)
    seconds = time.process_time() - begin
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert_sound(doc, text)
    assert len(doc) > 15_000 and len(example.reference.spans["sc"]) == 600
    assert figures["nel_gold_acc1"] > 0.2 and figures["rel_gold_tm_micro_f"] is not None
    assert all(numpy.isfinite(losses[head]) and losses[head] > 0 for head in HEADS)
    forget_gradients(trained)
    assert seconds < 40 and megabytes < 2000


# Knowledge bases


def test_knowledge_base_of_one_concept(small, tmp_path):
    nlp = small(save_knowledge_base(tmp_path / "one", CONCEPTS[:1]))
    doc = nlp(TEXTS[0])
    assert {span.kb_id_ for span in doc.spans["sc"]} == {CONCEPTS[0].concept_id}
    assert all(len(span._.kb_ents) == 1 for span in doc.spans["sc"])
    linker = nlp.get_pipe("faiss_entity_linker")
    linker.cfg["threshold"] = 0.6
    doc = nlp(TEXTS[0])
    links = {span.text.lower(): span.kb_id_ for span in doc.spans["sc"]}
    assert links["butyrate"] == CONCEPTS[0].concept_id and links["mice"] == ""
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert what_was_found(again(TEXTS[0])) == what_was_found(nlp(TEXTS[0]))


def test_knowledge_base_of_no_concept(small, tmp_path):
    kb = save_knowledge_base(tmp_path / "none", ())
    with pytest.warns(UserWarning, match="15 of 15 links.*the knowledge base lacks"):
        nlp = small(kb)
    doc = nlp(TEXTS[0])
    assert len(doc.spans["sc"]) == len(ARTICLES[0].mentions)
    assert all(span.kb_id_ == "" and span._.kb_ents == [] for span in doc.spans["sc"])
    assert doc._.relations and doc._.concept_relations == []
    figures = nlp.evaluate(make_examples(nlp))
    assert figures["nel_gold_acc1"] == 0.0 and figures["nerd_strict_micro_f"] == 0.0
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert what_was_found(again(TEXTS[0])) == what_was_found(doc)


def test_no_knowledge_base_at_all(kb_folder, tmp_path):
    nlp = make_pipeline("tok2vec", kb=str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="absent' is no knowledge base"):
        nlp.initialize(lambda: make_examples(nlp))
    nlp = make_pipeline("tok2vec", kb=kb_folder)
    nlp.config["initialize"]["components"].pop("faiss_entity_linker")
    with pytest.raises(ValueError, match=r"'faiss_entity_linker' has no knowledge base.*kb_loader"):
        nlp.initialize(lambda: make_examples(nlp))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, kb_folder):
    nlp = make_pipeline("tok2vec", kb=kb_folder)
    train_in_memory(nlp, ARTICLES, steps=1)
    nlp.to_disk(tmp_path_factory.mktemp("saved") / "pipeline")
    return nlp


@pytest.mark.parametrize("name", ["names.faiss", "tables/lexical.idf.npy", "meta.json"])
def test_damaged_knowledge_base_in_a_saved_pipeline(saved, tmp_path, name):
    folder = tmp_path / "pipeline"
    saved.to_disk(folder)
    file = folder / "faiss_entity_linker" / "kb" / name
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 0xFF
    for damaged in (content[: len(content) // 2], content[:-3], b"", bytes(flipped)):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name}.*is damaged"):
            spacy.load(folder)
    file.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=file.name):
        spacy.load(folder)
    file.write_bytes(content)
    assert what_was_found(spacy.load(folder)(TEXTS[0])) == what_was_found(saved(TEXTS[0]))


def test_knowledge_base_of_another_kind_in_a_saved_pipeline(saved, tmp_path):
    folder = tmp_path / "pipeline"
    saved.to_disk(folder)
    meta = folder / "faiss_entity_linker" / "kb" / "meta.json"
    meta.write_text('{"format": "something else"}')
    with pytest.raises(ValueError, match="meta.json' is foreign"):
        spacy.load(folder)
    meta.write_text(meta.read_text()[:10])
    with pytest.raises(ValueError, match="meta.json' is damaged"):
        spacy.load(folder)


def test_knowledge_base_of_another_width(small, tmp_path):
    nlp = small(steps=1)
    wider, _ = build_knowledge_base(CONCEPTS, lexical_dims=64)
    with pytest.raises(ValueError, match="projects to 32 dimensions.*have 64"):
        nlp.get_pipe("faiss_entity_linker").set_kb(lambda vocab: wider)
