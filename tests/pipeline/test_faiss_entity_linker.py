"""The component faiss_entity_linker, alone and on a shared tok2vec or transformer."""

import pickle
import shutil
import subprocess
import sys

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.kb import (
    Concept,
    FaissKnowledgeBase,
    TransformerNameEncoder,
    build_knowledge_base,
    load_knowledge_base,
)
from spacy_bioie.scoring.link_stages import evaluate_linking
from tests.kb.builders import training_names
from tests.linking_pipeline import (
    ARTICLES,
    CONCEPTS,
    EXPECTED,
    TOK2VEC,
    candidates,
    links,
    loader,
    make_doc,
    make_examples,
    make_nlp,
    pipe,
    start,
    train,
    unlinked,
)
from tests.tiny_encoder import make_tiny_bert


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp(context_weight=0.5)
    train(nlp)
    return nlp


def test_overfits_on_context_and_reloads(trained, tmp_path):
    docs = pipe(trained, unlinked(trained))
    assert links(docs) == EXPECTED
    trained.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert candidates(pipe(loaded, unlinked(loaded))) == candidates(docs)
    again = make_nlp(context_weight=0.5).from_bytes(trained.to_bytes())
    assert candidates(pipe(again, unlinked(again))) == candidates(docs)


def test_training_lowers_the_loss():
    nlp = make_nlp()
    assert train(nlp, steps=1) > 0.5 > 0.1 > train(nlp, steps=40)


def test_annotation_keeps_what_mentions_carry(trained):
    doc = make_doc(trained, *ARTICLES[0], links=False)
    group = doc.spans["sc"]
    before = [(span.id_, span.label_) for span in group]
    group.attrs["char_offsets"] = [[group[0].start_char + 1, group[0].end_char], [36, 45]]
    group.attrs["note"] = "mine"
    doc = trained(doc)
    group = doc.spans["sc"]
    assert [(span.id_, span.label_) for span in group] == before
    assert group.attrs["scores"].tolist() == [0.5, 0.5] and group.attrs["note"] == "mine"
    assert get_mentions(doc)[0].char_offsets == (group[0].start_char + 1, group[0].end_char)
    for span in group:
        assert span._.kb_ents[0][0] == span.kb_id_
        scores = [score for _, score in span._.kb_ents]
        assert scores == sorted(scores, reverse=True) and len(scores) <= 5


def test_nested_mentions_with_equal_borders(trained):
    doc = trained.make_doc("depression of the gut microbiota")
    mentions = [Mention(0, 1, "thing"), Mention(0, 1, "other"), Mention(0, 5, "thing")]
    set_mentions(doc, "sc", [*mentions, Mention(3, 5, "thing")])
    doc = trained(doc)
    assert [span._.kb_ents[0][0] for span in doc.spans["sc"]][3] == "C2"
    assert len({span.id_ for span in doc.spans["sc"]}) == 4


def test_batch_equals_single(trained):
    single = [trained(doc) for doc in unlinked(trained)]
    batch = pipe(trained, unlinked(trained), batch_size=6)
    assert candidates(batch) == candidates(single)


def test_documents_without_mentions_or_tokens(trained):
    docs = [trained.make_doc(text) for text in ("", "   ", "no group here")]
    docs.append(make_doc(trained, "Nothing here .", []))
    docs = pipe(trained, docs)
    assert ["sc" in doc.spans for doc in docs] == [False, False, False, True]
    linker = trained.get_pipe("faiss_entity_linker")
    assert linker.predict([]) == [] and links(pipe(trained, [])) == []


def test_odd_texts(trained):
    for text in ("<i></i>", "\x00\x07 \u200b", "😀", "-", "depression " * 2000):
        doc = trained.make_doc(text)
        set_mentions(doc, "sc", [Mention(0, 1, "never seen"), Mention(0, len(doc), "")])
        doc = trained(doc)
        assert len(doc.spans["sc"].attrs["candidates"]) == 2


def test_docbin_round_trip(trained):
    docs = pipe(trained, unlinked(trained))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    again = list(DocBin().from_bytes(data).get_docs(trained.vocab))
    assert links(again) == links(docs)
    assert candidates(again) == candidates(docs)


