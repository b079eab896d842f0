import numpy
import pytest
import torch
from thinc.api import Optimizer
from thinc.shims import PyTorchGradScaler

from spacy_bioie.models import mixed_precision
from spacy_bioie.models.mixed_precision import EncoderShim, cpu_has_bfloat16
from tests.models.tagging_pipeline import make_pipeline
from tests.tiny_encoder import make_tiny_bert


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


class CPUScaler(PyTorchGradScaler):
    """The scaler of thinc without its refusal of tensors that are not on CUDA."""

    def _scale_tensor(self, tensor, scale_per_device, inplace):
        return tensor * self._scale


def gradients(nlp):
    module = nlp.get_pipe("transformer").model.transformer
    return {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}


def shim_of(nlp) -> EncoderShim:
    return nlp.get_pipe("transformer").model.layers[0].shims[0]


def finish(nlp, learn_rate=0.001):
    """End an update; returns the gradients that the optimizer got for the encoder."""
    shim = shim_of(nlp)
    seen = {}

    class Watching(Optimizer):
        def __call__(self, key, weights, gradient, *, lr_scale=1.0):
            if key[0] == shim.id:
                seen[key[1]] = gradient.copy()
            return super().__call__(key, weights, gradient, lr_scale=lr_scale)

    optimizer = Watching(learn_rate)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(optimizer)
    return seen


@pytest.fixture
def scaled(monkeypatch):
    """Scale gradients on CPU as on CUDA."""
    monkeypatch.setattr(EncoderShim, "_scales", property(lambda shim: shim._mixed_precision))
    monkeypatch.setattr(mixed_precision, "cpu_has_bfloat16", lambda: False)


@pytest.mark.filterwarnings("ignore:mixed_precision")
def test_gradients_over_buckets_and_accumulated_batches_are_unscaled_once(tiny_bert, scaled):
    plain, examples = make_pipeline(tiny_bert, max_batch_pieces=64)
    mixed, _ = make_pipeline(tiny_bert, max_batch_pieces=64, mixed_precision=True)
    shim_of(mixed)._grad_scaler = CPUScaler(enabled=True, init_scale=2.0**10)
    for nlp in (plain, mixed):
        nlp.update(examples, sgd=False)
        finish(nlp)
    for _ in range(2):
        for nlp in (plain, mixed):
            nlp.update(examples, sgd=False)
            nlp.update(examples[:2], sgd=False)
        raw, expected = gradients(mixed), gradients(plain)
        for name, gradient in expected.items():
            assert torch.allclose(raw[name], 1024 * gradient, rtol=1e-3, atol=1e-3)
        seen, expected_seen = finish(mixed), finish(plain)
        assert seen.keys() == expected_seen.keys() and seen
        for name, gradient in expected_seen.items():
            assert numpy.allclose(seen[name], gradient, rtol=1e-3, atol=1e-6), name


@pytest.mark.filterwarnings("ignore:mixed_precision")
def test_an_overflow_in_one_bucket_skips_the_update(tiny_bert, scaled):
    nlp, examples = make_pipeline(tiny_bert, ("tagger",), mixed_precision=True)
    shim = shim_of(nlp)
    shim._grad_scaler = CPUScaler(enabled=True, init_scale=2.0**10)
    nlp.update(examples, sgd=False)
    finish(nlp)
    before = {k: v.clone() for k, v in shim._model.state_dict().items()}
    nlp.update(examples, sgd=False)
    next(iter(shim._model.parameters())).grad[0] = float("inf")
    nlp.update(examples, sgd=False)
    assert finish(nlp) == {}
    assert all(torch.equal(v, before[k]) for k, v in shim._model.state_dict().items())
    assert float(shim._grad_scaler._scale) == 2.0**9
    nlp.update(examples, sgd=False)
    assert finish(nlp)


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_bfloat16_on_cpu(tiny_bert):
    plain, examples = make_pipeline(tiny_bert)
    mixed, _ = make_pipeline(tiny_bert, mixed_precision=True)
    docs = [example.predicted for example in examples]
    outputs = []
    for nlp in (plain, mixed):
        nlp.update(examples, sgd=False)
        finish(nlp)
        nlp.update(examples, sgd=False)
        batch = nlp.get_pipe("transformer").model.predict(docs)
        outputs.append(batch.model_output.last_hidden_state)
    exact, rounded = outputs
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    assert float((exact - rounded).abs().max()) < 0.3
    one, other = (
        torch.cat([gradient.flatten() for gradient in gradients(nlp).values()])
        for nlp in (plain, mixed)
    )
    assert other.dtype == torch.float32
    assert float(torch.cosine_similarity(one, other, 0)) > 0.95
    finish(mixed)


def test_a_cpu_without_bfloat16_runs_in_full_precision(tiny_bert, monkeypatch):
    monkeypatch.setattr(mixed_precision, "cpu_has_bfloat16", lambda: False)
    plain, examples = make_pipeline(tiny_bert, ("tagger",))
    with pytest.warns(UserWarning, match="full precision"):
        mixed, _ = make_pipeline(tiny_bert, ("tagger",), mixed_precision=True)
        outputs = [nlp("Gut and mice.")._.trf_data.model_output for nlp in (plain, mixed)]
    assert (outputs[0].last_hidden_state == outputs[1].last_hidden_state).all()


def test_copies_have_moments_of_their_own(tiny_bert):
    nlp, _ = make_pipeline(tiny_bert, ("tagger",))
    model = nlp.get_pipe("transformer").model
    copied = model.copy()
    assert copied.layers[0].shims[0].id != model.layers[0].shims[0].id
    assert copied.attrs["has_transformer"] and copied.window == model.window
    weights = next(copied.transformer.parameters())
    assert weights.data_ptr() != next(model.transformer.parameters()).data_ptr()
