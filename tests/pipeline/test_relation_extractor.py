"""The component relation_extractor, alone and on a shared tok2vec or transformer."""

import warnings

import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_relation_rows, set_mentions, set_relations
from spacy_bioie.models.relation_schema import RelationSchema
from spacy_bioie.scoring.relations import score_relation_sets

from ..relation_pipeline import (
    LISTENER,
    NAME,
    SHARED_TOK2VEC,
    TRAIN,
    TRIPLES,
    assert_same_rows,
    expected,
    initialize,
    make_examples,
    make_nlp,
    mark,
    mark_words,
    relations_of,
    texts,
    train,
)
from ..tiny_encoder import make_tiny_bert

TRANSFORMER_LISTENER = {"@architectures": "spacy_bioie.TransformerListener.v1"}


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp()
    examples = initialize(nlp)
    train(nlp, examples, 60)
    return nlp


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


def test_factory():
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(NAME)
    meta = nlp.get_pipe_meta(NAME)
    assert (meta.assigns, meta.requires) == (["doc._.relations"], ["doc.spans"])
    assert (pipe.labels, pipe.mention_labels, pipe.label_data) == ((), (), None)
    with pytest.raises(ValueError, match="no relation schema"):
        nlp("Before it is initialized.")
    with pytest.raises(ValueError, match="predicate 'affect' cannot be added"):
        pipe.add_label("affect")


@pytest.mark.parametrize(
    "config,message",
    [
        ({"threshold": 1.2}, "threshold 'threshold' is 1.2"),
        ({"thresholds": {"is a": -0.1}}, "threshold 'is a' is -0.1"),
        ({"max_gold_relations": -1}, "max_gold_relations is -1"),
        ({"loss_weight": -1.0}, "loss_weight is -1.0"),
    ],
)
def test_settings_out_of_range(config, message):
    with pytest.raises(ValueError, match=f"'{NAME}'.*{message}"):
        make_nlp(**config)


@pytest.mark.parametrize("kind", ["own", "tok2vec", "transformer"])
def test_overfits_and_reloads(kind, tiny_bert, tmp_path):
    if kind == "own":
        nlp = make_nlp()
    elif kind == "tok2vec":
        nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    else:
        model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": tiny_bert}
        nlp = make_nlp(TRANSFORMER_LISTENER, [("transformer", {"model": model})])
    examples = initialize(nlp)
    assert train(nlp, examples, 60) < 0.05
    docs = list(nlp.pipe(texts()))
    assert [relations_of(doc) for doc in docs] == expected(nlp)
    nlp.to_disk(tmp_path / "model")
    disk = spacy.load(tmp_path / "model")
    pipe = disk.get_pipe(NAME)
    assert pipe.schema == nlp.get_pipe(NAME).schema == RelationSchema.from_data(TRIPLES)
    for doc, again in zip(docs, disk.pipe(texts()), strict=True):
        assert_same_rows(again, doc)
    # and trains on
    assert train(disk, make_examples(disk), 2) < 0.1


def test_to_and_from_bytes(trained):
    nlp = make_nlp().from_bytes(trained.to_bytes())
    text = texts()[0]
    assert get_relation_rows(nlp(text)) == get_relation_rows(trained(text)) != []


def test_replace_listeners(tmp_path):
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    train(nlp, initialize(nlp), 40)
    docs = list(nlp.pipe(texts()))
    nlp.replace_listeners("tok2vec", NAME, ["model.tok2vec"])
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path, exclude=["tok2vec"])
    for one, other in zip(again.pipe(texts()), docs, strict=True):
        assert_same_rows(one, other)
    assert any(doc._.relations for doc in docs)


def test_empty_input(trained):
    assert list(trained.pipe([])) == []
    assert trained.get_pipe(NAME).predict([]) == []
    for text in (
        "",
        "\n",
        "   ",
        "Nothing .",
        "Only mice .",
        "<i></i>",
        "mice and rats and the gut",
    ):
        doc = trained(text)
        assert doc._.relations == [] and doc._.concept_relations == []
        assert doc.user_data["bioie_relations"] == {"spans_key": "sc", "relations": []}


