"""The component faiss_entity_linker with an encoder that reads mentions in their context."""

import shutil

import numpy
import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.kb import Concept, TransformerNameEncoder, build_knowledge_base
from tests.tiny_encoder import make_tiny_bert

NAME = "faiss_entity_linker"
CONCEPTS = [
    Concept("C1", "depression", ("depressive disorder",)),
    Concept("C3", "depression (terrain)", ("depression",)),
    Concept("C2", "gut microbiota", ("intestinal flora",)),
    Concept("C4", "serotonin", ("amine",)),
    Concept("C5"),  # without a name
]
# The text says which of two concepts of one name is meant, and what a name not known stands for
ARTICLES = [
    ("patients with depression had less serotonin", [("depression", "C1"), ("serotonin", "C4")]),
    ("rain filled the depression of the valley", [("depression", "C3")]),
    ("the bugs of the gut and the stress", [("bugs", "C2"), ("stress", "C1")]),
    ("", []),
    ("the valley has a depression of rock", [("depression", "C3")]),
    ("nothing here", []),
]
EXPECTED = [[concept_id for _, concept_id in mentions] for _, mentions in ARTICLES]


def make_doc(nlp, text, mentions, links=True):
    doc = nlp.make_doc(text)
    found = []
    for words, concept_id in mentions:
        span = doc.char_span(text.index(words), text.index(words) + len(words))
        found.append(Mention(span.start, span.end, "thing", kb_id=concept_id if links else ""))
    if text:
        set_mentions(doc, "sc", found)
    return doc


def make_examples(nlp, articles=ARTICLES):
    return [Example(nlp.make_doc(text), make_doc(nlp, text, found)) for text, found in articles]


def unlinked(nlp):
    return [make_doc(nlp, text, found, links=False) for text, found in ARTICLES]


def make_nlp(source, *, learning=None, pooling="mention", **settings):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    config = {
        "model": {
            "@architectures": "spacy_bioie.ContextualMentionEncoder.v1",
            "name": source,
            "pooling": pooling,
        },
        "learning": {"@misc": "spacy_bioie.ContextualContrast.v1", **(learning or {})},
        "search_by": "context",
        "context_weight": 1.0,
        "prior_weight": 0.0,
        "temperature": 0.1,
        **settings,
    }
    nlp.add_pipe(NAME, config=config)
    return nlp


def start(nlp, source, examples=None, **settings):
    settings = {"lexical_weight": 0.0, **settings}
    nlp.get_pipe(NAME).set_kb(
        lambda vocab: build_knowledge_base(
            CONCEPTS, vocab=vocab, name_encoder=TransformerNameEncoder(source), **settings
        )[0]
    )
    examples = make_examples(nlp) if examples is None else examples
    return nlp.initialize(lambda: examples), examples


def train(nlp, optimizer, examples, steps, rate=0.003):
    """RETURNS: the loss of each step over the whole corpus, which is one epoch."""
    optimizer.learn_rate = rate
    return [nlp.update(examples, sgd=optimizer, losses={})[NAME] for _ in range(steps)]


def links(docs):
    return [[span.kb_id_ for span in doc.spans.get("sc", [])] for doc in docs]


def candidates(docs):
    return [[span._.kb_ents for span in doc.spans.get("sc", [])] for doc in docs]


def assert_same(one, other):
    for row, again in zip(candidates(one), candidates(other), strict=True):
        for found, others in zip(row, again, strict=True):
            assert [concept for concept, _ in found] == [concept for concept, _ in others]
            expected = [score for _, score in found]
            assert [score for _, score in others] == pytest.approx(expected, abs=2e-5)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def trained(source):
    nlp = make_nlp(source)
    optimizer, examples = start(nlp, source)
    train(nlp, optimizer, examples, 40)
    return nlp


def test_overfits_and_reloads_without_the_source(tmp_path):
    folder = make_tiny_bert(tmp_path / "encoder")
    nlp = make_nlp(folder, pooling="cls")
    optimizer, examples = start(nlp, folder)
    losses = train(nlp, optimizer, examples, 60)
    assert losses[-1] < 0.65 * losses[1]  # losses[0] is that of the warm-up
    docs = list(nlp.pipe(unlinked(nlp)))
    assert links(docs) == EXPECTED
    nlp.to_disk(tmp_path / "pipeline")
    data = nlp.to_bytes()
    shutil.rmtree(folder)
    disk = spacy.load(tmp_path / "pipeline")
    for again in (disk, make_nlp(folder, pooling="cls").from_bytes(data)):
        assert again.get_pipe(NAME).cfg["search_by"] == "context"
        assert_same(list(again.pipe(unlinked(again))), docs)
    # it trains on without a warm-up, and mines by batch
    more = train(disk, disk.resume_training(), make_examples(disk), 2, rate=0.0003)
    assert max(more) < 0.75 * losses[1]


