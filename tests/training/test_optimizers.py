"""Rates by the names of parameters, alone and in pipelines over a tiny transformer."""

import numpy
import pytest
from spacy import registry
from thinc.api import Adam

from spacy_bioie.training.optimizers import LayeredAdam_v1

from ..span_pipeline import GUT, make_examples, make_transformer_nlp
from ..tiny_encoder import make_tiny_bert


def _step(optimizer, name, weight=1.0, gradient=0.5):
    weights = numpy.full((3,), weight, dtype="float32")
    gradients = numpy.full((3,), gradient, dtype="float32")
    weights, gradients = optimizer((1, name), weights, gradients)
    assert not gradients.any()
    return weight - float(weights[0])


def test_registered():
    assert registry.get("optimizers", "spacy_bioie.LayeredAdam.v1") is LayeredAdam_v1


def test_without_scales_it_is_adam():
    ours = LayeredAdam_v1(0.01, scales={}, no_decay=[], L2=0.1)
    stock = Adam(0.01, L2=0.1, eps=1e-8, grad_clip=1.0, use_averages=False, L2_is_weight_decay=True)
    assert _step(ours, "any.weight") == pytest.approx(_step(stock, "any.weight"))


def test_rates_per_part():
    optimizer = LayeredAdam_v1(0.001, scales={"crf": 30.0, "head": 3.0}, L2=0.0)
    encoder = _step(optimizer, "encoder.layer.0.attention.self.query.weight")
    assert _step(optimizer, "head.weight") == pytest.approx(3 * encoder, rel=1e-3)
    assert _step(optimizer, "head.crf.transitions") == pytest.approx(30 * encoder, rel=1e-3)


def test_biases_and_layer_norms_do_not_decay():
    optimizer = LayeredAdam_v1(0.01, scales={}, L2=0.5)
    decayed = _step(optimizer, "encoder.dense.weight")
    for name in (
        *("encoder.dense.bias", "encoder.LayerNorm.weight", "b"),
        *("head_lstm.bias_ih_l0", "head_lstm.bias_hh_l0_reverse", "loss_alpha"),
    ):
        assert _step(optimizer, name) < decayed
    assert optimizer.L2 == 0.5


def test_schedule_steps():
    optimizer = LayeredAdam_v1([0.1, 0.05, 0.01])
    assert optimizer.learn_rate == 0.1
    optimizer.step_schedules()
    assert optimizer.learn_rate == 0.05


def test_errors_name_the_pattern():
    with pytest.raises(ValueError, match=r"scales\['head'\] is -1"):
        LayeredAdam_v1(0.1, scales={"head": -1.0})
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        LayeredAdam_v1(0.1, scales={"(": 1.0})
    with pytest.raises(ValueError, match=r"'\[' is no regular expression"):
        LayeredAdam_v1(0.1, frozen=["["])


def test_mixing_weight_has_a_rate_of_its_own():
    optimizer = LayeredAdam_v1(2e-5, L2=0.0)
    assert _step(optimizer, "loss_alpha") == pytest.approx(0.01, rel=1e-3)


def test_frozen_parameters():
    optimizer = LayeredAdam_v1(0.01, frozen=["^embeddings", r"layer\.[01]\."], L2=0.1)
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.weight"):
        assert _step(optimizer, name) == 0.0
    assert _step(optimizer, "encoder.layer.2.output.dense.weight") > 0.0
    assert [name for _, name in optimizer.mom1] == ["encoder.layer.2.output.dense.weight"]


def test_rates_fall_from_layer_to_layer():
    optimizer = LayeredAdam_v1(0.01, layer_decay=0.5, n_layers=4, L2=0.0)
    factors = {
        "head_output.weight": 3.0,
        "pooler.dense.weight": 1.0,
        "encoder.layer.3.output.dense.weight": 1.0,
        "encoder.layer.2.output.dense.weight": 0.5,
        "encoder.layer.0.attention.self.query.bias": 0.125,
        "embeddings.word_embeddings.weight": 0.0625,
        "block.3.layer.1.DenseReluDense.wi.weight": 1.0,
        "h.0.attn.c_proj.weight": 0.125,
    }
    for name, factor in factors.items():
        assert _step(optimizer, name) == pytest.approx(0.01 * factor, rel=1e-3), name
    optimizer.step_schedules()