def test_batch_equals_single(trained):
    together = list(trained.pipe(texts() * 2, batch_size=100))
    for doc, text in zip(together, texts() * 2, strict=True):
        assert_same_rows(trained(text), doc)


def test_predict_changes_nothing(trained):
    doc = mark_words(trained.make_doc(texts()[0]))
    (found,) = trained.get_pipe(NAME).predict([doc])
    assert len(found.heads) == 3
    assert all(not span.id_ for span in doc.spans["sc"]) and not doc.user_data


def test_two_processes_after_torch_was_used(trained):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(300, 300) @ torch.randn(300, 300)
        docs = list(trained.pipe(texts() * 2, n_process=2, batch_size=2))
    finally:
        torch.set_num_threads(threads)
    assert [relations_of(doc) for doc in docs] == expected(trained) * 2


def test_doc_bin_keeps_relations(trained):
    docs = list(trained.pipe(texts()))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(data).get_docs(trained.vocab), strict=True):
        assert get_relation_rows(again) == get_relation_rows(doc)
        assert relations_of(again) == relations_of(doc)


def test_nested_mentions_with_equal_borders():
    text = "gut serotonin of mice"
    nlp = make_nlp()
    mentions = [
        Mention(0, 2, "chemical"),
        Mention(0, 2, "DDF"),
        Mention(0, 1, "anatomical location"),
        Mention(3, 4, "animal"),
    ]
    reference = nlp.make_doc(text)
    ids = [mention.id for mention in set_mentions(reference, "sc", mentions)]
    gold = [(ids[0], "influence", ids[1], 1.0), (ids[1], "target", ids[3], 1.0)]
    set_relations(reference, "sc", gold)
    example = Example(nlp.make_doc(text), reference)
    initialize(nlp, [example])
    train(nlp, [example], 40)
    doc = nlp.make_doc(text)
    set_mentions(doc, "sc", mentions)
    doc = nlp.get_pipe(NAME)(doc)
    assert [row[:3] for row in get_relation_rows(doc)] == [row[:3] for row in gold]
    head, _, tail, _ = doc._.relations[0]
    assert (head.label_, tail.label_) == ("chemical", "DDF")
    assert (head.start, head.end) == (tail.start, tail.end)


def test_unknown_labels_take_part_in_nothing(trained):
    doc = mark_words(trained.make_doc(TRAIN[0][0]))
    spans = [*doc.spans["sc"], spacy.tokens.Span(doc, 0, 3, label="food")]
    doc.spans["sc"] = [spans[-1], *spans[:-1]]
    pipe = trained.get_pipe(NAME)
    with pytest.warns(UserWarning, match="label 'food' take part in no relation"):
        pipe(doc)
    assert relations_of(doc) == relations_of(make_examples(trained)[0].reference)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(doc)  # warned of once


def test_missing_span_group(trained):
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME, source=trained)
    with pytest.warns(UserWarning, match="no doc.spans\\['sc'\\].*have: none"):
        assert nlp("Butyrate of mice")._.relations == []


def test_missing_encoder_output():
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    initialize(nlp)
    with nlp.select_pipes(disable="tok2vec"), pytest.raises(ValueError, match="no output of it"):
        nlp("Butyrate of mice")


def test_other_tokens_in_the_reference(trained):
    text = "Butyrate of mice reduces anxiety"
    words = ["Butyrate", "of", "mice", "reduces", "anx", "iety"]
    reference = Doc(trained.vocab, words=words, spaces=[True, True, True, True, False, False])
    mentions = [Mention(0, 1, "chemical"), Mention(2, 3, "animal"), Mention(4, 6, "DDF")]
    ids = [mention.id for mention in set_mentions(reference, "sc", mentions)]
    set_relations(reference, "sc", [(ids[0], "influence", ids[2], 1.0)])
    example = Example(trained.make_doc(text), reference)
    nlp = make_nlp()
    initialize(nlp, [example])
    train(nlp, [example], 40)
    assert relations_of(nlp(text)) == [(0, "influence", 4)]
    figures = nlp.evaluate([example])
    assert figures["rel_gold_tm_micro_f"] == figures["rel_pred_m_micro_f"] == pytest.approx(1.0)


