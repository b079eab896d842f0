"""The component nested_spancat with the architecture SpanPointer.v1."""

import warnings

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import fix_random_seed

from tests.span_pipeline import (
    GUT,
    TOK2VEC,
    assert_same_spans,
    borders,
    gold_borders,
    gradient_of_tok2vec,
    listener,
    make_examples,
    scores_of,
    train,
)

# "anatomical location" nests in itself, one mention has two labels
NESTED = [
    (
        GUT,
        [
            (0, 12, "bacteria"),
            (0, 3, "anatomical location"),
            (13, 33, "bacteria"),
            (13, 25, "bacteria"),
            (29, 33, "animal"),
            (29, 33, "food"),
            (42, 49, "DDF"),
        ],
    ),
    (
        "Depression\nThe small intestine of rats and depression",
        [
            (0, 10, "DDF"),
            (15, 38, "anatomical location"),
            (15, 30, "anatomical location"),
            (21, 30, "anatomical location"),
            (34, 38, "animal"),
            (43, 53, "DDF"),
        ],
    ),
    ("Sleep", [(0, 5, "DDF")]),
    ("Nothing here.", []),
    ("", []),
]
TEXTS = [text for text, _ in NESTED]
LOSSES = pytest.mark.parametrize("loss", ["bce", "zlpr"])


def model_config(tok2vec=TOK2VEC, **settings):
    return {
        "@architectures": "spacy_bioie.SpanPointer.v1",
        "max_width": 6,
        "hidden_size": 64,
        "rank": 16,
        "tok2vec": tok2vec,
        **settings,
    }


def make_nlp(tok2vec=TOK2VEC, encoder=None, component=None, **settings):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    if encoder is not None:
        nlp.add_pipe(encoder[0], config={"model": encoder[1]})
    model = model_config(tok2vec, **settings)
    nlp.add_pipe("nested_spancat", config={"model": model, **(component or {})})
    return nlp


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp()
    examples = make_examples(nlp, NESTED)
    train(nlp, examples, steps=80)
    return nlp, examples


@LOSSES
def test_overfits_and_reloads(tmp_path, loss):
    nlp = make_nlp(loss=loss, chunk_size=100)
    examples = make_examples(nlp, NESTED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every mention can be learned
        losses = train(nlp, examples, steps=80)
    assert losses["nested_spancat"] < 0.2
    docs = [nlp(text) for text in TEXTS]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
        assert len(scores_of(doc)) == len(doc.spans["sc"])
        assert ((scores_of(doc) > 0.5) & (scores_of(doc) <= 1.0)).all()
        assert [s.id_ for s in doc.spans["sc"]] == [f"T{i + 1}" for i in range(len(borders(doc)))]
    assert nlp.evaluate(examples)["spans_sc_f"] == 1.0
    nlp.to_disk(tmp_path)
    from_bytes = make_nlp(loss=loss, chunk_size=100).from_bytes(nlp.to_bytes())
    for other in (spacy.load(tmp_path), from_bytes):
        assert other.get_pipe("nested_spancat").labels == nlp.get_pipe("nested_spancat").labels
        for doc, again in zip(docs, other.pipe(TEXTS), strict=True):
            assert_same_spans(doc, again)


def test_temperature_is_saved(tmp_path, trained):
    nlp, _ = trained
    model = nlp.get_pipe("nested_spancat").model
    sharp = scores_of(nlp(GUT))
    model.attrs["temperature"] = 3.0
    try:
        soft = nlp(GUT)
        nlp.to_disk(tmp_path)
    finally:
        model.attrs["temperature"] = 1.0
    assert (scores_of(soft) < sharp).all()
    assert_same_spans(spacy.load(tmp_path)(GUT), soft)


def test_is_calibrated(trained):
    nlp, examples = trained
    pipe = nlp.get_pipe("nested_spancat")
    before = nlp(GUT)
    try:
        found = pipe.calibrate(examples)
        after = nlp(GUT)
        assert pipe.model.attrs["temperature"] == found["temperature"] < 1.0  # all is right
    finally:
        pipe.model.attrs["temperature"] = 1.0
    assert found["ece_after"] < found["ece_before"]
    assert borders(after) == borders(before)
    assert scores_of(after).sum() > scores_of(before).sum()


def test_weights_of_labels_reach_the_loss():
    losses = []
    for weight in (1.0, 0.25, 0.0):
        nlp = make_nlp(dropout=0.0, component={"label_weights": {"DDF": weight}})
        examples = make_examples(nlp, NESTED)
        nlp.initialize(lambda examples=examples: examples)
        losses.append(nlp.update(examples, sgd=None)["nested_spancat"])
    share = losses[0] - losses[2]
    assert share > 0.0 and losses[1] - losses[2] == pytest.approx(0.25 * share, rel=1e-3)


@pytest.mark.parametrize("overlap", ["any", "nested", "flat"])
def test_empty_and_short_input(overlap):
    nlp = make_nlp(overlap=overlap)
    nlp.initialize(lambda: make_examples(nlp, NESTED))
    pipe = nlp.get_pipe("nested_spancat")
    assert pipe.predict([]) == []
    for texts in ([""], ["", ""], ["  "], ["\n"], ["a"], ["", "Mice.", " \n "], ["<i></i>", "😀"]):
        docs = list(nlp.pipe(texts))
        assert all("sc" in doc.spans for doc in docs)
        examples = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in texts]
        losses = pipe.update(examples, sgd=nlp.create_optimizer())
        assert numpy.isfinite(losses["nested_spancat"])
    assert pipe.update([]) == {"nested_spancat": 0.0}


