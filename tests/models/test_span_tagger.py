"""The tagger as a thinc model: sizes, gradients through the torch wrapper, saving, decoding."""

import numpy
import pytest
import spacy
import torch
from thinc.api import Adam, Model

from spacy_bioie.models.crf import mask_illegal
from spacy_bioie.models.span_head import get_span_head
from spacy_bioie.models.span_tagger import SpanTagger_v1
from spacy_bioie.models.tagger_module import tagger_module
from spacy_bioie.models.tagging import encode_spans

WIDTH = 5
ALL_HEADS = pytest.mark.parametrize(
    "chains,decoder",
    [("joint", "argmax"), ("joint", "crf"), ("per_label", "argmax"), ("per_label", "crf")],
)


@pytest.fixture(scope="module")
def docs():
    nlp = spacy.blank("en")
    texts = ["Gut bacteria\nof mice and men  change .", "", "Sleep", "  ", "a b c d"]
    return [nlp(text) for text in texts]


@pytest.fixture(scope="module")
def gold():
    tables = [[(0, 2, 0), (4, 5, 1), (3, 5, 2)], [], [(0, 1, 1)], [], [(0, 3, 2), (1, 3, 0)]]
    return [numpy.asarray(rows, dtype="int64").reshape((-1, 3)) for rows in tables]


def token_vectors(dtype="float32"):
    """A layer without parameters: random vectors, the same for the same text."""

    def forward(model, docs, is_train):
        out = []
        for doc in docs:
            generator = numpy.random.default_rng(len(doc.text))
            vectors = model.attrs["scale"] * generator.normal(size=(len(doc), WIDTH))
            out.append(vectors.astype(dtype))

        def backprop(d_out):
            model.attrs["gradient"] = d_out
            return []

        return out, backprop

    return Model("token_vectors", forward, dims={"nO": WIDTH}, attrs={"scale": 1.0})


def make_model(chains="joint", decoder="crf", *, n_labels=3, dtype="float32", **settings):
    torch.manual_seed(0)
    settings = {"dropout": 0.0, **settings}
    model = SpanTagger_v1(token_vectors(dtype), chains, decoder, **settings)
    model.set_dim("nO", n_labels)
    model.initialize(X=None)
    module = get_module(model)
    for name, parameter in module.named_parameters():
        if name.startswith("crf"):
            torch.nn.init.normal_(parameter)
    return model


def get_module(model):
    return tagger_module(model.get_ref("head"))


@ALL_HEADS
def test_shapes(docs, chains, decoder):
    model = make_model(chains, decoder)
    output = model.predict(docs)
    n_chains, n_tags = (1, 7) if chains == "joint" else (3, 3)
    words = sum(not token.is_space for doc in docs for token in doc)
    assert output.emissions.shape == (words, n_chains, n_tags)
    assert [x.shape for x in output.crf] == (
        []
        if decoder == "argmax"
        else [(n_chains, n_tags), (n_chains, n_tags, n_tags), (n_chains, n_tags)]
    )


@ALL_HEADS
def test_gradients_through_the_wrapper_agree_with_finite_differences(docs, gold, chains, decoder):
    model = make_model(chains, decoder, hidden_size=4, dtype="float64")
    module = get_module(model).double()  # single precision is too coarse for small steps
    model.get_ref("head").attrs["convert_inputs"] = double_inputs
    head = get_span_head(model)

    def loss():
        output = model.predict(docs)
        assert output.emissions.dtype == "float64"
        return head.loss(output, gold)[0]

    vectors = model.get_ref("tok2vec")
    output, backprop = model.begin_update(docs)
    backprop(head.loss(output, gold)[1])
    generator = numpy.random.default_rng(0)
    names = dict(module.named_parameters())
    crf_names = {"crf_start", "crf_transitions", "crf_end"}
    assert set(names) >= {"head_hidden.weight", "head_output.weight", "head_output.bias"}
    assert (crf_names <= set(names)) == (decoder == "crf")
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


def double_inputs(model, vectors, is_train):
    from thinc.types import ArgsKwargs

    tensor = torch.from_numpy(vectors.astype("float64")).requires_grad_(is_train)
    return ArgsKwargs((tensor,), {}), lambda d: d.args[0].numpy()


@ALL_HEADS
def test_weight_scales_the_gradient_and_not_the_loss(docs, gold, chains, decoder):
    model = make_model(chains, decoder)
    head = get_span_head(model)
    output = model.predict(docs)
    loss, d_output = head.loss(output, gold)
    weighted_loss, d_weighted = head.loss(output, gold, weight=0.25)
    assert loss == weighted_loss > 0.0
    for d, w in zip(
        (d_output.emissions, *d_output.crf), (d_weighted.emissions, *d_weighted.crf), strict=True
    ):
        numpy.testing.assert_allclose(w, 0.25 * d, rtol=1e-5, atol=1e-8)


@ALL_HEADS
def test_learns_and_decodes_its_gold(docs, gold, chains, decoder):
    model = make_model(chains, decoder, hidden_size=64)
    head = get_span_head(model)
    optimizer = Adam(0.02)
    for _ in range(150):
        output, backprop = model.begin_update(docs)
        backprop(head.loss(output, gold)[1])
        model.finish_update(optimizer)
    kept = encode_spans(head.sequences(docs), gold, 3, output.emissions.shape[1])[1]
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


