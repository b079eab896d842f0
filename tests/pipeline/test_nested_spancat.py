"""The component nested_spancat by itself."""

import warnings

import numpy
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import load_config_from_str
from thinc.api import Model

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.pipeline.nested_spancat import NestedSpanCategorizer

from ..span_pipeline import (
    ALL_HEADS,
    GUT,
    NESTED,
    TOK2VEC,
    TRAIN,
    assert_same_spans,
    borders,
    gold_borders,
    make_examples,
    make_nlp,
    model_config,
    scores_of,
    train,
)


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp("per_label", "crf")
    examples = make_examples(nlp, NESTED)
    train(nlp, examples)
    return nlp, examples


def test_implicit_labels_come_in_the_order_of_the_corpus():
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("nested_spancat")
    assert pipe.labels == ("bacteria", "animal", "DDF", "anatomical location")
    assert pipe.label_data == list(pipe.labels)


def test_explicit_labels():
    nlp = make_nlp()
    pipe = nlp.get_pipe("nested_spancat")
    given = ["anatomical location", "B-cell", "DDF", "animal", "bacteria"]
    pipe.initialize(lambda: make_examples(nlp), nlp=nlp, labels=given)
    assert pipe.labels == tuple(given)
    with pytest.raises(ValueError):
        pipe.add_label("gene")


def test_added_labels_are_kept():
    nlp = make_nlp()
    pipe = nlp.get_pipe("nested_spancat")
    assert pipe.add_label("gene") == 1
    assert pipe.add_label("gene") == 0
    with pytest.raises(ValueError, match="label"):
        pipe.add_label("")
    nlp.initialize(lambda: make_examples(nlp))
    assert pipe.labels[0] == "gene"
    assert len(pipe.labels) == 5


def test_no_label_at_all():
    nlp = make_nlp()
    with pytest.raises(ValueError, match=r"no labels.*doc\.spans\['sc'\]"):
        nlp.initialize()


def test_mentions_under_another_key():
    nlp = make_nlp()
    examples = make_examples(nlp, key="entities")
    with pytest.raises(ValueError, match=r"doc\.spans\['sc'\].*4 examples.*\['entities'\]"):
        nlp.initialize(lambda: examples)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="threshold"):
        make_nlp(threshold=1.5)
    with pytest.raises(ValueError, match="loss_weight"):
        make_nlp(loss_weight=-1.0)


def test_a_model_that_finds_no_spans():
    nlp = make_nlp(model={**TOK2VEC})
    with pytest.raises(ValueError, match="SpanTagger"):
        nlp.initialize(lambda: make_examples(nlp))


@ALL_HEADS
def test_overfits_and_reloads(tmp_path, chains, decoder):
    nlp = make_nlp(chains, decoder)
    data = NESTED if chains == "per_label" else TRAIN
    examples = make_examples(nlp, data)
    losses = train(nlp, examples)
    assert losses["nested_spancat"] < 0.2
    docs = [nlp(text) for text, _ in data]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
        assert len(scores_of(doc)) == len(doc.spans["sc"])
        assert ((scores_of(doc) > 0.5) & (scores_of(doc) <= 1.0)).all()
        assert [s.id_ for s in doc.spans["sc"]] == [
            f"T{i}" for i in range(1, len(doc.spans["sc"]) + 1)
        ]
    assert nlp.evaluate(examples)["spans_sc_f"] == 1.0
    nlp.to_disk(tmp_path)
    from_disk = spacy.load(tmp_path)
    from_bytes = make_nlp(chains, decoder).from_bytes(nlp.to_bytes())
    for other in (from_disk, from_bytes):
        assert other.get_pipe("nested_spancat").labels == nlp.get_pipe("nested_spancat").labels
        for doc, again in zip(docs, other.pipe(text for text, _ in data), strict=True):
            assert_same_spans(doc, again)


def test_hidden_layer_reloads(tmp_path):
    nlp = make_nlp(model=model_config(hidden_size=16))
    examples = make_examples(nlp)
    train(nlp, examples, steps=5)
    nlp.to_disk(tmp_path)
    assert_same_spans(nlp(GUT), spacy.load(tmp_path)(GUT))


