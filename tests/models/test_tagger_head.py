"""What the tagger's head is told beside the gold: weights of documents and labels, temperatures."""

import numpy
import pytest

from spacy_bioie.models.losses import AdaptiveMix_v1, CrfLikelihood_v1
from spacy_bioie.models.span_head import TEMPERATURE, get_span_head
from spacy_bioie.models.span_tagger import SpanTagger_v1

from .tagger_models import ALL_HEADS, BOTH_SCHEMES, make_docs, make_gold, make_model, token_vectors


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


def weigh(**values):
    return {name: numpy.asarray(value) for name, value in values.items()}


def scores_of(found):
    return numpy.concatenate([spans.scores for spans in found])


@BOTH_SCHEMES
@ALL_HEADS
def test_weights_of_one_are_no_weights(docs, gold, chains, decoder, scheme):
    model = make_model(chains, decoder, scheme=scheme)
    head, output = get_span_head(model), model.predict(docs)
    plain, d_plain = head.loss(output, gold)
    ones = weigh(doc_weights=[1.0] * 5, label_weights=[1.0] * 3)
    weighted, d_weighted = head.loss(output, gold, **ones)
    assert weighted == pytest.approx(plain)
    numpy.testing.assert_allclose(d_weighted.emissions, d_plain.emissions, atol=1e-7)


@ALL_HEADS
def test_loss_is_a_mean_weighted_by_documents(docs, gold, chains, decoder):
    model = make_model(chains, decoder)
    head = get_span_head(model)

    def loss(which, **weights):
        return head.loss(
            model.predict([docs[i] for i in which]), [gold[i] for i in which], **weights
        )

    alone = {i: loss([i])[0] for i in (0, 2, 4)}
    words = {0: 8, 2: 1, 4: 4}
    weights = {0: 0.25, 2: 3.0, 4: 1.5}
    total = sum(weights[i] * words[i] for i in alone)
    expected = sum(weights[i] * words[i] * alone[i] for i in alone) / total
    by_document = weigh(doc_weights=[0.25, 1.0, 3.0, 1.0, 1.5])
    assert loss(range(5), **by_document)[0] == pytest.approx(expected, rel=1e-5)
    # without the others, a document's weight cancels
    assert loss([4], **weigh(doc_weights=[0.1]))[0] == pytest.approx(alone[4], rel=1e-5)
    none, d_none = loss([0, 4], **weigh(doc_weights=[0.0, 0.0]))
    assert none == 0.0 and not d_none.emissions.any()


def test_a_document_without_weight_has_no_gradient(docs, gold):
    model = make_model("joint", "crf", scheme="BIOES")
    output = model.predict(docs)
    weights = weigh(doc_weights=[1.0, 1.0, 1.0, 1.0, 0.0])
    d_emissions = get_span_head(model).loss(output, gold, **weights)[1].emissions
    assert d_emissions[:9].any() and not d_emissions[9:].any()


@BOTH_SCHEMES
@ALL_HEADS
def test_weights_of_labels_count_for_the_words_of_their_mentions(
    docs, gold, chains, decoder, scheme
):
    """The loss is linear in the weights, and words outside of mentions keep the weight 1."""
    model = make_model(chains, decoder, scheme=scheme)
    head, output = get_span_head(model), model.predict(docs)

    def loss(*weights):
        return head.loss(output, gold, label_weights=numpy.asarray(weights))[0]

    outside = loss(0.0, 0.0, 0.0)
    parts = [loss(*row) - outside for row in numpy.eye(3)]
    assert outside > 0 and all(part > 0 for part in parts)
    assert outside + sum(parts) == pytest.approx(head.loss(output, gold)[0], rel=1e-4)
    expected = outside + 0.5 * parts[0] + 4.0 * parts[1] + 2.0 * parts[2]
    assert loss(0.5, 4.0, 2.0) == pytest.approx(expected, rel=1e-4)


def test_temperature_divides_the_scores_and_is_saved(docs):
    model = make_model("per_label", "crf", scheme="BIOES")
    cold = scores_of(get_span_head(model).decode(model.predict(docs)))
    model.attrs[TEMPERATURE] = 3.0
    output = model.predict(docs)
    warm = scores_of(get_span_head(model).decode(output))
    assert output.temperature == 3.0 and warm.mean() < cold.mean()
    other = SpanTagger_v1(token_vectors(), "per_label", "crf", scheme="BIOES")
    other.from_bytes(model.to_bytes())
    again = scores_of(get_span_head(other).decode(other.predict(docs)))
    numpy.testing.assert_allclose(again, warm, rtol=1e-5)
    for wrong in (0.0, -1.0, float("nan")):
        model.attrs[TEMPERATURE] = wrong
        with pytest.raises(ValueError, match="temperature is"):
            model.predict(docs)


@BOTH_SCHEMES
@ALL_HEADS
def test_rescoring_finds_the_same_spans(docs, gold, chains, decoder, scheme):
    model = make_model(chains, decoder, scheme=scheme)
    head, output = get_span_head(model), model.predict(docs)
    found = head.decode(output)
    assert len(scores_of(found))
    for temperature in (0.05, 0.7, 1.0, 20.0):
        again = head.rescore(output, temperature)
        for spans, others in zip(found, again, strict=True):
            for column, other in zip(spans[:3], others[:3], strict=True):
                assert column.tolist() == other.tolist()
        same = numpy.allclose(scores_of(again), scores_of(found), atol=1e-6)
        assert same == (temperature == 1.0)
    # the loss knows no temperature
    model.attrs[TEMPERATURE] = 5.0
    assert head.loss(model.predict(docs), gold)[0] == pytest.approx(head.loss(output, gold)[0])


def test_a_low_temperature_makes_the_best_tags_certain(docs):
    model = make_model("joint", "crf")
    scores = scores_of(get_span_head(model).rescore(model.predict(docs), 0.01))
    assert (scores > 0.99).all()


def test_learned_values(docs):
    for loss, expected in (
        (AdaptiveMix_v1(alpha=0.3), {"alpha": pytest.approx(0.3)}),
        (CrfLikelihood_v1(), {}),
    ):
        model = make_model(loss=loss)
        assert get_span_head(model).learned_values(model) == expected
