"""The tagger as a thinc model: sizes, saving, decoding, settings."""

import numpy
import pytest

from spacy_bioie.models.losses import (
    AdaptiveMix_v1,
    CrfLikelihood_v1,
    TokenCrossEntropy_v1,
)
from spacy_bioie.models.span_head import get_span_head
from spacy_bioie.models.span_tagger import SpanTagger_v1
from spacy_bioie.models.tag_schemes import N_ROLES

from .tagger_models import (
    ALL_HEADS,
    ALL_LAYERS,
    BOTH_SCHEMES,
    LAYERS,
    make_docs,
    make_gold,
    make_model,
    token_vectors,
)


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


@BOTH_SCHEMES
@ALL_HEADS
def test_shapes(docs, chains, decoder, scheme):
    model = make_model(chains, decoder, scheme=scheme)
    output = model.predict(docs)
    n_chains, n_tags = (
        (1, 1 + 3 * N_ROLES[scheme]) if chains == "joint" else (3, 1 + N_ROLES[scheme])
    )
    words = sum(not token.is_space for doc in docs for token in doc)
    assert output.emissions.shape == (words, n_chains, n_tags)
    assert [x.shape for x in output.crf] == (
        []
        if decoder == "argmax"
        else [(n_chains, n_tags), (n_chains, n_tags, n_tags), (n_chains, n_tags)]
    )


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


def test_argmax_score_with_tags_of_ends(docs):
    model = make_model("joint", "argmax", n_labels=1, scheme="BIOES")
    output = model.predict([docs[4]])
    p = {
        "O": (0.7, 0.1, 0.05, 0.1, 0.05),
        "B": (0.1, 0.8, 0.05, 0.05, 0.0001),
        "E": (0.1, 0.1, 0.1, 0.6, 0.1),
        "S": (0.1, 0.1, 0.2, 0.1, 0.5),
    }
    output.emissions[:, 0] = numpy.log([p["S"], p["B"], p["E"], p["O"]])
    (spans,) = get_span_head(model).decode(output)
    assert (spans.starts.tolist(), spans.ends.tolist()) == ([0, 1], [1, 3])
    assert spans.scores == pytest.approx([0.5, 0.8 * 0.6], abs=1e-4)
    output.emissions[:, 0] = numpy.log([p["B"], p["O"], p["O"], p["B"]])  # spans left open
    (spans,) = get_span_head(model).decode(output)
    assert (spans.starts.tolist(), spans.ends.tolist()) == ([0, 3], [1, 4])
    assert spans.scores == pytest.approx([0.8 * (1 - 0.05 - 0.1), 0.8], abs=1e-4)


@BOTH_SCHEMES
def test_crf_never_decodes_illegal_tags(docs, scheme):
    model = make_model("joint", "crf", n_labels=2, scheme=scheme)
    output = model.predict(docs)
    output.emissions[:] = 0.0
    output.emissions[:, 0, 2 + N_ROLES[scheme]] = 50.0  # I of the second label, everywhere
    spans = get_span_head(model).decode(output)
    borders = [(s.starts.tolist(), s.ends.tolist(), s.labels.tolist()) for s in spans]
    # a section with room for I becomes one span that starts with B, and ends with E if there is one
    if scheme == "BIO":
        assert borders[0] == ([0, 3], [2, 10], [1, 1])
    assert [column[-1] for column in borders[0]] == [3, 10, 1]
    assert borders[4] == ([0], [4], [1])


@ALL_LAYERS
@BOTH_SCHEMES
def test_batch_equals_single(docs, scheme, layers):
    model = make_model("per_label", "crf", scheme=scheme, **layers)
    head = get_span_head(model)
    together = head.decode(model.predict(docs))
    for doc, spans in zip(docs, together, strict=True):
        (alone,) = head.decode(model.predict([doc]))
        for a, b in zip(alone[:3], spans[:3], strict=True):
            assert a.tolist() == b.tolist()
        numpy.testing.assert_allclose(alone.scores, spans.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "chains,decoder,layers",
    [
        ("joint", "argmax", LAYERS[0]),
        ("joint", "crf", LAYERS[1]),
        ("per_label", "argmax", LAYERS[2]),
        ("per_label", "crf", {**LAYERS[3], "scheme": "BIOES", "loss": AdaptiveMix_v1(alpha=0.3)}),
    ],
)
def test_saves_its_sizes_with_its_parameters(docs, chains, decoder, layers):
    model = make_model(chains, decoder, **layers)
    other = SpanTagger_v1(token_vectors(), chains, decoder, **layers)
    other.from_bytes(model.to_bytes())
    assert other.get_dim("nO") == 3
    expected, found = model.predict(docs), other.predict(docs)
    numpy.testing.assert_array_equal(found.emissions, expected.emissions)
    for a, b in zip(found.crf + found.learned, expected.crf + expected.learned, strict=True):
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
        {"n_layers": 0},
        {"lstm_size": -1},
        {"scheme": "IOB1"},
    ],
)
def test_settings_are_checked(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        SpanTagger_v1(token_vectors(), **setting)


@pytest.mark.parametrize(
    "decoder,loss",
    [
        ("crf", TokenCrossEntropy_v1()),
        ("argmax", CrfLikelihood_v1()),
        ("argmax", AdaptiveMix_v1()),
    ],
)
def test_loss_and_decoder_have_to_go_together(decoder, loss):
    message = f"{type(loss).__name__} does not go with the decoder '{decoder}'"
    with pytest.raises(ValueError, match=message):
        SpanTagger_v1(token_vectors(), decoder=decoder, loss=loss)