def test_threshold_makes_no_link(trained):
    linker = trained.get_pipe("faiss_entity_linker")
    doc = trained.make_doc("depression of unheard things")
    set_mentions(doc, "sc", [Mention(0, 1, "thing"), Mention(2, 4, "thing")])
    doc = trained(doc)
    best = [found[0][1] for found in doc.spans["sc"].attrs["candidates"]]
    assert best[1] < best[0] and all(links([doc])[0])
    linker.cfg["threshold"] = (best[0] + best[1]) / 2
    try:
        doc = trained(doc)
    finally:
        linker.cfg["threshold"] = 0.0
    assert [bool(kb_id) for kb_id in links([doc])[0]] == [True, False]
    assert len(doc.spans["sc"].attrs["candidates"][1]) > 0  # they stand for a look


def test_training_evidence_comes_first():
    nlp = make_nlp(context_weight=0.0)
    start(nlp, mentions=training_names(("depression", "thing", "C3")))
    docs = pipe(nlp, unlinked(nlp))
    assert links(docs)[0] == ["C3", "C4"]


def abbreviated(nlp):
    """A document that calls the gut microbiota GM, as read by the component that finds this."""
    doc = nlp.make_doc("The gut microbiota ( GM ) differed . GM again , and GM-like things .")
    return nlp.get_pipe("abbreviations")(doc)


def add_short_forms(doc, short="GM"):
    found = [token.i for token in doc if token.text == short]
    set_mentions(doc, "sc", [Mention(i, i + 1, "thing") for i in found])
    return doc


def linker_of_abbreviations(**settings):
    nlp = make_nlp(context_weight=0.0, n_search=0, **settings)
    nlp.add_pipe("abbreviations", first=True)
    start(nlp)
    return nlp


def test_names_are_looked_up_with_abbreviations_expanded():
    nlp = linker_of_abbreviations()
    doc = nlp(add_short_forms(abbreviated(nlp)))
    assert len(doc.spans["sc"]) > 1 and set(links([doc])[0]) == {"C2"}
    # another document does not say what it means
    other = nlp(add_short_forms(nlp.make_doc("GM differed .")))
    assert links([other]) == [[""]]
    without = linker_of_abbreviations(expand_abbreviations=False)
    doc = without(add_short_forms(abbreviated(without)))
    assert set(links([doc])[0]) == {""}


def test_abbreviations_leave_the_name_as_written_in_use():
    nlp = linker_of_abbreviations()
    doc = abbreviated(nlp)
    linker = nlp.get_pipe("faiss_entity_linker")
    linker.set_kb(
        lambda vocab: build_knowledge_base([*CONCEPTS, Concept("C5", "GM")], vocab=vocab)[0]
    )
    mention = get_mentions(add_short_forms(doc))[0]
    plain = nlp.make_doc(doc.text)
    ((both,), (one,)) = linker.link([doc, plain], [[mention], [mention]])
    assert [concept_id for concept_id, _ in both] == ["C2", "C5"]
    assert one == [pair for pair in both if pair[0] == "C5"]


def test_training_contrasts_candidates_of_expanded_names(monkeypatch):
    """The wrong candidates of a mention are those that prediction has to choose from."""
    seen = []

    def spy(kb, pairs, gold, settings, n):
        seen.append(set(pairs.concepts.tolist()))
        return pairs.concepts[:0]

    monkeypatch.setattr("spacy_bioie.pipeline.linker_training.hard_negatives", spy)
    nlp = make_nlp(n_search=0)
    nlp.add_pipe("abbreviations", first=True)
    start(nlp)
    doc = abbreviated(nlp)
    reference = add_short_forms(doc.copy())
    mentions = [Mention(m.start, m.end, m.label, kb_id="C2") for m in get_mentions(reference)]
    set_mentions(reference, "sc", mentions)
    nlp.get_pipe("faiss_entity_linker").update([Example(doc, reference)])
    kb = nlp.get_pipe("faiss_entity_linker").kb
    assert seen == [{kb.tables.concept_row("C2")}]


def test_scores_on_gold_and_predicted_input(trained):
    figures = trained.evaluate(make_examples(trained))
    # nothing in the pipeline finds mentions, but the candidates of gold mentions are scored
    assert figures["nel_gold_acc1"] == figures["nel_gold_mrr"] == 1.0
    assert figures["nel_gold_unseen_acc1"] == 1.0
    assert figures["nerd_strict_micro_f"] == 0.0
    examples = [
        Example(doc, eg.reference)
        for doc, eg in zip(unlinked(trained), make_examples(trained), strict=True)
    ]
    for eg in examples:
        eg.predicted = trained(eg.predicted)
    figures = trained.get_pipe("faiss_entity_linker").score(examples)
    assert figures["nerd_strict_micro_f"] == pytest.approx(1.0)
    no_links = trained.evaluate(make_examples(trained, links=False))
    assert no_links["nel_gold_acc1"] is None


