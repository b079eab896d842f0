"""Mention vectors from an encoder that reads each mention by itself."""

import shutil

import numpy
import pytest
import torch
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Adam

from spacy_bioie.models.contextual_mention_encoder import ContextualMentionEncoder_v1
from spacy_bioie.models.half_precision import cpu_has_bfloat16
from tests.tiny_encoder import make_tiny_bert

WIDTH = 32
VOCAB = Vocab()
TEXTS = ["gut bacteria of mice lowered depression .", "", "serotonin of rats", "no mention"]
TABLES = [[(0, 2, 0), (1, 2, 0), (1, 2, 1), (5, 6, 0)], [], [(0, 1, 0)], []]
POOLINGS = ("cls", "mention", "mean")
every_pooling = pytest.mark.parametrize("pooling", POOLINGS)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def make_input(rows=slice(None)):
    docs = [Doc(VOCAB, words=text.split()) for text in TEXTS[rows]]
    return docs, [numpy.asarray(t, dtype="int64").reshape((-1, 3)) for t in TABLES[rows]]


def make_model(bert, pooling="cls", nO=WIDTH, **settings):
    torch.manual_seed(0)
    model = ContextualMentionEncoder_v1(bert, pooling, nO=nO, **settings)
    model.initialize(X=make_input())
    return model


def module_of(model):
    return model.get_ref("encoder").shims[0]._model


@every_pooling
def test_output_has_one_row_for_each_mention(bert, pooling):
    output = make_model(bert, pooling).predict(make_input())
    assert [rows.shape for rows in output] == [(4, WIDTH), (0, WIDTH), (1, WIDTH), (0, WIDTH)]
    numpy.testing.assert_array_equal(output[0][1], output[0][2])  # labels play no part
    assert numpy.abs(output[0][0] - output[0][1]).max() > 0.01


@every_pooling
def test_vectors_are_those_of_the_encoder(bert, pooling):
    model = make_model(bert, pooling)
    own = module_of(model).encoder
    pieces = own.tokenizer("gut [SEP] bacteria [SEP] of mice lowered depression .")["input_ids"]
    with torch.no_grad():
        hidden = own.transformer.eval()(torch.tensor([pieces])).last_hidden_state[0]
    at = {"cls": [0], "mention": [3], "mean": range(len(pieces))}[pooling]
    expected = hidden[list(at)].mean(dim=0).numpy()
    numpy.testing.assert_allclose(model.predict(make_input())[0][1], expected, atol=1e-5)


def test_context_changes_the_vector(bert):
    X = make_input()
    whole = make_model(bert, "mention").predict(X)[0]
    alone = make_model(bert, "mention", context_characters=0).predict(X)[0]
    assert numpy.abs(whole - alone).max() > 0.01


@every_pooling
def test_batch_equals_single(bert, pooling):
    together = make_model(bert, pooling, batch_pieces=24).predict(make_input())
    model = make_model(bert, pooling)
    for i, rows in enumerate(together):
        (single,) = model.predict(make_input(slice(i, i + 1)))
        numpy.testing.assert_allclose(single, rows, atol=1e-5)


@pytest.mark.parametrize("nO", [WIDTH, 7])
@every_pooling
def test_gradient_by_finite_differences(bert, pooling, nO):
    model = make_model(bert, pooling, nO, batch_pieces=40)
    X = make_input()
    random = numpy.random.default_rng(1)
    output, backprop = model.begin_update(X)
    weights = [random.normal(size=rows.shape).astype("float32") for rows in output]
    backprop(weights)
    parameters = dict(module_of(model).named_parameters())
    names = [
        "encoder.transformer.encoder.layer.0.attention.self.value.weight",
        "encoder.transformer.encoder.layer.1.output.dense.weight",
    ]
    names += ["mention_head.weight"] if nO != WIDTH else []
    assert ("mention_head.weight" in parameters) == (nO != WIDTH)

    def value():
        found = model.predict(X)
        return sum(float((a * b).sum(dtype="float64")) for a, b in zip(found, weights, strict=True))

    step = 5e-3
    for name in names:
        gradient = parameters[name].grad
        at = numpy.unravel_index(int(gradient.abs().argmax()), gradient.shape)
        with torch.no_grad():
            parameters[name][at] += step
            up = value()
            parameters[name][at] -= 2 * step
            down = value()
            parameters[name][at] += step
        assert float(gradient[at]) == pytest.approx((up - down) / (2 * step), rel=0.05), name


