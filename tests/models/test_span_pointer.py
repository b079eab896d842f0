"""The span pointer as a thinc model: gradients through the torch wrapper, learning, saving."""

import numpy
import pytest
import torch
from thinc.api import Adam, Model
from thinc.types import ArgsKwargs

from spacy_bioie.models.span_head import get_span_head
from spacy_bioie.models.span_pointer import SpanPointer_v1

from .pointer_models import LOSSES, get_module, make_docs, make_gold, make_model, rows_of
from .tagger_models import WIDTH, token_vectors


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


@LOSSES
def test_gradients_through_the_wrapper_agree_with_finite_differences(docs, gold, loss):
    model = make_model(loss=loss, dtype="float64", chunk_size=24)
    module = get_module(model).double()  # single precision is too coarse for small steps
    model.get_ref("head").attrs["convert_inputs"] = double_inputs
    head = get_span_head(model)

    def value():
        output = model.predict(docs)
        assert output.logits.dtype == "float64"
        return head.loss(output, gold)[0]

    vectors = model.get_ref("tok2vec")
    output, backprop = model.begin_update(docs)
    backprop(head.loss(output, gold)[1])
    generator = numpy.random.default_rng(0)
    step = 1e-5
    for name, parameter in module.named_parameters():
        assert name.startswith("head_")  # what optimizers know it by
        assert float(parameter.grad.abs().sum()) > 0.0, name
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in generator.choice(len(flat), min(len(flat), 12), replace=False):
            before = float(flat[i])
            flat[i] = before + step
            up = value()
            flat[i] = before - step
            down = value()
            flat[i] = before
            assert float(gradient[i]) == pytest.approx((up - down) / (2 * step), abs=1e-6), name
    gradients = vectors.attrs["gradient"]
    assert [d.shape for d in gradients] == [(len(doc), WIDTH) for doc in docs]
    values = vectors.predict(docs)
    towards = sum(float((d * x).sum()) for d, x in zip(gradients, values, strict=True))
    vectors.attrs["scale"] = 1.0 + step
    up = value()
    vectors.attrs["scale"] = 1.0 - step
    assert towards == pytest.approx((up - value()) / (2 * step), abs=1e-6)


def double_inputs(model, X, is_train):
    vectors = torch.from_numpy(X.vectors.astype("float64")).requires_grad_(is_train)
    args = (vectors, torch.from_numpy(X.room), 6)
    return ArgsKwargs(args, {}), lambda d: d.args[0].numpy()


@LOSSES
def test_learns_and_decodes_its_gold(docs, gold, loss):
    model = make_model(loss=loss, hidden_size=64, rank=32)
    head = get_span_head(model)
    head.prepare(model, [(docs, gold)])
    optimizer = Adam(0.01)
    for _ in range(150):
        output, backprop = model.begin_update(docs)
        backprop(head.loss(output, gold)[1])
        model.finish_update(optimizer)
    for table, spans in zip(gold, head.decode(model.predict(docs)), strict=True):
        assert sorted(rows_of(spans)) == sorted(map(tuple, table.tolist()))
        assert spans.scores.dtype == "float32"
        assert ((spans.scores > 0.8) & (spans.scores <= 1.0)).all()
        assert rows_of(spans) == sorted(rows_of(spans), key=lambda row: (row[0], -row[1], row[2]))


def test_saves_its_sizes_and_its_temperature(docs):
    model = make_model()
    model.attrs["temperature"] = 1.7
    other = SpanPointer_v1(token_vectors(), max_width=6, hidden_size=8, rank=4)
    other.from_bytes(model.to_bytes())
    assert other.get_dim("nO") == 3 and other.attrs["temperature"] == 1.7
    expected, found = model.predict(docs), other.predict(docs)
    numpy.testing.assert_array_equal(found.logits, expected.logits)
    assert found.temperature == expected.temperature == 1.7


def test_model_without_parameters(docs):
    model = SpanPointer_v1(token_vectors())
    with pytest.raises(ValueError, match="no parameters"):
        model.predict(docs)
    other = SpanPointer_v1(token_vectors()).from_bytes(model.to_bytes())
    with pytest.raises(ValueError, match="no parameters"):
        other.predict(docs)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_temperature(docs, temperature):
    model = make_model()
    model.attrs["temperature"] = temperature
    with pytest.raises(ValueError, match="span_pointer.: temperature is .* above 0"):
        model.predict(docs)


def test_unknown_width():
    vectors = Model("token_vectors", token_vectors()._func, dims={"nO": None})
    model = SpanPointer_v1(vectors)
    model.set_dim("nO", 3)
    with pytest.raises(ValueError, match="width of the token vectors is unknown"):
        model.initialize(X=None)


def test_half_precision_vectors(docs, gold):
    model = make_model(dtype="float16")
    output, backprop = model.begin_update(docs)
    assert output.logits.dtype == "float32"
    loss, d_output = get_span_head(model).loss(output, gold)
    backprop(d_output)
    assert numpy.isfinite(loss)
    assert all(d.dtype == "float16" for d in model.get_ref("tok2vec").attrs["gradient"])


@LOSSES
def test_zero_gold_still_has_a_gradient(docs, gold, loss):
    model = make_model(loss=loss)
    output, backprop = model.begin_update(docs)
    _, d_output = get_span_head(model).loss(output, [table[:0] for table in gold])
    backprop(d_output)
    assert numpy.abs(model.get_ref("tok2vec").attrs["gradient"][0]).sum() > 0


@LOSSES
def test_batch_without_words(docs, loss):
    model = make_model(loss=loss)
    head = get_span_head(model)
    for batch in (docs[1:2], [docs[3], docs[1]], []):
        output, backprop = model.begin_update(batch)
        value, d_output = head.loss(output, [numpy.zeros((0, 3), dtype="int64") for _ in batch])
        backprop(d_output)
        assert value == 0.0
        assert [len(spans.scores) for spans in head.decode(output)] == [0] * len(batch)


def test_white_space_has_no_gradient(docs, gold):
    model = make_model()
    output, backprop = model.begin_update(docs)
    backprop(get_span_head(model).loss(output, gold)[1])
    for doc, d in zip(docs, model.get_ref("tok2vec").attrs["gradient"], strict=True):
        space = numpy.asarray([token.is_space for token in doc], dtype=bool)
        assert (d[space] == 0).all() and numpy.abs(d[~space]).sum(axis=1).all()


@pytest.mark.parametrize(
    "setting",
    [
        {"max_width": 0},
        {"hidden_size": 0},
        {"rank": 0},
        {"chunk_size": 0},
        {"dropout": 1.0},
        {"loss": "focal"},
        {"overlap": "none"},
        {"min_score": 0.0},
        {"min_score": 1.1},
    ],
)
def test_settings_are_checked(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"SpanPointer: {name} is {value!r}, expected"):
        SpanPointer_v1(token_vectors(), **setting)