def test_gold_mentions_on_other_tokens(trained):
    """The gold candidates come from the same code as predictions, whatever the tokens."""
    other = spacy.blank("en")
    reference = make_doc(other, *ARTICLES[1])
    figures = trained.evaluate([Example(trained.make_doc(reference.text), reference)])
    assert figures["nel_gold_acc1"] == 1.0


def test_no_knowledge_base(tmp_path):
    nlp = make_nlp()
    with pytest.raises(ValueError, match="'faiss_entity_linker' has no knowledge base"):
        nlp.initialize(lambda: make_examples(nlp))
    with pytest.raises(ValueError, match="has no knowledge base"):
        nlp("text")
    nlp.to_disk(tmp_path / "pipeline")  # an unfinished pipeline is saved all the same
    assert spacy.load(tmp_path / "pipeline").get_pipe("faiss_entity_linker").kb is None
    linker = nlp.get_pipe("faiss_entity_linker")
    with pytest.raises(ValueError, match="expected a FaissKnowledgeBase, got str"):
        linker.set_kb(lambda vocab: "kb")
    with pytest.raises(ValueError, match="expected kb_loader to be a function"):
        linker.set_kb("folder")


@pytest.mark.parametrize("concepts", [[], [Concept("C1")], [Concept("C1", "depression")]])
def test_small_knowledge_bases(concepts):
    nlp = make_nlp()
    linker = nlp.get_pipe("faiss_entity_linker")
    linker.set_kb(lambda vocab: build_knowledge_base(concepts, vocab=vocab)[0])
    with pytest.warns(UserWarning, match="name concepts that the knowledge base lacks"):
        optimizer = nlp.initialize(lambda: make_examples(nlp))
    losses = nlp.update(make_examples(nlp), sgd=optimizer)
    assert numpy.isfinite(losses["faiss_entity_linker"])
    found = {kb_id for row in links(pipe(nlp, unlinked(nlp))) for kb_id in row}
    assert found <= {"", "C1"} and ("C1" in found) == bool(concepts and concepts[0].name)


def test_unknown_links_are_warned_of():
    nlp = make_nlp()
    doc = make_doc(nlp, "depression", [("depression", "UNKNOWN")])
    examples = [Example(nlp.make_doc("depression"), doc)]
    with pytest.warns(UserWarning, match="1 of 1 links .*'UNKNOWN'"):
        start(nlp, examples)
    assert nlp.update(examples)["faiss_entity_linker"] == 0.0


@pytest.mark.parametrize(
    "setting, value",
    [
        ("threshold", 1.5),
        ("top_k", 0),
        ("n_search", -1),
        ("context_weight", -0.1),
        ("coherence_margin", -0.1),
        ("temperature", 0.0),
        ("device", "tpu"),
    ],
)
def test_settings_out_of_range(setting, value):
    with pytest.raises(ValueError, match=setting):
        make_nlp(**{setting: value})


def test_no_link_needs_a_reranker_that_is_asked():
    with pytest.raises(ValueError, match="expected no_link = false"):
        make_nlp(search_by="context", no_link=True)


def test_gold_by_another_id_of_the_concept_is_right(tmp_path):
    """As after two concepts have been merged."""
    nlp = make_nlp(context_weight=0.0)
    start(nlp)
    linker = nlp.get_pipe("faiss_entity_linker")
    doc = make_doc(nlp, "depression", [("depression", "OLD")])
    examples = [Example(nlp.make_doc("depression"), doc)]
    set_mentions(examples[0].predicted, "sc", [Mention(0, 1, "thing")])
    concepts = [Concept("C1", "depression", alt_ids=("OLD",)), Concept("C2", "serotonin")]
    linker.set_kb(lambda vocab: build_knowledge_base(concepts, vocab=vocab)[0])
    examples[0].predicted = linker(examples[0].predicted)
    figures = linker.score(examples)
    assert links([examples[0].predicted]) == [["C1"]]
    assert figures["nel_gold_acc1"] == 1.0 and figures["nerd_strict_micro_f"] > 0.99
    # the organisers compare ids as strings
    assert figures["nerd_2026_micro_f"] == figures["nerd_2026_macro_f"] == 0.0
    stages = evaluate_linking(linker, examples)
    assert stages["linker_acc1"] == stages["dictionary_acc1"] == stages["candidates_recall"] == 1.0


