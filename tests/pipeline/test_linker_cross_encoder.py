"""The cross-encoder as the reranker of the component faiss_entity_linker."""

import shutil

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.kb import Concept, build_knowledge_base
from spacy_bioie.models.candidate_reranker import is_fitted
from spacy_bioie.pipeline import linker_reranking
from spacy_bioie.tokenization import EnglishTokenizer_v1
from tests.linking_pipeline import candidates, links
from tests.reranking_pipeline import MODEL, NAME, let_few_mentions_be_enough
from tests.tiny_encoder import make_tiny_bert

# Each name means two concepts, and only the text around a mention says which
NAMES = ["depression", "stress", "inflammation", "syndrome", "disease", "sleep"]
CONTEXTS = {"LOW": "in mice", "HIGH": "of patients"}
CONCEPTS = [
    Concept(f"{kind}:{name}", f"{word} {name}", synonyms=(name,))
    for name in NAMES
    for kind, word in (("LOW", "rats"), ("HIGH", "human"))
]
BEFORE = ["the", "increase of", "gut", "chain", "effect with"]

pytestmark = pytest.mark.usefixtures("few_mentions_are_enough")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def make_nlp(encoder, reranker=None, **settings):
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    block = {
        "@architectures": "spacy_bioie.CandidateCrossEncoder.v1",
        "name": encoder,
        "epochs": 8,
        "batch_size": 8,
        "learn_rate": 2e-3,
        "head_learn_rate": 5e-3,
        "progress": False,
        **(reranker or {}),
    }
    nlp.add_pipe(
        NAME, config={"model": MODEL, "context_weight": 0.0, "reranker": block, **settings}
    )
    return nlp


def make_docs(nlp, *, links=True, odd=False):
    """Two mentions of one name in each; odd: and one that is no concept."""
    docs = []
    for name in NAMES:
        for first in BEFORE:
            parts = [f"{first} {name} {context}" for context in CONTEXTS.values()]
            text = " . ".join([*parts, "a fatty diet of cells"] if odd else parts)
            doc = nlp.make_doc(text)
            found = []
            start = 0
            for kind in CONTEXTS:
                start = text.index(name, start)
                span = doc.char_span(start, start + len(name))
                kb_id = f"{kind}:{name}" if links else ""
                found.append(Mention(span.start, span.end, "x", kb_id=kb_id))
                start += 1
            if odd:
                found.append(Mention(len(doc) - 5, len(doc), "x"))
            set_mentions(doc, "sc", found)
            docs.append(doc)
    return docs


def start(nlp, **settings):
    linker = nlp.get_pipe(NAME)
    linker.set_kb(lambda vocab: build_knowledge_base(CONCEPTS, vocab=vocab)[0])
    docs = make_docs(nlp, **settings)
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    return linker


def unlinked(nlp, **settings):
    return make_docs(nlp, links=False, **settings)


def expected():
    return [[f"{kind}:{name}" for kind in CONTEXTS] for name in NAMES for _ in BEFORE]


@pytest.fixture(scope="module")
def trained(encoder):
    with pytest.MonkeyPatch.context() as patch:
        let_few_mentions_be_enough(patch)
        nlp = make_nlp(encoder, no_link=True)
        start(nlp, odd=True)
    return nlp


def first_two(rows):
    return [row[:2] for row in rows]


def test_it_learns_what_only_the_context_tells(trained, encoder):
    assert is_fitted(trained.get_pipe(NAME).reranker)
    docs = list(trained.pipe(unlinked(trained, odd=True)))
    assert first_two(links(docs)) == expected()
    # the odd mention is no link
    assert all(row[2] == "" for row in links(docs))
    for row in candidates(docs):
        for found in row:
            scores = [score for _, score in found]
            assert scores == sorted(scores, reverse=True) and sum(scores) <= 1.0001
    perceptron = make_nlp(encoder)
    perceptron.remove_pipe(NAME)
    perceptron.add_pipe(NAME, config={"model": MODEL, "context_weight": 0.0})
    assert is_fitted(start(perceptron).reranker)
    found = numpy.asarray(links(perceptron.pipe(unlinked(perceptron))))
    assert (found == numpy.asarray(expected())).mean() == 0.5


def test_the_other_candidates_keep_their_order_below(trained):
    """With any number of them read, probabilities of those sum to one and the rest has none."""
    nlp = trained
    linker = nlp.get_pipe(NAME)
    old = linker.reranker.settings
    docs = unlinked(nlp)[:3]
    mentions = [get_mentions(doc) for doc in docs]
    texts = [
        doc[m.start : m.end].text for doc, row in zip(docs, mentions, strict=True) for m in row
    ]
    by_name = linker.kb.search(texts, ["x"] * len(texts), top_k=9, settings=linker.settings)
    linker.cfg["top_k"], linker.cfg["no_link"] = 9, False
    try:
        for n in (1, 3):
            linker.reranker.settings = type(old)(**{**vars(old), "n_rerank": n})
            linker.reranker.module.settings = linker.reranker.settings
            found = [row for doc in linker.link(docs, mentions) for row in doc]
            for new, before in zip(found, by_name, strict=True):
                ids = [concept for concept, _ in before]
                assert {concept for concept, _ in new[:n]} == set(ids[:n])
                assert [concept for concept, _ in new[n:]] == ids[n:] and len(ids) == 9
                assert all(score > 0 for _, score in new[:1])
                assert all(score == 0 for _, score in new[n:])
    finally:
        linker.reranker.settings = linker.reranker.module.settings = old
        linker.cfg["top_k"], linker.cfg["no_link"] = 5, True


