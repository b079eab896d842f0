"""Training with components that are frozen: the gradient arrives, or an error says why not."""

import numpy
import pytest
import spacy
from spacy.cli.train import train
from spacy.language import Language

from spacy_bioie.annotation import get_relation_rows
from tests.pipelines import (
    ENCODERS,
    HEADS,
    TEXTS,
    forget_gradients,
    gradient,
    make_examples,
    make_pipeline,
    parameters,
    save_corpus,
    training_config,
    what_was_found,
)

BOTH = pytest.mark.parametrize("encoder", ENCODERS)
LOST = "no gradient came back to the encoder"
LAST = HEADS[-1]


def gradient_without(nlp, examples, encoder, head):
    """The gradient of an update from which one component is excluded."""
    forget_gradients(nlp)
    nlp.update(examples, sgd=False, exclude=[head])
    return gradient(nlp, encoder)


def gradient_without_its_weight(nlp, examples, encoder, head):
    """The gradient of an update in which the loss of one component counts nothing."""
    forget_gradients(nlp)
    nlp.get_pipe(head).loss_weight = 0.0
    nlp.update(examples, sgd=False)
    nlp.get_pipe(head).loss_weight = 1.0
    return gradient(nlp, encoder)


@BOTH
@pytest.mark.parametrize("head", HEADS[:-1])
def test_the_gradient_of_the_others_arrives(initialized, encoder, head, recwarn):
    nlp, examples = initialized(encoder)
    expected = gradient_without_its_weight(nlp, examples, encoder, head)
    assert numpy.linalg.norm(expected) > 1e-3
    for _ in range(3):
        found = gradient_without(nlp, examples, encoder, head)
        numpy.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert not [w for w in recwarn if LOST in str(w.message)]


@BOTH
@pytest.mark.parametrize("frozen", [HEADS[-1:], HEADS[1:], HEADS])
def test_a_frozen_last_component_is_an_error(initialized, encoder, frozen):
    nlp, examples = initialized(encoder)
    nlp.update(examples, sgd=False)
    forget_gradients(nlp)
    nlp.update(examples, sgd=False, exclude=frozen)
    assert not gradient(nlp, encoder).any()
    with pytest.warns(UserWarning, match=f"{LOST}.*'{encoder}'.*last batch"):
        nlp.update(examples, sgd=False, exclude=frozen)
    with pytest.raises(ValueError, match=f"{LOST}.*'{encoder}'.*two batches in a row"):
        nlp.update(examples, sgd=False, exclude=frozen)
    # Trained again, the pipeline is in order again.
    for _ in range(3):
        nlp.update(examples, sgd=False)
    assert numpy.linalg.norm(gradient(nlp, encoder)) > 1e-3


@BOTH
def test_batches_in_between_are_no_error(initialized, encoder, recwarn):
    nlp, examples = initialized(encoder)
    for _ in range(3):
        nlp.update(examples[:2], sgd=False)
        nlp.update(examples[2:], sgd=False)
        nlp.evaluate(examples)
        nlp(TEXTS[0])
        list(nlp.pipe(TEXTS, batch_size=2))
    assert not [w for w in recwarn if LOST in str(w.message)]


@BOTH
def test_a_last_component_with_an_encoder_of_its_own_may_be_frozen(initialized, encoder, recwarn):
    nlp, examples = initialized(encoder)
    expected = gradient_without_its_weight(nlp, examples, encoder, LAST)
    nlp.replace_listeners(encoder, LAST, ["model.tok2vec"])
    before = parameters(nlp, LAST)
    for _ in range(3):
        found = gradient_without(nlp, examples, encoder, LAST)
        numpy.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        nlp.update(examples, exclude=[LAST])
        expected = gradient_without_its_weight(nlp, examples, encoder, LAST)
    assert (parameters(nlp, LAST) == before).all()
    assert not [w for w in recwarn if LOST in str(w.message)]


@BOTH
def test_a_frozen_encoder_has_to_annotate(initialized, encoder):
    nlp, examples = initialized(encoder)
    with pytest.raises(ValueError, match="annotating components"):
        nlp.update(examples, exclude=[encoder])
    nlp, examples = initialized(encoder)
    before = parameters(nlp, encoder)
    losses = []
    for _ in range(10):
        found = nlp.update(examples, exclude=[encoder], annotates=[encoder], losses={})
        losses.append([found[head] for head in HEADS])
    assert (parameters(nlp, encoder) == before).all()
    assert (numpy.asarray(losses[-1]) < 0.9 * numpy.asarray(losses[0])).all()


@BOTH
def test_components_may_annotate_what_others_train_on(initialized, encoder):
    nlp, examples = initialized(encoder)
    forget_gradients(nlp)
    nlp.update(examples, sgd=False)
    expected = gradient(nlp, encoder)
    forget_gradients(nlp)
    nlp.update(examples, sgd=False, annotates=[encoder, *HEADS])
    numpy.testing.assert_allclose(gradient(nlp, encoder), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=f"name '{encoder}' in training.annotating_components"):
        nlp.update(examples, sgd=False, annotates=HEADS[:1])