def test_other_knowledge_base_without_training(trained, encoder_dir):
    """Concepts are swapped; one of another vector space is refused."""
    nlp = make_nlp(context_weight=0.5).from_bytes(trained.to_bytes())
    linker = nlp.get_pipe("faiss_entity_linker")
    other = [Concept("N1", "depression"), Concept("N2", "serotonin")]
    linker.set_kb(lambda vocab: build_knowledge_base(other, vocab=vocab)[0])
    assert links(pipe(nlp, unlinked(nlp)))[0] == ["N1", "N2"]
    encoder = TransformerNameEncoder(encoder_dir)
    with pytest.raises(ValueError, match="projects to 256 dimensions.*have 32"):
        linker.set_kb(loader(name_encoder=encoder))


def test_pipeline_needs_neither_source_nor_encoder_folder(encoder_dir, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(encoder_dir, encoder)
    kb, _ = build_knowledge_base(CONCEPTS, name_encoder=TransformerNameEncoder(str(encoder)))
    kb.to_disk(tmp_path / "kb")
    shutil.rmtree(encoder)
    nlp = make_nlp(context_weight=0.0)
    examples = make_examples(nlp)
    nlp.get_pipe("faiss_entity_linker").initialize(
        lambda: examples, nlp=nlp, kb_loader=load_knowledge_base(tmp_path / "kb")
    )
    shutil.rmtree(tmp_path / "kb")
    expected = candidates(pipe(nlp, unlinked(nlp)))
    nlp.to_disk(tmp_path / "first")
    loaded = spacy.load(tmp_path / "first")
    weights = [p for p in (tmp_path / "first").rglob("*.safetensors")]
    assert len(weights) == 1
    shutil.move(tmp_path / "first", tmp_path / "moved")
    assert candidates(pipe(loaded, unlinked(loaded))) == expected
    loaded.to_disk(tmp_path / "second")
    shutil.rmtree(tmp_path / "moved")
    again = spacy.load(tmp_path / "second")
    assert candidates(pipe(again, unlinked(again))) == expected
    unpickled = pickle.loads(pickle.dumps(again.get_pipe("faiss_entity_linker").kb))
    assert isinstance(unpickled, FaissKnowledgeBase)


def test_training_leaves_the_name_encoder_and_the_concepts_alone(encoder_dir):
    nlp = make_nlp(context_weight=0.5)
    optimizer, examples = start(nlp, name_encoder=TransformerNameEncoder(encoder_dir))
    kb = nlp.get_pipe("faiss_entity_linker").kb
    vectors = kb.concept_vectors(numpy.arange(4))
    names = kb.vectorizer.vectors(["unheard"])
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    numpy.testing.assert_array_equal(kb.concept_vectors(numpy.arange(4)), vectors)
    numpy.testing.assert_array_equal(kb.vectorizer.vectors(["unheard"]), names)


def shared_tok2vec(**settings):
    nlp = make_nlp(
        {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}, **settings
    )
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC}, first=True)
    return nlp


def shared_gradient(nlp, examples):
    """The gradient that one update gives the shared tok2vec, as a sum of absolute values."""
    nlp.update(examples, sgd=False)
    model = nlp.get_pipe("tok2vec").model
    gradients = [
        numpy.abs(node.get_grad(name)).sum()
        for node in model.walk()
        for name in node.param_names
        if node.has_grad(name)
    ]
    assert gradients
    return sum(gradients)


def test_shared_tok2vec_gets_a_gradient():
    nlp = shared_tok2vec()
    _, examples = start(nlp)
    assert shared_gradient(nlp, examples) > 0


@pytest.mark.parametrize("settings", [{"loss_weight": 0.0}, {"context_weight": 0.0}])
def test_gradient_is_zero_and_still_passed_on(settings):
    nlp = shared_tok2vec(**settings)
    _, examples = start(nlp)
    assert shared_gradient(nlp, examples) == 0


def test_loss_weight_scales_the_gradient():
    sums = []
    for weight in (1.0, 0.5):
        fix_random_seed(0)
        nlp = shared_tok2vec(loss_weight=weight)
        _, examples = start(nlp)
        fix_random_seed(0)
        sums.append(shared_gradient(nlp, examples))
    assert sums[1] == pytest.approx(sums[0] / 2, rel=1e-3)