@pytest.mark.parametrize("chains", ["joint", "per_label"])
def test_crf_starts_from_the_frequencies_of_the_gold_tags(docs, gold, chains):
    model = make_model(chains, "crf")
    module = get_module(model)
    head = get_span_head(model)
    head.prepare(model, [(docs, gold)])
    start, transitions = mask_illegal(module.crf_start, module.crf_transitions)
    torch.testing.assert_close(start.exp().sum(-1), torch.ones(start.shape[:1]))
    torch.testing.assert_close(transitions.exp().sum(-1), torch.ones(transitions.shape[:2]))
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    # two spans go on after B, and each of the legal steps counts once more than it is seen
    seen = transitions[0, 5, 6] if chains == "joint" else transitions[0, 1, 2]
    expected = 3 / (2 + 5) if chains == "joint" else 3 / (2 + 3)
    assert float(seen.exp().detach()) == pytest.approx(expected)


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


@ALL_HEADS
def test_scores_are_probabilities_of_spans(docs, chains, decoder):
    model = make_model(chains, decoder)
    output = model.predict(docs)
    spans = get_span_head(model).decode(output)
    scores = numpy.concatenate([s.scores for s in spans])
    assert len(scores) and (scores > 0).all() and (scores <= 1).all()


def test_argmax_score_is_the_product_of_tag_probabilities(docs):
    model = make_model("joint", "argmax", n_labels=1)
    output = model.predict([docs[4]])
    p = {"O": (0.7, 0.2, 0.1), "B": (0.1, 0.8, 0.1), "I": (0.1, 0.3, 0.6)}
    output.emissions[:, 0] = numpy.log([p["O"], p["B"], p["I"], p["O"]])
    (spans,) = get_span_head(model).decode(output)
    assert (spans.starts.tolist(), spans.ends.tolist()) == ([1], [3])
    assert spans.scores[0] == pytest.approx(0.8 * 0.6 * 0.9, abs=1e-6)
    output.emissions[3, 0] = numpy.log(p["I"])  # now the span reaches the end of the sequence
    (spans,) = get_span_head(model).decode(output)
    assert spans.scores[0] == pytest.approx(0.8 * 0.6 * 0.6, abs=1e-6)


def test_crf_never_decodes_illegal_tags(docs):
    model = make_model("joint", "crf", n_labels=2)
    output = model.predict(docs)
    output.emissions[:] = 0.0
    output.emissions[:, 0, 4] = 50.0  # I of the second label, everywhere
    spans = get_span_head(model).decode(output)
    borders = [(s.starts.tolist(), s.ends.tolist(), s.labels.tolist()) for s in spans]
    # each section becomes one span that starts with B
    assert borders[0] == ([0, 3], [2, 10], [1, 1])
    assert borders[4] == ([0], [4], [1])


def test_batch_equals_single(docs):
    model = make_model("per_label", "crf")
    head = get_span_head(model)
    together = head.decode(model.predict(docs))
    for doc, spans in zip(docs, together, strict=True):
        (alone,) = head.decode(model.predict([doc]))
        for a, b in zip(alone[:3], spans[:3], strict=True):
            assert a.tolist() == b.tolist()
        numpy.testing.assert_allclose(alone.scores, spans.scores, rtol=1e-4, atol=1e-6)


@ALL_HEADS
def test_saves_its_sizes_with_its_parameters(docs, chains, decoder):
    model = make_model(chains, decoder, hidden_size=4)
    other = SpanTagger_v1(token_vectors(), chains, decoder, hidden_size=4)
    other.from_bytes(model.to_bytes())
    assert other.get_dim("nO") == 3
    expected, found = model.predict(docs), other.predict(docs)
    numpy.testing.assert_array_equal(found.emissions, expected.emissions)
    for a, b in zip(found.crf, expected.crf, strict=True):
        numpy.testing.assert_array_equal(a, b)


def test_model_without_parameters(docs):
    model = SpanTagger_v1(token_vectors())
    with pytest.raises(ValueError, match="no parameters"):
        model.predict(docs)
    other = SpanTagger_v1(token_vectors()).from_bytes(model.to_bytes())
    with pytest.raises(ValueError, match="no parameters"):
        other.predict(docs)


def test_half_precision_vectors(docs, gold):
    model = make_model("joint", "crf", dtype="float16")
    output, backprop = model.begin_update(docs)
    assert output.emissions.dtype == "float32"
    loss, d_output = get_span_head(model).loss(output, gold)
    backprop(d_output)
    assert numpy.isfinite(loss)
    assert all(d.dtype == "float16" for d in model.get_ref("tok2vec").attrs["gradient"])


@ALL_HEADS
def test_zero_gold_still_has_a_gradient(docs, gold, chains, decoder):
    model = make_model(chains, decoder)
    output, backprop = model.begin_update(docs)
    _, d_output = get_span_head(model).loss(output, [table[:0] for table in gold])
    backprop(d_output)
    assert numpy.abs(model.get_ref("tok2vec").attrs["gradient"][0]).sum() > 0


def test_white_space_has_no_gradient(docs, gold):
    model = make_model()
    output, backprop = model.begin_update(docs)
    backprop(get_span_head(model).loss(output, gold)[1])
    for doc, d in zip(docs, model.get_ref("tok2vec").attrs["gradient"], strict=True):
        space = numpy.asarray([token.is_space for token in doc], dtype=bool)
        assert (d[space] == 0).all()


@pytest.mark.parametrize(
    "setting",
    [
        {"chains": "nested"},
        {"decoder": "viterbi"},
        {"hidden_size": -1},
        {"dropout": 1.0},
        {"max_length": 1},
    ],
)
def test_settings_are_checked(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        SpanTagger_v1(token_vectors(), **setting)