def test_joint_chain_warns_of_nested_mentions():
    nlp = make_nlp("joint")
    with pytest.warns(UserWarning, match="2 of 10 mentions.*per_label"):
        nlp.initialize(lambda: make_examples(nlp, NESTED))
    nlp = make_nlp("per_label")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp.initialize(lambda: make_examples(nlp, NESTED))


@ALL_HEADS
def test_empty_input(chains, decoder):
    nlp = make_nlp(chains, decoder)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("nested_spancat")
    assert pipe.predict([]) == []
    for texts in ([""], ["", ""], ["  "], ["\n"], ["", "Mice.", " \n "], ["<i></i>", "😀\x00"]):
        docs = list(nlp.pipe(texts))
        assert all("sc" in doc.spans for doc in docs)
        examples = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in texts]
        losses = pipe.update(examples, sgd=nlp.create_optimizer())
        assert numpy.isfinite(losses["nested_spancat"])
    assert pipe.update([]) == {"nested_spancat": 0.0}


def test_predict_changes_nothing(trained):
    nlp, _ = trained
    doc = nlp.make_doc(GUT)
    nlp.get_pipe("nested_spancat").predict([doc])
    assert len(doc.spans) == 0 and not doc.ents


def test_batch_equals_single(trained):
    nlp, _ = trained
    texts = [text for text, _ in NESTED] * 3 + ["Rats have anxiety and gut bacteria. " * 20]
    for doc, text in zip(nlp.pipe(texts, batch_size=5), texts, strict=True):
        assert_same_spans(doc, nlp(text))


def test_two_processes(trained):
    nlp, _ = trained
    texts = [text for text, _ in NESTED] * 3
    for doc, text in zip(nlp.pipe(texts, n_process=2, batch_size=3), texts, strict=True):
        assert_same_spans(doc, nlp(text))


def test_doc_bin(trained):
    nlp, _ = trained
    docs = list(nlp.pipe(text for text, _ in NESTED))
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(stored).get_docs(nlp.vocab), strict=True):
        assert_same_spans(doc, again)


def test_replaces_the_group(trained):
    nlp, _ = trained
    doc = nlp.make_doc(GUT)
    set_mentions(doc, "sc", [Mention(0, 1, "old"), Mention(1, 2, "old")])
    set_mentions(doc, "other", [Mention(0, 1, "old")])
    nlp.get_pipe("nested_spancat")(doc)
    assert "old" not in {span.label_ for span in doc.spans["sc"]}
    assert len(doc.spans["other"]) == 1


def test_threshold_is_read_when_spans_are_written(trained):
    nlp, _ = trained
    pipe = nlp.get_pipe("nested_spancat")
    scores = scores_of(nlp(GUT))
    middle = float(numpy.median(scores))
    pipe.cfg["threshold"] = middle
    try:
        kept = scores_of(nlp(GUT))
    finally:
        pipe.cfg["threshold"] = 0.0
    assert 0 < len(kept) == int((scores >= numpy.float32(middle)).sum()) < len(scores)


def test_set_ents_takes_the_best_flat_subset():
    nlp = make_nlp("per_label", "argmax", set_ents=True)
    examples = make_examples(nlp, NESTED)
    train(nlp, examples)
    doc = nlp(GUT)
    assert borders(doc) == gold_borders(examples[0])
    ranked = sorted(get_mentions(doc), key=lambda m: -m.score)
    expected, taken = set(), set()
    for mention in ranked:
        if not taken & set(range(mention.start, mention.end)):
            taken |= set(range(mention.start, mention.end))
            expected.add((mention.start, mention.end, mention.label))
    assert {(e.start, e.end, e.label_) for e in doc.ents} == expected
    assert len(doc.ents) < len(doc.spans["sc"])