def test_documents_without_links_keep_the_gradient_of_other_components():
    """The linker is the last listener: what the tagger learned must reach the encoder."""
    nlp = shared_tok2vec()
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
    nlp.add_pipe("tagger", config={"model": tagger}, before="faiss_entity_linker")
    optimizer, _ = start(nlp, tagged(make_examples(nlp)))
    nlp.update(tagged(make_examples(nlp)), sgd=optimizer)  # the tagger's weights begin at zero
    for chosen in (make_examples(nlp, links=False), make_examples(nlp)[4:]):
        assert shared_gradient(nlp, tagged(chosen)) > 0


def tagged(examples):
    for eg in examples:
        for token in eg.reference:
            token.tag_ = "AB"[token.i % 2]
    return examples


def test_encoder_output_that_is_missing_is_an_error():
    nlp = shared_tok2vec()
    _, examples = start(nlp)
    with nlp.select_pipes(disable="tok2vec"):
        with pytest.raises(ValueError, match="'faiss_entity_linker' listens to 'tok2vec'"):
            pipe(nlp, unlinked(nlp))
    linker = nlp.get_pipe("faiss_entity_linker")
    assert "nel_gold_acc1" not in linker.score(examples)
    linker.cfg["context_weight"] = 0.0  # then the model is not asked
    assert "nel_gold_acc1" in linker.score(examples)
    with nlp.select_pipes(disable="tok2vec"):
        assert links(pipe(nlp, unlinked(nlp)))[0][1] == "C4"


def test_replaced_listener_reloads(tmp_path):
    nlp = shared_tok2vec(context_weight=0.5)
    train(nlp)
    expected = candidates(pipe(nlp, unlinked(nlp)))
    nlp.replace_listeners("tok2vec", "faiss_entity_linker", ["model.tok2vec"])
    assert candidates(pipe(nlp, unlinked(nlp))) == expected
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert candidates(pipe(loaded, unlinked(loaded))) == expected


def test_over_a_transformer(encoder_dir, tmp_path):
    nlp = make_nlp({"@architectures": "spacy_bioie.TransformerListener.v1"}, context_weight=0.5)
    model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": encoder_dir, "window": 64}
    nlp.add_pipe("transformer", config={"model": model}, first=True)
    optimizer, examples = start(nlp, name_encoder=TransformerNameEncoder(encoder_dir))
    optimizer.learn_rate = 1e-3
    first = nlp.update(examples, sgd=optimizer, losses={})["faiss_entity_linker"]
    for _ in range(15):
        last = nlp.update(examples, sgd=optimizer, losses={})["faiss_entity_linker"]
    assert last < first
    expected = candidates(pipe(nlp, unlinked(nlp)))
    assert expected[0]
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert links(pipe(loaded, unlinked(loaded))) == [[c[0][0] for c in row] for row in expected]


WORKERS = """
import sys
import faiss, spacy, torch
from spacy.tokens import DocBin
nlp = spacy.load(sys.argv[1])
read = lambda: list(DocBin().from_disk(sys.argv[2]).get_docs(nlp.vocab))
found = lambda docs: [[span._.kb_ents for span in doc.spans.get("sc", [])] for doc in docs]
torch.set_num_threads(2)
faiss.omp_set_num_threads(2)
torch.randn(600, 600) @ torch.randn(600, 600)
parent = found(nlp.pipe(read()))
linker = nlp.get_pipe("faiss_entity_linker")
linker.kb.search([f"unheard name {i}" for i in range(300)])
assert parent and found(nlp.pipe(read(), n_process=2, batch_size=2)) == parent
print("done")
"""


def test_two_processes_after_faiss_and_torch_used_threads(encoder_dir, tmp_path):
    nlp = make_nlp(context_weight=0.5)
    start(nlp, name_encoder=TransformerNameEncoder(encoder_dir))
    nlp.to_disk(tmp_path / "pipeline")
    docs = unlinked(nlp)
    extra = nlp.make_doc("unheard words of a name")
    set_mentions(extra, "sc", [Mention(0, 5, "thing")])  # its workers need the name encoder
    DocBin(docs=[*docs, extra] * 2).to_disk(tmp_path / "docs.spacy")
    result = subprocess.run(
        [sys.executable, "-c", WORKERS, str(tmp_path / "pipeline"), str(tmp_path / "docs.spacy")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout.strip().endswith("done"), result.stderr


def test_it_has_no_labels():
    with pytest.raises(NotImplementedError, match="has no labels"):
        make_nlp().get_pipe("faiss_entity_linker").add_label("x")