def test_decoding_settings(trained):
    text = "Butyrate of mice reduces anxiety and depression in rats."
    nlp = make_nlp().from_bytes(trained.to_bytes())
    pipe = nlp.get_pipe(NAME)
    pipe.cfg["threshold"] = 0.0
    rows = get_relation_rows(nlp(text))
    # chemical-DDF 2, chemical-animal 2, DDF-animal 4, DDF-DDF 2
    assert len(rows) == 10
    pairs = [(head, tail) for head, _, tail, _ in rows]
    assert len(set(pairs)) == len(pairs)
    pipe.cfg["one_predicate_per_pair"] = False
    both = get_relation_rows(nlp(text))
    assert len(both) == 12 and len({row[:3] for row in both}) == 12
    best = {
        (head, tail): max(r[3] for r in both if (r[0], r[2]) == (head, tail))
        for head, _, tail, _ in both
    }
    assert best == {(head, tail): score for head, _, tail, score in rows}
    pipe.cfg["thresholds"] = {"is a": 1.0, "affect": 1.0, "located in": 1.0}
    assert {row[1] for row in get_relation_rows(nlp(text))} == {"influence", "target"}
    pipe.cfg["threshold"] = 1.0
    pipe.cfg["thresholds"] = {"target": 0.0}
    assert {row[1] for row in get_relation_rows(nlp(text))} == {"target"}


def test_relations_over_concepts(trained):
    doc = mark_words(trained.make_doc(TRAIN[0][0]))
    concepts = {"chemical": "C1", "DDF": "C2", "animal": "C3"}
    group = doc.spans["sc"]
    for i, span in enumerate(group):
        group[i] = spacy.tokens.Span(
            doc, span.start, span.end, label=span.label, kb_id=concepts[span.label_]
        )
    doc = trained.get_pipe(NAME)(doc)
    found = {(r.head, r.label, r.tail) for r in doc._.concept_relations}
    assert found == {("C1", "influence", "C2"), ("C1", "located in", "C3"), ("C2", "target", "C3")}


def test_scores_on_gold_and_predicted_input(trained):
    nlp = make_nlp().from_bytes(trained.to_bytes())
    examples = make_examples(nlp)
    figures = nlp.evaluate(examples)
    assert figures["rel_gold_tm_micro_f"] == pytest.approx(1.0)
    assert figures["rel_pred_tm_micro_f"] == pytest.approx(1.0)
    # fewer predicted mentions: the figures over gold mentions stay as they are
    examples = make_examples(nlp)
    for eg in examples:
        mark(eg.predicted)
        keep = [span for span in eg.predicted.spans["sc"] if span.label_ != "animal"]
        eg.predicted.spans["sc"] = keep
    with nlp.select_pipes(disable="mark_words"):
        figures = nlp.evaluate(examples)
    assert figures["rel_gold_m_micro_f"] == pytest.approx(1.0)
    assert figures["rel_pred_m_micro_p"] == pytest.approx(1.0)
    assert figures["rel_pred_m_micro_r"] == pytest.approx(3 / 6)
    assert nlp.get_pipe(NAME).score([])["rel_gold_tm_micro_f"] is None


def test_no_gold_figures_without_encoder_output():
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    initialize(nlp)
    nlp.add_pipe("doc_cleaner", config={"attrs": {"tensor": None}})
    figures = nlp.evaluate(make_examples(nlp))
    assert "rel_pred_tm_micro_f" in figures and "rel_gold_tm_micro_f" not in figures


def test_no_figures_without_scorer():
    nlp = make_nlp(scorer=None)
    initialize(nlp)
    assert nlp.get_pipe(NAME).score(make_examples(nlp)) == {}


def test_figures_of_equal_sets():
    key = ("a", "A", "p", "b", "B", 0, 1, 2, 3)
    assert score_relation_sets([{key}], [{key}], "rel_gold")["rel_gold_m_micro_f"] == pytest.approx(
        1
    )
