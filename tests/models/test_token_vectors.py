import numpy
import pytest
from spacy.tokens import Doc
from spacy_transformers.data_classes import TransformerData
from thinc.api import reduce_first, reduce_mean

from spacy_bioie.models.token_vectors import choose_windows, token_vectors
from spacy_bioie.models.windows import TransformerModel_v1
from tests.tiny_encoder import make_tiny_bert

LONG = "Gut and brain.\n" + "serotonin of mice <i>E. coli</i> increased (butyrate), " * 120


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)
    model = TransformerModel_v1(folder)
    model.initialize()
    return model


def by_hand(data, n_tokens):
    """Token vectors and the pieces they come from, one token at a time."""
    hidden = data.model_output.last_hidden_state
    width = hidden.shape[1]
    vectors = numpy.zeros((n_tokens, hidden.shape[2]), dtype="float32")
    sources = []
    begin = 0
    for token, count in enumerate(data.align.lengths):
        pieces = data.align.dataXd[begin : begin + count]
        begin += count
        windows = {}
        for piece in pieces:
            windows.setdefault(piece // width, []).append(piece % width)
        best = None
        for window, places in windows.items():
            edge = min(places[0], data.wordpieces.lengths[window] - 1 - places[-1])
            if best is None or edge > best[0]:
                best = (edge, window, places)
        if best:
            vectors[token] = hidden[best[1], best[2]].mean(axis=0)
            sources.append((token, best[1], best[2]))
    return vectors, sources


def test_every_token_has_the_vector_of_the_window_farther_from_the_edge(nlp, encoder):
    docs = [nlp.make_doc(text) for text in (LONG, "Short.\nText", "", "  ", "\n<sub>\t naïve")]
    datas = encoder.predict(docs).doc_data
    assert sum(datas[0].wordpieces.lengths) > 2000
    vectors, _ = token_vectors(reduce_mean())(datas, is_train=False)
    for doc, data, found in zip(docs, datas, vectors, strict=True):
        assert found.shape == (len(doc), 32)
        if len(doc):
            expected, sources = by_hand(data, len(doc))
            assert numpy.allclose(found, expected, atol=1e-6)
            words = [token.i for token in doc if not token.is_space]
            assert [token for token, _, _ in sources] == words
            assert numpy.abs(found[words]).sum(axis=1).all()
    long = by_hand(datas[0], len(docs[0]))[1]
    assert len({window for _, window, _ in long}) == len(datas[0].wordpieces.lengths)
    middle = [places for _, window, places in long if 3 < window < 60]
    assert min(min(places) for places in middle) > 14
    assert max(max(places) for places in middle) < 49


def test_gradient_goes_to_the_chosen_window_alone(nlp, encoder):
    docs = [nlp.make_doc(text) for text in (LONG, "", "Short.\nText  ")]
    datas = encoder.predict(docs).doc_data
    vectors, backprop = token_vectors(reduce_mean(), grad_factor=0.5)(datas, is_train=True)
    random = numpy.random.default_rng(0)
    d_vectors = [random.normal(size=v.shape).astype("float32") for v in vectors]
    gradients = backprop([d.copy() for d in d_vectors])
    assert len(gradients) == 2
    filled = [i for i, doc in enumerate(docs) if len(doc)]
    for i, gradient in zip(filled, gradients, strict=True):
        expected = numpy.zeros_like(datas[i].model_output.last_hidden_state)
        for token, window, places in by_hand(datas[i], len(docs[i]))[1]:
            expected[window, places] += 0.5 * d_vectors[i][token] / len(places)
        assert numpy.allclose(gradient.model_output.last_hidden_state, expected, atol=1e-6)


def test_pieces_that_tokens_share(encoder, nlp):
    # "mice" is one piece of the encoder and three tokens here.
    doc = Doc(nlp.vocab, words=["m", "ic", "e", "gut"], spaces=[False, False, True, False])
    (data,) = encoder.predict([doc]).doc_data
    assert data.align.lengths.tolist() == [1, 1, 1, 1]
    (vectors,), backprop = token_vectors(reduce_mean())([data], is_train=True)
    assert (vectors[0] == vectors[1]).all() and (vectors[0] == vectors[2]).all()
    (gradient,) = backprop([numpy.ones_like(vectors)])
    sums = gradient.model_output.last_hidden_state[0].mean(axis=1)
    assert sums.tolist() == [0, 3, 1, 0]


def test_choice_of_windows():
    # Two windows of 6 pieces, padded to 8: token 0 in the first, token 1 in both, farther from
    # the edge in the second, token 2 equally far in both, token 3 without pieces.
    pieces = [1, 4, 5, 9, 10, 3, 10]
    kept, counts = choose_windows(numpy.asarray(pieces), [1, 4, 2, 0], [6, 6], 8)
    assert kept.tolist() == [1, 9, 10, 3] and counts.tolist() == [1, 2, 1, 0]
    kept, counts = choose_windows(numpy.zeros((0,)), [0, 0], [2], 2)
    assert kept.tolist() == [] and counts.tolist() == [0, 0]


def test_other_poolings_and_blank_tokens(nlp, encoder):
    docs = [nlp.make_doc(" \n serotonins"), nlp.make_doc(" ")]
    datas = encoder.predict(docs).doc_data
    vectors, backprop = token_vectors(reduce_first())(datas, is_train=True)
    assert numpy.abs(vectors[0]).sum(axis=1).astype(bool).tolist() == [False, True]
    assert vectors[1].shape == (1, 32) and not vectors[1].any()
    gradients = backprop([numpy.ones_like(v) for v in vectors])
    sums = gradients[0].model_output.last_hidden_state.sum(axis=(0, 2))
    assert sums.astype(bool).tolist() == [False, True, False, False]
    assert not gradients[1].model_output.last_hidden_state.any()


def test_a_batch_of_empty_documents_keeps_the_width(nlp, encoder):
    layer = token_vectors(reduce_mean())
    datas = encoder.predict([nlp.make_doc("Gut")]).doc_data
    layer.predict(datas)
    (vectors,), backprop = layer([TransformerData.empty()], is_train=True)
    assert vectors.shape == (0, 32) and backprop([vectors]) == []
