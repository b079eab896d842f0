"""The component nested_spancat on a shared tok2vec or transformer."""

import pytest
import spacy

from ..span_pipeline import (
    ALL_HEADS,
    GUT,
    NESTED,
    TRAIN,
    assert_same_spans,
    borders,
    gold_borders,
    gradient_of_tok2vec,
    listener,
    make_examples,
    make_shared_nlp,
    make_transformer_nlp,
    model_config,
    train,
)


def test_batch_without_mentions_reaches_the_shared_layer():
    nlp = make_shared_nlp()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    assert gradient_of_tok2vec(nlp, examples) > 0
    assert gradient_of_tok2vec(nlp, examples[2:]) > 0  # a text without mentions and an empty one


def test_last_listener_without_mentions_keeps_the_gradient_of_the_others():
    nlp = make_shared_nlp()
    second = {"model": model_config(tok2vec=listener()), "spans_key": "other"}
    nlp.add_pipe("nested_spancat", name="second", config=second)
    nlp.get_pipe("second").add_label("unused")
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    gradients = []
    for weight in (1.0, 0.0):
        nlp.get_pipe("second").loss_weight = weight
        gradients.append(gradient_of_tok2vec(nlp, examples))
    assert gradients[1] > 0 and gradients[0] != gradients[1]


def test_loss_weight_scales_the_gradient_of_the_shared_layer():
    gradients, losses = [], []
    for weight in (1.0, 0.5):
        nlp = make_shared_nlp(loss_weight=weight)
        nlp.get_pipe("nested_spancat").model.get_ref("head").shims[0]._model.dropout.p = 0.0
        examples = make_examples(nlp)
        nlp.initialize(lambda examples=examples: examples)
        gradients.append(gradient_of_tok2vec(nlp, examples))
        losses.append(nlp.update(examples, sgd=None)["nested_spancat"])
    assert gradients[1] == pytest.approx(0.5 * gradients[0], rel=1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_shared_layer_trains_reloads_and_can_be_copied_in(tmp_path):
    nlp = make_shared_nlp()
    examples = make_examples(nlp)
    train(nlp, examples)
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


@ALL_HEADS
def test_overfits_and_reloads_on_a_transformer(tmp_path, tiny_bert, chains, decoder):
    nlp = make_transformer_nlp(tiny_bert, chains, decoder)
    data = NESTED if chains == "per_label" else TRAIN
    examples = make_examples(nlp, data)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.002
    for _ in range(100):
        nlp.update(examples, sgd=optimizer)
    docs = [nlp(text) for text, _ in data]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
    nlp.to_disk(tmp_path)
    for doc, again in zip(docs, spacy.load(tmp_path).pipe(t for t, _ in data), strict=True):
        assert_same_spans(doc, again)


@pytest.mark.parametrize("encoder", ["tok2vec", "transformer"])
def test_missing_encoder_output_is_an_error(tiny_bert, encoder):
    nlp = make_shared_nlp() if encoder == "tok2vec" else make_transformer_nlp(tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    with (
        nlp.select_pipes(disable=[encoder]),
        pytest.raises(ValueError, match="'nested_spancat'.*Gut bacteria"),
    ):
        nlp(GUT)
