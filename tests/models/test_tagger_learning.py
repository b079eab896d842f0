"""The tagger learns: exact gradients, frequencies to start from, every head and loss."""

import numpy
import pytest
import torch
from thinc.api import Adam
from thinc.types import ArgsKwargs

from spacy_bioie.models.crf import mask_illegal
from spacy_bioie.models.losses import AdaptiveMix_v1, CrfLikelihood_v1
from spacy_bioie.models.span_head import get_span_head
from spacy_bioie.models.tag_schemes import N_ROLES
from spacy_bioie.models.tagging import encode_spans

from .tagger_models import (
    ALL_HEADS,
    ALL_LAYERS,
    BOTH_SCHEMES,
    WIDTH,
    get_module,
    make_docs,
    make_gold,
    make_model,
)


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


@ALL_HEADS
def test_gradients_through_the_wrapper_agree_with_finite_differences(docs, gold, chains, decoder):
    check_gradients(make_model(chains, decoder, hidden_size=4, dtype="float64"), docs, gold)


@ALL_LAYERS
def test_gradients_of_other_layers(docs, gold, layers):
    check_gradients(make_model("per_label", "argmax", dtype="float64", **layers), docs, gold)


@pytest.mark.parametrize("mode", ["learned", "bounded", "fixed", "uncertainty"])
def test_gradients_of_a_mixed_loss(docs, gold, mode):
    model = make_model(dtype="float64", scheme="BIOES", loss=AdaptiveMix_v1(mode, "sequence"))
    assert ("loss_alpha" in dict(get_module(model).named_parameters())) == (mode != "fixed")
    weights = {"doc_weights": numpy.asarray([0.5, 1, 2, 1, 1.5]), "label_weights": numpy.ones(3)}
    weights["label_weights"][1] = 4.0
    check_gradients(model, docs, gold, **weights)


def check_gradients(model, docs, gold, **weights):
    module = get_module(model).double()  # single precision is too coarse for small steps
    model.get_ref("head").attrs["convert_inputs"] = double_inputs
    head = get_span_head(model)

    def loss():
        output = model.predict(docs)
        assert output.emissions.dtype == "float64"
        return head.loss(output, gold, **weights)[0]

    vectors = model.get_ref("tok2vec")
    output, backprop = model.begin_update(docs)
    backprop(head.loss(output, gold, **weights)[1])
    generator = numpy.random.default_rng(0)
    names = dict(module.named_parameters())
    crf_names = {"crf_start", "crf_transitions", "crf_end"}
    settings = module.settings
    expected = {
        f"head_hidden.{i}.weight" for i in range(settings.n_layers * bool(settings.hidden_size))
    }
    assert set(names) >= {"head_output.weight", "head_output.bias", *expected}
    assert ("head_lstm.weight_hh_l0_reverse" in names) == bool(settings.lstm_size)
    assert (crf_names <= set(names)) == (settings.decoder == "crf")
    step = 1e-5
    for name, parameter in names.items():
        assert float(parameter.grad.abs().sum()) > 0.0, name
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in generator.choice(len(flat), min(len(flat), 12), replace=False):
            before = float(flat[i])
            flat[i] = before + step
            up = loss()
            flat[i] = before - step
            down = loss()
            flat[i] = before
            assert float(gradient[i]) == pytest.approx((up - down) / (2 * step), abs=1e-7), name
    gradients = vectors.attrs["gradient"]
    assert [d.shape for d in gradients] == [(len(doc), WIDTH) for doc in docs]
    values = vectors.predict(docs)
    towards = sum(float((d * x).sum()) for d, x in zip(gradients, values, strict=True))
    vectors.attrs["scale"] = 1.0 + step
    up = loss()
    vectors.attrs["scale"] = 1.0 - step
    assert towards == pytest.approx((up - loss()) / (2 * step), abs=1e-6)
    for doc, d in zip(docs, gradients, strict=True):
        assert bool(numpy.abs(d).sum() > 0) == bool(doc.text.strip())


def double_inputs(model, X, is_train):
    tensor = torch.from_numpy(X.vectors.astype("float64")).requires_grad_(is_train)
    return ArgsKwargs((tensor, X.lengths), {}), lambda d: d.args[0].numpy()