def test_survives_disk_and_bytes_without_the_encoder(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "bert")
    nlp = make_nlp(str(folder), {"epochs": 1})
    start(nlp)
    docs = candidates(nlp.pipe(unlinked(nlp)))
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(folder)
    shutil.move(tmp_path / "pipeline", tmp_path / "moved")
    data = nlp.to_bytes()
    for again in (
        spacy.load(tmp_path / "moved"),
        make_nlp(str(folder), {"epochs": 1}).from_bytes(data),
    ):
        assert is_fitted(again.get_pipe(NAME).reranker)
        assert candidates(again.pipe(unlinked(again))) == docs
    # to fit it anew takes the encoder, and what is there stays where that is gone
    with pytest.raises(ValueError, match="encoder '.*bert' cannot be loaded"):
        start(again)
    assert candidates(again.pipe(unlinked(again))) == docs


def test_weights_are_saved_once(trained, tmp_path):
    trained.to_disk(tmp_path / "pipeline")
    reranker = trained.get_pipe(NAME).reranker
    saved = tmp_path / "pipeline" / NAME / "reranker"
    assert saved.read_bytes() == reranker.to_bytes()
    weights = 4 * sum(p.numel() for p in reranker.module.parameters())
    assert weights < saved.stat().st_size < 2 * weights


def test_batch_equals_single_and_processes(trained):
    nlp = trained
    docs = list(nlp.pipe(unlinked(nlp, odd=True)))
    for others in (
        [nlp(doc) for doc in unlinked(nlp, odd=True)[:4]],
        nlp.pipe(unlinked(nlp, odd=True), n_process=2, batch_size=8),
    ):
        for doc, other in zip(docs, others, strict=False):
            assert links([other]) == links([doc])
            for one, two in zip(candidates([doc])[0], candidates([other])[0], strict=True):
                assert dict(one) == pytest.approx(dict(two), abs=1e-4)


def test_links_survive_docbin(trained):
    docs = list(trained.pipe(unlinked(trained, odd=True)))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    again = list(DocBin().from_bytes(data).get_docs(trained.vocab))
    assert links(again) == links(docs) and candidates(again) == candidates(docs)


def test_empty_input(trained):
    linker = trained.get_pipe(NAME)
    assert linker.predict([]) == [] and list(trained.pipe([])) == []
    docs = [trained.make_doc(text) for text in ("", "no group here", "no mention here")]
    set_mentions(docs[2], "sc", [])
    assert links(trained.pipe(docs)) == [[], [], []]
    doc = trained.make_doc("\u200b")  # a name of nothing
    set_mentions(doc, "sc", [Mention(0, 1, "x")])
    assert candidates([trained(doc)]) == [[[("", 1.0)]]]


def test_initialized_twice_it_is_the_same(encoder):
    nlp = make_nlp(encoder, {"epochs": 1})
    first = start(nlp).reranker.to_bytes()
    numpy.random.seed(7)
    assert start(nlp).reranker.to_bytes() == first
    assert start(make_nlp(encoder, {"epochs": 1, "seed": 1})).reranker.to_bytes() != first


def test_training_leaves_it_alone_and_context_joins(encoder):
    nlp = make_nlp(encoder, {"epochs": 1}, context_weight=0.5)
    linker = start(nlp)
    before = linker.reranker.to_bytes()
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in make_docs(nlp)]
    nlp.update(examples, sgd=nlp.resume_training())
    assert linker.reranker.to_bytes() == before
    found = candidates(nlp.pipe(unlinked(nlp)))
    linker.cfg["context_weight"] = 0.0
    assert candidates(nlp.pipe(unlinked(nlp))) != found
    for row in found:
        for choices in row:
            # the best five are read, and no more are kept
            assert len(choices) == 5 and 0 < sum(score for _, score in choices) <= 1.0001


def test_too_few_links_do_not_ask_for_the_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 61)
    nlp = make_nlp(str(tmp_path / "absent"))
    linker = start(nlp)
    assert not is_fitted(linker.reranker)
    assert all(all(row) for row in links(nlp.pipe(unlinked(nlp))))
    nlp.to_disk(tmp_path / "pipeline")
    assert not is_fitted(spacy.load(tmp_path / "pipeline").get_pipe(NAME).reranker)
    monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 60)
    with pytest.raises(ValueError, match="encoder '.*absent' cannot be loaded"):
        start(nlp)


def test_bytes_of_another_reranker(trained, encoder):
    perceptron = make_nlp(encoder)
    perceptron.remove_pipe(NAME)
    perceptron.add_pipe(NAME, config={"model": MODEL, "context_weight": 0.0})
    start(perceptron)
    with pytest.raises(ValueError, match="expected what this reranker was saved as"):
        make_nlp(encoder).from_bytes(perceptron.to_bytes())


def test_settings_of_the_config_are_checked(encoder):
    with pytest.raises(ValueError, match="CandidateCrossEncoder: n_rerank is 0, expected 1"):
        make_nlp(encoder, {"n_rerank": 0})