def test_unknown_label_is_left_out_with_one_warning():
    nlp = make_nlp()
    pipe = nlp.get_pipe("nested_spancat")
    examples = make_examples(nlp)
    known = ["bacteria", "animal", "anatomical location"]
    with pytest.warns(UserWarning, match="'DDF'"):
        pipe.initialize(lambda: examples, nlp=nlp, labels=known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = pipe.update(examples, sgd=nlp.create_optimizer())
        figures = nlp.evaluate(examples)
    assert losses["nested_spancat"] > 0
    assert figures["spans_sc_per_type"]["DDF"]["r"] == 0.0


def test_gold_on_other_tokens():
    nlp = make_nlp()
    words = ["Gut", " bacteria", "\n", "Gut ba", "cteria", " of mice cha", "nge  anxiety", "."]
    predicted = Doc(nlp.vocab, words=words, spaces=[False] * len(words))
    assert predicted.text == GUT
    reference = make_examples(nlp)[0].reference
    examples = [Example(predicted, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nested_spancat")
    (table,) = pipe._gold(examples)
    assert table.tolist() == [[0, 2, 0], [3, 5, 0], [5, 6, 1], [6, 7, 2]]
    optimizer = nlp.create_optimizer()
    for _ in range(40):
        pipe.update(examples, sgd=optimizer)
    found = predicted.copy()
    pipe(found)
    assert [span.text.strip() for span in found.spans["sc"]] == [
        *("Gut bacteria", "Gut bacteria", "of mice cha", "nge  anxiety")
    ]


def test_mentions_that_cross_sections_are_not_learned():
    nlp = make_nlp()
    examples = make_examples(nlp, [(GUT, [(4, 16, "bacteria"), (29, 33, "animal")])])
    with pytest.warns(UserWarning, match="1 of 2 mentions.*two sections"):
        nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=nlp.create_optimizer())


@pytest.mark.parametrize("chains", ["joint", "per_label"])
def test_a_document_of_100000_characters(chains):
    nlp = make_nlp(chains)
    text = ("Gut bacteria of mice change anxiety and depression in rats. " * 1700)[:100_000]
    assert len(text) == 100_000
    data = [*TRAIN, (text, [(60 * i, 60 * i + 12, "bacteria") for i in range(1600)])]
    examples = make_examples(nlp, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no mention is lost where the text is cut
        optimizer = nlp.initialize(lambda: examples)
    losses = {}
    nlp.update(examples, sgd=optimizer, losses=losses)
    assert numpy.isfinite(losses["nested_spancat"])
    doc = nlp(text)
    assert len(doc) > 15_000
    assert len(scores_of(doc)) == len(doc.spans["sc"])


def test_training_can_be_repeated():
    weights = []
    for _ in range(2):
        nlp = make_nlp()
        train(nlp, make_examples(nlp), steps=5)
        weights.append(nlp.get_pipe("nested_spancat").model.to_bytes())
    first, second = (make_nlp().get_pipe("nested_spancat").model.from_bytes(w) for w in weights)
    doc = nlp.make_doc(GUT)
    numpy.testing.assert_array_equal(
        first.predict([doc]).emissions, second.predict([doc]).emissions
    )


def test_default_config_resolves():
    config = """
    [nlp]
    lang = "en"
    pipeline = ["nested_spancat"]

    [components]

    [components.nested_spancat]
    factory = "nested_spancat"
    """
    nlp = spacy.util.load_model_from_config(load_config_from_str(config), auto_fill=True)
    pipe = nlp.get_pipe("nested_spancat")
    assert isinstance(pipe, NestedSpanCategorizer) and isinstance(pipe.model, Model)
    filled = nlp.config["components"]["nested_spancat"]
    assert filled["model"]["@architectures"] == "spacy_bioie.SpanTagger.v1"
    assert filled["model"]["decoder"] == "crf" and filled["model"]["max_length"] == 1024
    assert filled["model"]["scheme"] == "BIO" and filled["model"]["loss"] is None
    assert filled["threshold"] == 0.0
    assert filled["tier_weights"] == filled["label_weights"] == filled["thresholds"] == {}
    assert nlp.config["training"]["score_weights"]["spans_sc_f"] == 1.0
    assert nlp.analyze_pipes()["summary"]["nested_spancat"]["assigns"] == ["doc.spans"]


def test_another_spans_key():
    nlp = make_nlp(spans_key="mentions")
    examples = make_examples(nlp, key="mentions")
    train(nlp, examples)
    doc = nlp(GUT)
    assert "sc" not in doc.spans
    assert borders(doc, "mentions") == gold_borders(examples[0], "mentions")
    assert nlp.evaluate(examples)["spans_mentions_f"] == 1.0