@BOTH_SCHEMES
@ALL_HEADS
def test_learns_and_decodes_its_gold(docs, gold, chains, decoder, scheme):
    check_learning(make_model(chains, decoder, scheme=scheme, hidden_size=64), docs, gold)


@pytest.mark.parametrize(
    "settings",
    [
        {"lstm_size": 16},
        {"lstm_size": 16, "hidden_size": 32},
        {"hidden_size": 64, "n_layers": 2},
        {"hidden_size": 64, "loss": CrfLikelihood_v1("sequence")},
        {"hidden_size": 64, "loss": AdaptiveMix_v1("learned")},
        {"hidden_size": 64, "loss": AdaptiveMix_v1("uncertainty", "sequence")},
    ],
)
def test_other_layers_and_losses_learn_too(docs, gold, settings):
    check_learning(make_model("per_label", "crf", scheme="BIOES", **settings), docs, gold)


def check_learning(model, docs, gold):
    head = get_span_head(model)
    optimizer = Adam(0.02)
    for _ in range(100):
        output, backprop = model.begin_update(docs)
        backprop(head.loss(output, gold)[1])
        model.finish_update(optimizer)
    n_chains = output.emissions.shape[1]
    kept = encode_spans(head.sequences(docs), gold, 3, n_chains, head.scheme)[1]
    found = head.decode(model.predict(docs))
    for table, mask, spans in zip(gold, kept, found, strict=True):
        assert sorted(zip(*spans[:3], strict=True)) == sorted(map(tuple, table[mask].tolist()))
        assert spans.scores.dtype == "float32"
        assert ((spans.scores > 0.9) & (spans.scores <= 1.0)).all()
        assert numpy.all(numpy.diff(spans.starts) >= 0)


def test_nested_gold_needs_chains_per_label(docs, gold):
    for chains, lost in (("joint", 2), ("per_label", 0)):
        model = make_model(chains)
        head = get_span_head(model)
        assert head.prepare(model, [(docs[:2], gold[:2]), (docs[2:], gold[2:])]) == lost
        assert ("per_label" in head.limits) == (chains == "joint")


@BOTH_SCHEMES
@pytest.mark.parametrize("chains", ["joint", "per_label"])
def test_crf_starts_from_the_frequencies_of_the_gold_tags(docs, gold, chains, scheme):
    model = make_model(chains, "crf", scheme=scheme)
    module = get_module(model)
    head = get_span_head(model)
    head.prepare(model, [(docs, gold)])
    start, transitions, _ = mask_illegal(
        module.crf_start, module.crf_transitions, module.crf_end, scheme
    )
    torch.testing.assert_close(start.exp().sum(-1), torch.ones(start.shape[:1]))
    torch.testing.assert_close(transitions.exp().sum(-1), torch.ones(transitions.shape[:2]))
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    # two spans of the last label with one chain, one of them longer than two words; each of the
    # legal steps counts once more than it is seen
    begin = 1 + N_ROLES[scheme] * (2 if chains == "joint" else 0)
    seen = transitions[0, begin, begin + 1].exp().detach()
    if scheme == "BIO":  # both spans go on after B
        assert float(seen) == pytest.approx(3 / (2 + (5 if chains == "joint" else 3)))
    else:  # after B comes I or E
        assert float(seen) == pytest.approx(2 / 4 if chains == "joint" else 1 / 4)


@pytest.mark.parametrize("chains", ["joint", "per_label"])
def test_argmax_starts_from_the_frequencies_of_the_gold_tags(docs, gold, chains):
    model = make_model(chains, "argmax")
    head = get_span_head(model)
    before = head.loss(model.predict(docs), gold)[0]
    head.prepare(model, [(docs, gold)])
    output = model.predict(docs)
    assert head.loss(output, gold)[0] < before
    tags, _ = encode_spans(head.sequences(docs), gold, 3, output.emissions.shape[1])
    bias = get_module(model).head_output.bias.detach().reshape(output.emissions.shape[1:])
    outside = (tags == 0).sum(0)
    expected = (outside + 1) / (len(tags) + bias.shape[1])
    numpy.testing.assert_allclose(bias[:, 0].exp(), expected, rtol=1e-5)


def test_preparing_from_nothing(docs):
    for decoder in ("argmax", "crf"):
        model = make_model("joint", decoder)
        assert get_span_head(model).prepare(model, []) == 0
        assert all(numpy.isfinite(x).all() for x in model.predict(docs).crf)
