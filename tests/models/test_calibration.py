import numpy
import pytest

from spacy_bioie.models.calibration import best_temperature, calibration_error


def sigmoid(x):
    return numpy.exp(-numpy.logaddexp(0.0, -x))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_that_the_scores_were_made_with(temperature):
    rng = numpy.random.default_rng(0)
    logits = rng.normal(0.0, 2.0, 40_000)
    gold = rng.random(len(logits)) < sigmoid(logits)
    scores = logits * temperature
    found = best_temperature(lambda t: sigmoid(scores / t), gold)
    assert found == pytest.approx(temperature, rel=0.05)
    before = calibration_error(sigmoid(scores), gold)
    after = calibration_error(sigmoid(scores / found), gold)
    assert after < 0.012
    assert temperature == 1.0 or after < before / 4


def test_certain_scores_have_a_temperature():
    found = best_temperature(lambda t: sigmoid(numpy.asarray([900.0, -900.0]) / t), [True, False])
    assert 0.05 <= found <= 20.0


def test_calibration_error_by_hand():
    # one bin holds .9 and .95 with one hit of two, one holds .1 without a hit
    scores, gold = numpy.asarray([0.9, 0.92, 0.1]), numpy.asarray([True, False, False])
    assert calibration_error(scores, gold, bins=10) == pytest.approx((0.82 + 0.1) / 3)
    assert calibration_error(numpy.ones(4), numpy.ones(4, dtype=bool)) == 0.0
    assert calibration_error(numpy.zeros(0), numpy.zeros(0, dtype=bool)) == 0.0