@pytest.fixture(scope="module")
def saved(tiny_bert, kb_folder, tmp_path_factory):
    """A folder for each encoder, with a pipeline in "model" and its corpus."""
    folders = {}
    for encoder in ENCODERS:
        folder = folders[encoder] = tmp_path_factory.mktemp(encoder)
        nlp = make_pipeline(encoder, tiny_bert, kb_folder)
        examples = make_examples(nlp)
        nlp.initialize(lambda examples=examples: examples)
        for _ in range(20):
            nlp.update(examples)
        nlp.to_disk(folder / "model")
        save_corpus(nlp, folder / "corpus.spacy")
    return folders


def train_saved(folder, sourced, *, alone=(), **training) -> Language:
    """Run ``spacy train`` on a saved pipeline, some of whose components are taken over.

    alone: of these, the ones that get an encoder of their own.
    """
    nlp = spacy.load(folder / "model")
    settings = {"max_steps": 8, "eval_frequency": 4, "optimizer": {"learn_rate": 0.001}, **training}
    config = training_config(nlp, str(folder / "corpus.spacy"), **settings)
    for name in sourced:
        config["components"][name] = {"source": str(folder / "model")}
        if name in alone:
            config["components"][name]["replace_listeners"] = ["model.tok2vec"]
    config.to_disk(folder / "config.cfg")
    train(folder / "config.cfg", folder / "output")
    return spacy.load(folder / "output" / "model-last")


@pytest.mark.parametrize(
    "encoder,frozen",
    [
        ("tok2vec", HEADS[1]),
        ("transformer", HEADS[0]),
        pytest.param("tok2vec", HEADS[0], marks=pytest.mark.slow),
        pytest.param("transformer", HEADS[1], marks=pytest.mark.slow),
    ],
)
def test_spacy_train_with_a_frozen_component(saved, encoder, frozen):
    folder = saved[encoder]
    before = spacy.load(folder / "model")
    after = train_saved(folder, [encoder, *HEADS], frozen_components=[frozen])
    for name in (encoder, *HEADS):
        same = (parameters(before, name) == parameters(after, name)).all()
        assert same == (name == frozen), name


@BOTH
def test_spacy_train_with_a_frozen_last_component(saved, encoder):
    folder = saved[encoder]
    with pytest.warns(UserWarning, match=LOST), pytest.raises(ValueError, match=LOST):
        train_saved(folder, [encoder, *HEADS], frozen_components=[LAST])


@BOTH
def test_spacy_train_with_a_frozen_last_component_over_its_own_encoder(saved, encoder):
    folder = saved[encoder]
    before = spacy.load(folder / "model")
    after = train_saved(folder, [encoder, *HEADS], alone=[LAST], frozen_components=[LAST])
    for name in (encoder, *HEADS[:-1]):
        assert (parameters(before, name) != parameters(after, name)).any(), name
    found = []
    for nlp in (before, after):
        nlp.get_pipe(LAST).cfg["threshold"] = 0.0
        docs = [example.reference for example in make_examples(nlp)]
        docs = nlp.pipe(docs, disable=HEADS[:-1])  # over the same mentions
        rows = [(i, *row) for i, doc in enumerate(docs) for row in get_relation_rows(doc)]
        found.append({row[:4]: row[4] for row in rows})
    assert found[1] == pytest.approx(found[0], rel=1e-3) and len(found[0]) > 10


@pytest.mark.slow
@BOTH
def test_spacy_train_of_a_new_encoder_below_a_frozen_last_component(saved, encoder):
    # spaCy does not link a frozen component to an encoder that it initializes.
    folder = saved[encoder]
    start = train_saved(folder, [LAST], frozen_components=[LAST], max_steps=1)
    after = train_saved(folder, [LAST], frozen_components=[LAST], max_steps=8)
    assert (parameters(start, LAST) == parameters(after, LAST)).all()
    for name in (encoder, *HEADS[:-1]):
        assert (parameters(start, name) != parameters(after, name)).any(), name


@BOTH
def test_spacy_train_with_a_frozen_encoder(saved, encoder):
    folder = saved[encoder]
    before = spacy.load(folder / "model")
    frozen = {"frozen_components": [encoder], "annotating_components": [encoder]}
    after = train_saved(folder, [encoder, *HEADS], **frozen)
    for name in (encoder, *HEADS):
        same = (parameters(before, name) == parameters(after, name)).all()
        assert same == (name == encoder), name
    with pytest.raises(ValueError, match="annotating components"):
        train_saved(folder, [encoder, *HEADS], frozen_components=[encoder])


@pytest.mark.slow
@BOTH
def test_spacy_train_with_a_new_head_beside_frozen_ones(saved, encoder):
    folder = saved[encoder]
    before = spacy.load(folder / "model")
    frozen = [encoder, *HEADS[:-1]]
    after = train_saved(
        folder, frozen, frozen_components=frozen, annotating_components=frozen, max_steps=30
    )
    for name in frozen:
        assert (parameters(before, name) == parameters(after, name)).all(), name
    doc = after(TEXTS[0])
    assert what_was_found(doc)["mentions"] == what_was_found(before(TEXTS[0]))["mentions"]
    figures = after.evaluate(make_examples(after))
    assert figures["rel_gold_tm_micro_f"] > 0.3
