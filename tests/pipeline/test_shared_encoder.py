"""What arrives at an encoder that several components share, and what they read from it."""

import itertools

import numpy
import pytest
from spacy.training import Example

from spacy_bioie.annotation import set_mentions
from tests.pipelines import (
    ARTICLES,
    ENCODERS,
    HEADS,
    TEXTS,
    Article,
    encoder_name,
    forget_gradients,
    gradient,
    make_examples,
    make_reference,
    parameters,
)

# Each component is the last one in one of these orders: spaCy gives the last one another role.
ORDERS = (HEADS, HEADS[1:] + HEADS[:1], HEADS[2:] + HEADS[:2])
BOTH = pytest.mark.parametrize("encoder", ENCODERS)
NO_MENTIONS = [Article(article.text) for article in ARTICLES]


def gradient_of(nlp, examples, encoder, **settings):
    """The gradient that one update sends to the encoder."""
    forget_gradients(nlp)
    nlp.update(examples, sgd=False, **settings)
    return gradient(nlp, encoder)


def gradient_alone(nlp, examples, encoder, head):
    """The gradient of one component, where the losses of the others have no weight."""
    others = [nlp.get_pipe(name) for name in nlp.pipe_names if name in HEADS and name != head]
    for pipe in others:
        pipe.loss_weight = 0.0
    try:
        return gradient_of(nlp, examples, encoder)
    finally:
        for pipe in others:
            pipe.loss_weight = 1.0


def assert_close(found, expected, tolerance=1e-4):
    """Compare gradients by the length of their difference."""
    length = numpy.linalg.norm(expected)
    assert length > 0
    assert numpy.linalg.norm(found - expected) <= tolerance * length


@BOTH
@pytest.mark.parametrize("head", HEADS)
def test_a_component_alone_trains_the_encoder(initialized, encoder, head):
    nlp, examples = initialized(encoder, heads=[head])
    assert numpy.linalg.norm(gradient_of(nlp, examples, encoder)) > 1e-3
    before = parameters(nlp, encoder)
    nlp.update(examples)
    assert numpy.abs(parameters(nlp, encoder) - before).max() > 0


@BOTH
@pytest.mark.parametrize("heads", ORDERS)
def test_the_gradient_is_the_sum_of_all_components(initialized, encoder, heads):
    nlp, examples = initialized(encoder, heads=heads)
    alone = [gradient_alone(nlp, examples, encoder, head) for head in heads]
    for one, other in itertools.combinations(alone, 2):
        assert numpy.linalg.norm(one) > 1e-3
        assert numpy.linalg.norm(one - other) > 0.1 * numpy.linalg.norm(one)
    assert_close(gradient_of(nlp, examples, encoder), sum(alone))


@BOTH
@pytest.mark.parametrize("head", HEADS)
def test_a_component_sends_the_same_alone_and_beside_others(initialized, encoder, head):
    nlp, examples = initialized(encoder)
    weights = {name: nlp.get_pipe(name).model.to_bytes() for name in (encoder, head)}
    among_others = gradient_alone(nlp, examples, encoder, head)
    nlp, examples = initialized(encoder, heads=[head])
    for name, data in weights.items():
        nlp.get_pipe(name).model.from_bytes(data)
    assert_close(gradient_of(nlp, examples, encoder), among_others)


@BOTH
def test_the_gradient_is_the_slope_of_the_losses(initialized, encoder):
    nlp, examples = initialized(encoder)
    slope = gradient_of(nlp, examples, encoder)
    length = float(numpy.linalg.norm(slope))
    losses = []
    for step in (0.001, -0.001):
        move(nlp, encoder, step * slope / length)
        found = nlp.update(examples, sgd=False, losses={})
        losses.append(sum(found[head] for head in HEADS))
        move(nlp, encoder, -step * slope / length)
    assert (losses[0] - losses[1]) / 0.002 == pytest.approx(length, rel=0.02)


def move(nlp, pipe, by):
    """Add to all parameters of a component."""
    begin = 0
    for node in nlp.get_pipe(pipe).model.walk():
        for name in node.param_names:
            if node.has_param(name):
                value = node.get_param(name)
                end = begin + value.size
                node.set_param(name, value + by[begin:end].reshape(value.shape))
                begin = end
        for shim in node.shims:
            for tensor in shim._model.parameters():
                end = begin + tensor.numel()
                tensor.data += tensor.new_tensor(by[begin:end].reshape(tensor.shape))
                begin = end
    assert begin == len(by)


@BOTH
@pytest.mark.parametrize("heads", ORDERS)
def test_a_batch_without_mentions_keeps_the_gradient_of_recognition(initialized, encoder, heads):
    nlp, _ = initialized(encoder, heads=heads)
    examples = make_examples(nlp, NO_MENTIONS)
    alone = gradient_alone(nlp, examples, encoder, "nested_spancat")
    # Without a mention there is nothing to link or to relate.
    assert_close(gradient_of(nlp, examples, encoder), alone)