def test_one_word_documents(trained):
    nlp, _ = trained
    assert borders(nlp("Sleep")) == [(0, 1, "DDF")]
    docs = list(nlp.pipe(["Sleep", "", "Sleep"]))
    assert [borders(doc) for doc in docs] == [[(0, 1, "DDF")], [], [(0, 1, "DDF")]]


def test_batch_equals_single(trained):
    nlp, _ = trained
    texts = TEXTS * 3 + ["Rats have anxiety and gut bacteria. " * 20]
    for doc, text in zip(nlp.pipe(texts, batch_size=5), texts, strict=True):
        assert_same_spans(doc, nlp(text))


def test_two_processes(trained):
    nlp, _ = trained
    texts = TEXTS * 3
    for doc, text in zip(nlp.pipe(texts, n_process=2, batch_size=3), texts, strict=True):
        assert_same_spans(doc, nlp(text))


def test_doc_bin(trained):
    nlp, _ = trained
    docs = list(nlp.pipe(TEXTS))
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(stored).get_docs(nlp.vocab), strict=True):
        assert_same_spans(doc, again)


def test_threshold_comes_after_min_score(trained):
    nlp, _ = trained
    pipe = nlp.get_pipe("nested_spancat")
    scores = scores_of(nlp(GUT))
    middle = float(numpy.median(scores))
    try:
        pipe.cfg["threshold"] = middle
        kept = scores_of(nlp(GUT))
        pipe.cfg["threshold"] = 0.4  # below min_score, which has left those out before
        every = scores_of(nlp(GUT))
    finally:
        pipe.cfg["threshold"] = 0.0
    assert 0 < len(kept) == int((scores >= numpy.float32(middle)).sum()) < len(scores)
    numpy.testing.assert_array_equal(every, scores)


def test_flat_spans_are_a_part_of_nested_spans(trained):
    nlp, _ = trained
    found = {}
    data = nlp.get_pipe("nested_spancat").model.to_bytes()
    for overlap in ("any", "nested", "flat"):
        other = make_nlp(overlap=overlap, component={"set_ents": True})
        other.initialize(lambda other=other: make_examples(other, NESTED))
        other.get_pipe("nested_spancat").model.from_bytes(data)
        doc = other(GUT)
        found[overlap] = set(borders(doc))
        if overlap == "flat":
            assert {(e.start, e.end, e.label_) for e in doc.ents} == found[overlap]
    assert found["flat"] < found["nested"] == found["any"]  # no gold mentions cross


def test_warns_of_wide_mentions_and_of_those_across_sections():
    nlp = make_nlp(max_width=2)
    examples = make_examples(nlp, [*NESTED, (GUT, [(4, 16, "bacteria")])])
    with pytest.warns(UserWarning, match="3 of 15 mentions.*wider than 2 words .max_width."):
        nlp.initialize(lambda: examples)
    losses = nlp.update(examples, sgd=nlp.create_optimizer())
    assert numpy.isfinite(losses["nested_spancat"])