def test_warm_up_then_contrast(source, monkeypatch):
    """One epoch of each, in two batches; the names are mined once, before the contrast."""
    from spacy_bioie.pipeline import contextual_contrast, linking_objectives

    calls = []
    for module, name in (
        (linking_objectives, "squared_distance"),
        (contextual_contrast, "contrast_of_rows"),
        (contextual_contrast, "search_names"),
    ):
        function = getattr(module, name)

        def spy(*args, name=name, function=function):
            calls.append((name, len(args[1] if name == "search_names" else args[0])))
            return function(*args)

        monkeypatch.setattr(module, name, spy)
    nlp = make_nlp(source)
    optimizer, examples = start(nlp, source)
    for _ in range(3):
        for batch in (examples[:2], examples[2:]):
            nlp.update(batch, sgd=optimizer)
    calls = [(name, n) for name, n in calls if n]  # mined ones are not searched again
    contrast = [("search_names", 6), ("contrast_of_rows", 3), ("contrast_of_rows", 3)]
    assert calls == [("squared_distance", 3)] * 2 + contrast * 2
    # mined by batch, the names are searched for the vectors of each update
    calls.clear()
    nlp = make_nlp(source, learning={"mine": "batch", "warmup_epochs": 0})
    optimizer, examples = start(nlp, source)
    nlp.update(examples[:2], sgd=optimizer)
    assert [(name, n) for name, n in calls if n] == [("search_names", 3), ("contrast_of_rows", 3)]


def test_warm_up_learns_the_vectors_of_names(source):
    nlp = make_nlp(source, learning={"warmup_epochs": 100})
    optimizer, examples = start(nlp, source)
    losses = train(nlp, optimizer, examples, 40)
    assert losses[0] > 0.3 and losses[-1] < 0.1 * losses[0]
    linker = nlp.get_pipe(NAME)
    doc = make_doc(nlp, *ARTICLES[2])
    vectors = linker.model.predict(([doc], [numpy.asarray([[1, 2, 0], [7, 8, 0]])]))[0]
    units = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    names = linker.kb.vectorizer.vectors(["bugs", "stress"])
    assert ((units * names).sum(axis=1) > 0.9).all()


def test_mined_names_are_those_of_the_start_of_the_epoch(source, monkeypatch):
    from spacy_bioie.pipeline import contextual_contrast

    seen = []
    choose = contextual_contrast.choose_names
    monkeypatch.setattr(
        contextual_contrast,
        "choose_names",
        lambda tables, hits, *rest: seen.append(hits.copy()) or choose(tables, hits, *rest),
    )
    nlp = make_nlp(source, learning={"warmup_epochs": 0})
    optimizer, examples = start(nlp, source)
    optimizer.learn_rate = 0.05
    linker = nlp.get_pipe(NAME)
    mined = linker.learning
    for batch in (examples[:2], examples[2:]):
        before = dict(mined._mined)
        nlp.update(batch, sgd=optimizer)
        assert not before or all((before[key] == mined._mined[key]).all() for key in before)
    text = ARTICLES[2][0]
    assert [row.tolist() for row in seen[1][:2]] == [
        mined._mined[(text, 1, 2)].tolist(),
        mined._mined[(text, 7, 8)].tolist(),
    ]


def test_gradient_of_the_loss_by_finite_differences(source):
    for learning in ({"warmup_epochs": 9}, {"warmup_epochs": 0}):
        # too few other names to draw among: as many as there are
        nlp = make_nlp(source, learning=learning, n_negatives=2, loss_weight=0.5)
        _, examples = start(nlp, source)
        linker = nlp.get_pipe(NAME)
        tables = [numpy.asarray([[2, 3, 0], [5, 6, 0]]), numpy.asarray([[3, 4, 0]])]
        vectors = linker.model.predict(([eg.predicted for eg in examples[:2]], tables))

        def loss_of(changed, linker=linker, examples=examples):
            numpy.random.seed(0)
            return linker.get_loss(examples[:2], changed)

        _, gradient = loss_of(vectors)
        assert [rows.shape for rows in gradient] == [(2, 32), (1, 32)]
        for d, i, j in ((0, 0, 0), (0, 1, 7), (1, 0, 31)):
            values = []
            for step in (0.05, -0.05):
                changed = [rows.copy() for rows in vectors]
                changed[d][i, j] += step
                values.append(loss_of(changed)[0])
            expected = (values[0] - values[1]) / 0.1
            assert gradient[d][i, j] == pytest.approx(0.5 * expected, rel=0.05, abs=2e-4)


