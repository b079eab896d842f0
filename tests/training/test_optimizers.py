import numpy
import pytest
from spacy import registry
from thinc.api import Adam

from spacy_bioie.training.optimizers import LayeredAdam_v1


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
    optimizer = LayeredAdam_v1(0.01, L2=0.5)
    decayed = _step(optimizer, "encoder.dense.weight")
    for name in ("encoder.dense.bias", "encoder.LayerNorm.weight", "b"):
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