@pytest.mark.parametrize("n_layers,top", [(3, 3), (5, 3), (12, 5)])
def test_a_wrong_number_of_layers_is_noticed(n_layers, top):
    optimizer = LayeredAdam_v1(0.01, layer_decay=0.9, n_layers=n_layers)
    for i in range(top + 1):
        _step(optimizer, f"encoder.layer.{i}.output.dense.weight")
    message = f"has {top + 1} layers, but n_layers of the optimizer is {n_layers}"
    with pytest.raises(ValueError, match=message):
        optimizer.step_schedules()
    # without decay nobody has to know
    optimizer = LayeredAdam_v1(0.01)
    _step(optimizer, "encoder.layer.3.output.dense.weight")
    optimizer.step_schedules()


@pytest.mark.parametrize("settings", [{"layer_decay": 0.9}, {"layer_decay": 0.0, "n_layers": 2}])
def test_layer_decay_is_checked(settings):
    with pytest.raises(ValueError, match="layer_decay is"):
        LayeredAdam_v1(0.1, **settings)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def changes(tiny_bert, **settings):
    """By how much one update changes the parameters of a transformer and of its tagger.

    The biases of attention keys are left out: the softmax of attention ignores them.
    """
    nlp = make_transformer_nlp(tiny_bert)
    examples = make_examples(nlp)[:1]
    nlp.initialize(lambda: examples)
    modules = [
        nlp.get_pipe("transformer").model.transformer,
        nlp.get_pipe("nested_spancat").model.get_ref("head").shims[0]._model,
    ]

    def parameters():
        return {n: p.detach().clone() for m in modules for n, p in m.named_parameters()}

    before = parameters()
    optimizer = LayeredAdam_v1(1e-4, L2=0.1, grad_clip=0.0, **settings)
    nlp.update(examples, sgd=False)  # as `spacy train` does
    for name in nlp.pipe_names:
        nlp.get_pipe(name).finish_update(optimizer)
    optimizer.step_schedules()
    after = parameters()
    return {n: float((after[n] - before[n]).abs().max()) for n in after if "key.bias" not in n}


def test_frozen_layers_of_a_transformer_do_not_change(tiny_bert):
    frozen = ["^embeddings", "^encoder[.]layer[.]0[.]"]
    found = changes(tiny_bert, frozen=frozen)
    names = {name for name in found if name.startswith(("embeddings", "encoder.layer.0."))}
    assert len(names) > 10
    assert all(found[name] == 0.0 for name in names)
    learned = [name for name in found if name.startswith(("encoder.layer.1.", "head", "crf"))]
    assert len(learned) > 10 and all(found[name] > 0.0 for name in learned)
    everything = changes(tiny_bert)
    assert all(everything[name] > 0.0 for name in names)


def test_layers_of_a_transformer_have_rates_of_their_own(tiny_bert):
    """Adam's first step is as long as the rate, whatever the gradient."""
    plain = changes(tiny_bert)
    found = changes(tiny_bert, layer_decay=0.5, n_layers=2)
    for prefix, factor in (("encoder.layer.1.", 1.0), ("encoder.layer.0.", 0.5), ("embedd", 0.25)):
        names = [n for n in found if n.startswith(prefix) and n.endswith("dense.weight")]
        names += [n for n in found if n.startswith(prefix) and n.endswith("word_embeddings.weight")]
        assert names
        for name in names:
            assert found[name] == pytest.approx(factor * plain[name], rel=0.05), name
    with pytest.raises(ValueError, match="has 2 layers"):
        changes(tiny_bert, layer_decay=0.5, n_layers=12)


def test_training_with_frozen_layers_reaches_the_rest(tiny_bert):
    nlp = make_transformer_nlp(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = LayeredAdam_v1(0.002, frozen=["^embeddings", "^encoder"])
    first = nlp.update(examples, sgd=optimizer, losses={})["nested_spancat"]
    for _ in range(30):
        last = nlp.update(examples, sgd=optimizer, losses={})["nested_spancat"]
    assert last < first / 2
    assert nlp(GUT).spans["sc"]
