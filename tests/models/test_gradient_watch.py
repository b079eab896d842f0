import pytest

from tests.models.tagging_pipeline import gradient_norm, make_pipeline
from tests.tiny_encoder import make_tiny_bert


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


def test_gradient_reaches_the_encoder_from_every_component(tiny_bert):
    for heads in (("tagger",), ("tagger", "morphologizer")):
        nlp, examples = make_pipeline(tiny_bert, heads)
        nlp.update(examples)  # the weights of a new tagger are zero, and so is its gradient
        assert gradient_norm(nlp) == 0
        nlp.update(examples, sgd=False)
        assert gradient_norm(nlp) > 0
    nlp, examples = make_pipeline(tiny_bert)
    nlp.update(examples)
    nlp.update(examples, sgd=False, exclude=["tagger"])
    assert gradient_norm(nlp) > 0


def test_a_frozen_last_component_is_an_error(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert)
    nlp.update(examples)
    nlp.update(examples, sgd=False, exclude=["morphologizer"])
    with pytest.warns(UserWarning, match="no gradient came back to the encoder"):
        nlp.update(examples, sgd=False, exclude=["morphologizer"])
    with pytest.raises(ValueError, match="last listening component"):
        nlp.update(examples, sgd=False, exclude=["morphologizer"])
    assert gradient_norm(nlp) == 0


def test_other_ways_to_train_are_no_error(tiny_bert, recwarn):
    nlp, examples = make_pipeline(tiny_bert)
    other, other_examples = make_pipeline(tiny_bert)
    optimizer = nlp.create_optimizer()
    for _ in range(3):
        nlp.update(examples, sgd=False)
        nlp.update(examples[:1], sgd=False)
        nlp.evaluate(examples)
        nlp("Gut and brain.")
        other.update(other_examples, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    for _ in range(3):
        nlp.update(examples)
    for _ in range(3):
        nlp.update(examples, exclude=["transformer"], annotates=["transformer"])
    # Nobody listens: no gradient can be lost.
    nlp.remove_pipe("tagger")
    nlp.remove_pipe("morphologizer")
    transformer = nlp.get_pipe("transformer")
    transformer.listener_map.clear()
    for _ in range(3):
        nlp.update(examples)
    assert not [w for w in recwarn if "gradient" in str(w.message)]


def test_an_interrupted_update_is_no_error(tiny_bert, monkeypatch):
    nlp, examples = make_pipeline(tiny_bert)
    tagger = nlp.get_pipe("morphologizer")
    for _ in range(2):
        nlp.update(examples)
        with monkeypatch.context() as broken:

            def stop(*args, **kwargs):
                raise KeyboardInterrupt

            broken.setattr(tagger, "update", stop)
            with pytest.raises(KeyboardInterrupt):
                nlp.update(examples)
        with pytest.warns(UserWarning, match="interrupted"):
            nlp.update(examples)