def test_no_span_leaves_its_section(trained):
    nlp, _ = trained
    pipe = nlp.get_pipe("nested_spancat")
    text = "Gut\nbacteria of mice"
    (spans,) = pipe.predict([nlp.make_doc(text)])
    output = pipe.model.predict([nlp.make_doc(text)])
    output.logits[numpy.isfinite(output.logits)] = 5.0  # whatever may be found is found
    (everything,) = pipe.head.decode(output)
    assert len(everything.starts) > len(spans.starts)
    title = everything.starts == 0
    assert set(everything.ends[title].tolist()) <= {1, 2}  # the line break is no word
    assert everything.ends.max() == len(nlp.make_doc(text))


def test_a_document_of_many_chunks():
    text = "Gut bacteria of mice change anxiety and depression in rats. " * 200
    data = [*NESTED, (text, [(60 * i, 60 * i + 12, "bacteria") for i in range(200)])]
    parted, whole = (make_nlp(chunk_size=n, min_score=0.001) for n in (600, 10**9))
    for nlp in (parted, whole):
        examples = make_examples(nlp, data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer = nlp.initialize(lambda examples=examples: examples)
        losses = nlp.update(examples, sgd=optimizer)
        assert numpy.isfinite(losses["nested_spancat"])
    model = parted.get_pipe("nested_spancat").model
    whole.get_pipe("nested_spancat").model.from_bytes(model.to_bytes())
    doc = parted(text)
    assert 200 < len(borders(doc))
    assert_same_spans(doc, whole(text))


def shared_nlp(**settings):
    return make_nlp(listener(), ("tok2vec", TOK2VEC), **settings)


def test_batch_without_mentions_reaches_the_shared_layer():
    nlp = shared_nlp()
    examples = make_examples(nlp, NESTED)
    nlp.initialize(lambda: examples)
    assert gradient_of_tok2vec(nlp, examples) > 0
    assert gradient_of_tok2vec(nlp, examples[3:]) > 0  # a text without mentions and an empty one


def test_loss_weight_scales_the_gradient_of_the_shared_layer():
    gradients, losses = [], []
    for weight in (1.0, 0.5):
        nlp = shared_nlp(dropout=0.0, component={"loss_weight": weight})
        examples = make_examples(nlp, NESTED)
        nlp.initialize(lambda examples=examples: examples)
        gradients.append(gradient_of_tok2vec(nlp, examples))
        losses.append(nlp.update(examples, sgd=None)["nested_spancat"])
    assert gradients[1] == pytest.approx(0.5 * gradients[0], rel=1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_shared_layer_trains_reloads_and_can_be_copied_in(tmp_path):
    nlp = shared_nlp()
    examples = make_examples(nlp, NESTED)
    train(nlp, examples, steps=80)
    doc = nlp(GUT)
    assert borders(doc) == gold_borders(examples[0])
    nlp.to_disk(tmp_path / "shared")
    again = spacy.load(tmp_path / "shared")
    assert_same_spans(again(GUT), doc)
    again.replace_listeners("tok2vec", "nested_spancat", ["model.tok2vec"])
    again.remove_pipe("tok2vec")
    assert_same_spans(again(GUT), doc)
    again.to_disk(tmp_path / "alone")
    assert_same_spans(spacy.load(tmp_path / "alone")(GUT), doc)


def test_overfits_and_reloads_on_a_transformer(tmp_path, tiny_bert):
    encoder = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": tiny_bert}
    tok2vec = {"@architectures": "spacy_bioie.TransformerListener.v1"}
    nlp = make_nlp(tok2vec, ("transformer", encoder), dropout=0.0)
    examples = make_examples(nlp, NESTED)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.002
    for _ in range(160):
        nlp.update(examples, sgd=optimizer)
    docs = [nlp(text) for text in TEXTS]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
    nlp.to_disk(tmp_path)
    for doc, again in zip(docs, spacy.load(tmp_path).pipe(TEXTS), strict=True):
        assert_same_spans(doc, again)


def test_training_can_be_repeated():
    logits = []
    for _ in range(2):
        nlp = make_nlp()
        train(nlp, make_examples(nlp, NESTED), steps=5)
        model = nlp.get_pipe("nested_spancat").model
        logits.append(model.predict([nlp.make_doc(GUT)]).logits)
    numpy.testing.assert_array_equal(*logits)


@pytest.mark.parametrize(
    "setting", [{"max_width": 0}, {"loss": "focal"}, {"overlap": "none"}, {"min_score": 0.0}]
)
def test_settings_of_a_config_are_checked(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=rf"(?s)SpanPointer.*{name}.*{value}"):
        make_nlp(**setting)