@BOTH
@pytest.mark.parametrize("heads", ORDERS)
def test_a_batch_without_pairs_keeps_the_gradients_of_the_others(initialized, encoder, heads):
    nlp, _ = initialized(encoder, heads=heads)
    single = [Article(text, a.mentions[:1]) for text, a in zip(TEXTS, ARTICLES, strict=True)]
    examples = make_examples(nlp, single)
    assert not gradient_alone(nlp, examples, encoder, "relation_extractor").any()
    alone = [gradient_alone(nlp, examples, encoder, head) for head in HEADS[:2]]
    assert all(numpy.linalg.norm(one) > 1e-3 for one in alone)
    assert_close(gradient_of(nlp, examples, encoder), sum(alone))


@BOTH
@pytest.mark.parametrize("heads", ORDERS)
def test_documents_without_mentions_or_text_among_others(initialized, encoder, heads):
    nlp, examples = initialized(encoder, heads=heads)
    odd = make_examples(nlp, [Article(""), Article("Nothing."), Article(" \n "), Article("")])
    batch = [odd[0], examples[0], odd[1], odd[2], examples[1], odd[3]]
    alone = [gradient_alone(nlp, batch, encoder, head) for head in heads]
    assert all(numpy.linalg.norm(one) > 1e-3 for one in alone)
    assert_close(gradient_of(nlp, batch, encoder), sum(alone))


@BOTH
def test_batches_without_text(initialized, encoder, recwarn):
    nlp, examples = initialized(encoder)
    empty = [Example(nlp.make_doc(""), nlp.make_doc("")) for _ in range(2)]
    before = parameters(nlp, encoder)
    for _ in range(3):
        nlp.update(empty, sgd=False)
    nlp.update(empty)
    assert (parameters(nlp, encoder) == before).all()
    for _ in range(2):  # nlp.update moves the encoder before its gradient comes: one batch later
        nlp.update(examples)
    assert (parameters(nlp, encoder) != before).any()
    assert not [w for w in recwarn if "gradient" in str(w.message)]


@BOTH
@pytest.mark.parametrize("head", HEADS)
def test_every_component_asks_for_the_output_of_the_encoder(initialized, encoder, head):
    nlp, _ = initialized(encoder)
    doc = make_reference(nlp, ARTICLES[0])
    with pytest.raises(ValueError, match=f"'{head}' listens to '{encoder}'.*'Butyrate and dep"):
        nlp.get_pipe(head).predict([doc])


@BOTH
def test_missing_output_of_the_encoder_is_an_error(initialized, encoder):
    nlp, examples = initialized(encoder)
    nlp.add_pipe("doc_cleaner", name="early", before=HEADS[0])
    with pytest.raises(ValueError, match="carries no output of it.*'doc_cleaner' at the end"):
        nlp(TEXTS[0])
    with pytest.raises(ValueError, match="carries no output"):
        nlp.evaluate(examples)
    nlp.remove_pipe("early")
    assert len(list(nlp.pipe(TEXTS))) == len(TEXTS)
    with nlp.select_pipes(disable=[encoder]):
        with pytest.raises(ValueError, match=f"'{encoder}' is enabled"):
            list(nlp.pipe(TEXTS))
    nlp.remove_pipe(encoder)
    with pytest.raises(ValueError, match="carries no output"):
        nlp(TEXTS[0])


@BOTH
def test_the_encoder_is_not_asked_without_text_or_mentions(initialized, encoder):
    nlp, _ = initialized(encoder)
    for text in ("", " ", " \n\t"):
        doc = nlp.make_doc(text)
        for head in HEADS:
            doc = nlp.get_pipe(head)(doc)
        assert len(doc.spans["sc"]) == 0 and doc._.relations == []


@BOTH
def test_figures_on_gold_input_need_the_output_of_the_encoder(initialized, encoder):
    nlp, examples = initialized(encoder)
    figures = nlp.evaluate(examples)
    assert {"nel_gold_acc1", "rel_gold_tm_micro_f"} <= set(figures)
    nlp.add_pipe("doc_cleaner")
    cleaned = nlp.evaluate(examples)
    assert not [name for name in cleaned if "gold" in name]
    assert {name for name in figures if "gold" not in name} == set(cleaned)


@BOTH
def test_gold_input_is_scored_apart_from_predicted_input(initialized, encoder):
    nlp, examples = initialized(encoder)
    for _ in range(60):
        nlp.update(examples, sgd=nlp._optimizer)
    spancat = nlp.get_pipe("nested_spancat")
    spancat.cfg["threshold"] = 1.0
    nlp.get_pipe("relation_extractor").cfg["threshold"] = 0.0
    figures = nlp.evaluate(examples)
    doc = encoder_output_of(nlp, examples[0].reference)
    assert len(spancat.predict([doc])[0].starts) > 0
    assert figures["spans_sc_f"] == 0.0 and figures["nerd_strict_micro_f"] == 0.0
    assert figures["rel_pred_tm_micro_f"] == 0.0 and figures["rel_pred_m_micro_f"] == 0.0
    assert figures["nel_gold_acc1"] > 0.5
    assert figures["rel_gold_tm_micro_f"] > 0.2
    assert figures["rel_gold_tm_micro_r"] == pytest.approx(1.0)


def encoder_output_of(nlp, reference):
    doc = nlp.make_doc(reference.text)
    set_mentions(doc, "sc", [])
    return nlp.get_pipe(encoder_name(nlp))(doc)