def test_candidates_come_from_context_and_dictionary(trained):
    linker = trained.get_pipe(NAME)
    doc = trained.make_doc("rain filled the bugs of the valley")
    ((found,),) = linker.link([doc], [[Mention(3, 4, "thing")]])
    assert found[0][1] < 0.9 and 2 <= len(found) <= 5
    ids = [concept for concept, _ in found]
    assert len(set(ids)) == len(ids)
    # an equal name is a candidate, whatever is found by context
    linker.cfg["n_search"] = 1
    try:
        ((both,),) = linker.link([doc], [[Mention(0, 1, "thing")]])
        name = trained.make_doc("rain filled the serotonin of the valley")
        ((known,),) = linker.link([name], [[Mention(3, 4, "thing")]])
    finally:
        linker.cfg["n_search"] = 32
    assert len(both) == 1 and "C4" in [concept for concept, _ in known]


def test_batch_equals_single(trained):
    together = list(trained.pipe(unlinked(trained), batch_size=6))
    assert_same([trained(doc) for doc in unlinked(trained)], together)


def test_empty_input(trained):
    linker = trained.get_pipe(NAME)
    assert linker.predict([]) == []
    for text in ("", "   ", "nothing here"):
        assert links([trained(trained.make_doc(text))]) == [[]]
    empty = make_examples(trained, ARTICLES[3:4] + ARTICLES[5:])
    optimizer = trained.resume_training()
    assert trained.update(empty, sgd=optimizer, losses={}) == {NAME: 0.0}


def test_concepts_without_names_or_unknown_are_not_learned(source):
    text = "bugs of the valley"
    nlp = make_nlp(source, learning={"warmup_epochs": 0})
    examples = make_examples(nlp, [(text, [("bugs", "C5"), ("valley", "unknown")])])
    with pytest.warns(UserWarning, match="1 of 2 links"):
        optimizer, _ = start(nlp, source, examples)
    assert nlp.update(examples, sgd=optimizer, losses={}) == {NAME: 0.0}


def test_two_processes_after_torch_was_used(trained):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(300, 300) @ torch.randn(300, 300)
        docs = list(trained.pipe(unlinked(trained) * 2, n_process=2, batch_size=3))
    finally:
        torch.set_num_threads(threads)
    assert_same(list(trained.pipe(unlinked(trained) * 2)), docs)


def test_docbin_round_trip(trained):
    docs = list(trained.pipe(unlinked(trained)))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    again = list(DocBin().from_bytes(data).get_docs(trained.vocab))
    assert candidates(again) == candidates(docs)


def test_names_with_spelling_and_another_width(source, tmp_path_factory):
    """Only the semantic columns count; vectors of another width come from a linear layer."""
    nlp = make_nlp(source)
    optimizer, examples = start(nlp, source, lexical_weight=0.5)
    assert nlp.get_pipe(NAME).model.get_dim("nO") == 32
    train(nlp, optimizer, examples, 3)
    without = make_nlp(source)
    without.get_pipe(NAME).set_kb(lambda vocab: build_knowledge_base(CONCEPTS, vocab=vocab)[0])
    examples = make_examples(without)
    optimizer = without.initialize(lambda: examples)
    losses = train(without, optimizer, examples, 30)
    assert without.get_pipe(NAME).model.get_dim("nO") == 256 and losses[-1] < losses[1]


def test_shared_encoder_mines_by_batch():
    tok2vec = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 32,
        "depth": 1,
        "embed_size": 200,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
    }
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    model = {"@architectures": "spacy_bioie.MentionEncoder.v1", "tok2vec": listener}
    for mine in ("batch", "epoch"):
        nlp = spacy.blank("en")
        nlp.add_pipe("tok2vec", config={"model": tok2vec})
        learning = {
            "@misc": "spacy_bioie.ContextualContrast.v1",
            "warmup_epochs": 0,
            "mine": mine,
        }
        nlp.add_pipe(NAME, config={"model": model, "learning": learning, "search_by": "context"})
        nlp.get_pipe(NAME).set_kb(lambda vocab: build_knowledge_base(CONCEPTS, vocab=vocab)[0])
        examples = make_examples(nlp)
        optimizer = nlp.initialize(lambda examples=examples: examples)
        if mine == "batch":
            assert all(loss > 0 for loss in train(nlp, optimizer, examples, 2))
            assert len(candidates([nlp(unlinked(nlp)[0])])[0][0]) > 1
        else:
            for eg in examples:
                eg.predicted = nlp.make_doc(eg.reference.text)
            with pytest.raises(ValueError, match=r"'faiss_entity_linker': names cannot be mined"):
                nlp.update(examples, sgd=optimizer)


def test_search_by_is_checked(source):
    with pytest.raises(Exception, match="search_by"):
        make_nlp(source, search_by="label")