def test_batches_are_computed_again_with_the_same_result(bert):
    found = []
    for batch_pieces in (30, 4096):
        model = make_model(bert, batch_pieces=batch_pieces)
        output, backprop = model.begin_update(make_input())
        backprop([numpy.ones_like(rows) for rows in output])
        gradients = [p.grad for p in module_of(model).parameters() if p.grad is not None]
        found.append((numpy.concatenate(output), gradients))
    numpy.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        numpy.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)


def test_learns_a_target(bert):
    model = make_model(bert, "mention", nO=5)
    X = make_input()
    random = numpy.random.default_rng(0)
    targets = [random.normal(size=rows.shape).astype("float32") for rows in model.predict(X)]
    targets[0][2] = targets[0][1]  # the same mention with another label
    optimizer = Adam(0.01)
    losses = []
    for _ in range(60):
        output, backprop = model.begin_update(X)
        errors = [a - b for a, b in zip(output, targets, strict=True)]
        losses.append(sum(float((e**2).sum()) for e in errors))
        backprop([2 * e for e in errors])
        model.finish_update(optimizer)
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("rows", [slice(1, 2), slice(3, 4), slice(0, 0)])
def test_nothing_to_read(bert, rows):
    model = make_model(bert)
    X = make_input(rows)
    output, backprop = model.begin_update(X)
    assert [array.shape for array in output] == [(0, WIDTH)] * len(X[0])
    assert backprop(output) is X
    model.finish_update(Adam(0.1))


def test_save_and_load(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    X = make_input()
    for n_out in (WIDTH, 7):
        model = make_model(str(folder), nO=n_out)
        expected = model.predict(X)
        data = model.to_bytes()
        other = ContextualMentionEncoder_v1(str(tmp_path / "none")).from_bytes(data)
        assert other.get_dim("nO") == n_out
        for one, two in zip(other.predict(X), expected, strict=True):
            numpy.testing.assert_array_equal(one, two)
        other.initialize(X=X)  # does not need the folder either
    blank = ContextualMentionEncoder_v1(str(folder))
    blank.from_bytes(ContextualMentionEncoder_v1(str(folder)).to_bytes())
    with pytest.raises(ValueError, match="ContextualMentionEncoder: the model has no parameters"):
        blank.predict(X)


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_mixed_precision(bert):
    exact = make_model(bert).predict(make_input())[0]
    rounded = make_model(bert, mixed_precision=True).predict(make_input())[0]
    assert rounded.dtype == numpy.float32 and not numpy.array_equal(exact, rounded)
    numpy.testing.assert_allclose(rounded, exact, atol=0.2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"pooling": "max"}, r"pooling is 'max', expected one of \['cls', 'mention', 'mean'\]"),
        ({"context_characters": -1}, "context_characters is -1, expected 0 or more"),
        ({"max_length": 0}, "max_length is 0"),
        ({"batch_pieces": 0}, "batch_pieces is 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=f"ContextualMentionEncoder: {message}"):
        ContextualMentionEncoder_v1("nowhere", **settings)


def test_errors(bert, tmp_path):
    with pytest.raises(ValueError, match="has no output width"):
        ContextualMentionEncoder_v1(bert).initialize()
    with pytest.raises(ValueError, match="encoder '.*absent' cannot be loaded"):
        ContextualMentionEncoder_v1(str(tmp_path / "absent"), nO=3).initialize()
    with pytest.raises(ValueError, match="Set 'max_length' higher"):
        ContextualMentionEncoder_v1(bert, max_length=18, nO=3).initialize()
    docs, tables = make_input()
    tables[2] = numpy.asarray([(2, 4, 0)])
    with pytest.raises(ValueError, match="in document 2 of the batch: expected at least one token"):
        make_model(bert).predict((docs, tables))
