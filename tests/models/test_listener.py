import numpy
import pytest
import spacy
from spacy.tokens import Doc
from thinc.api import Model, reduce_first, reduce_mean
from thinc.types import Ragged

from spacy_bioie.models.listener import TransformerListener_v1, require_encoder_output
from spacy_bioie.models.token_vectors import choose_windows, token_vectors
from spacy_bioie.models.windows import TransformerModel_v1
from tests.models.tagging_pipeline import LISTENER, TEXTS, gradient_norm, make_pipeline
from tests.tiny_encoder import make_tiny_bert

LONG = "Gut and brain.\n" + "serotonin of mice <i>E. coli</i> increased (butyrate), " * 120
STOCK = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "pooling": {"@layers": "reduce_mean.v1"},
}


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


@pytest.fixture(scope="module")
def encoder(tiny_bert):
    model = TransformerModel_v1(tiny_bert)
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
    from spacy_transformers.data_classes import TransformerData

    (vectors,), backprop = layer([TransformerData.empty()], is_train=True)
    assert vectors.shape == (0, 32) and backprop([vectors]) == []


def test_pooling_can_be_given(tiny_bert):
    def forward(model, Xr, is_train):
        Y = model.ops.reduce_max(Xr.dataXd, Xr.lengths)[0]
        return Y, lambda dY: Ragged(model.ops.xp.zeros_like(Xr.dataXd), Xr.lengths)

    layer = TransformerListener_v1(pooling=Model("pool_max", forward), grad_factor=0.25)
    names = [node.name for node in layer.walk()]
    assert "pool_max" in names and "transformer-listener" in names
    assert layer.layers[1].attrs["grad_factor"] == 0.25
    assert layer.get_ref("listener").upstream_name == "*"


def test_gradient_factor_of_zero_freezes_the_encoder(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert, ("tagger",), {**LISTENER, "grad_factor": 0.0})
    nlp.update(examples)
    nlp.update(examples, sgd=False)
    assert gradient_norm(nlp) == 0


def test_it_learns(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert, ("tagger",), max_batch_pieces=200)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.003
    losses = []
    for _ in range(30):
        losses.append(nlp.update(examples, sgd=False)["tagger"])
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("listener", [LISTENER, STOCK], ids=["own", "stock"])
def test_replace_listeners_save_and_reload(tmp_path, listener):
    folder = make_tiny_bert(tmp_path / "bert", max_positions=64)
    nlp, examples = make_pipeline(folder, listener=listener)
    for _ in range(2):
        nlp.update(examples)
    expected = tagger_scores(nlp)
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    assert numpy.allclose(tagger_scores(nlp, run_encoder=False), expected, atol=1e-6)
    encoders = [nlp.get_pipe("transformer").model, nlp.get_pipe("tagger").model]
    ids = [shim.id for model in encoders for node in model.walk() for shim in node.shims]
    assert len(ids) == len(set(ids)) == 2
    for _ in range(3):
        losses = nlp.update(examples)
        assert losses["tagger"] > 0
    expected = tagger_scores(nlp, run_encoder=False)
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "bert").rename(tmp_path / "gone")
    loaded = spacy.load(tmp_path / "pipeline")
    assert numpy.allclose(tagger_scores(loaded, run_encoder=False), expected, atol=1e-6)
    config = loaded.config["components"]["tagger"]["model"]["tok2vec"]
    assert config["@architectures"] == "spacy_bioie.Tok2VecTransformer.v1"
    assert config["average_windows"] is (listener is STOCK)
    loaded.update(examples)
    loaded.remove_pipe("transformer")
    loaded.remove_pipe("morphologizer")
    assert all(token.tag_ for token in loaded(LONG))


def tagger_scores(nlp, run_encoder=True):
    doc = nlp(LONG) if run_encoder else nlp.make_doc(LONG)
    (scores,) = nlp.get_pipe("tagger").model.predict([doc])
    return scores


# Missing encoder output


def test_missing_output_of_a_transformer_is_an_error(tiny_bert):
    nlp, _ = make_pipeline(tiny_bert, ("tagger",))
    model = nlp.get_pipe("tagger").model
    docs = list(nlp.pipe(TEXTS))
    require_encoder_output(model, docs, "tagger")
    docs[1]._.trf_data = None
    with pytest.raises(ValueError) as error:
        require_encoder_output(model, docs, "tagger")
    for part in ("'tagger'", "'transformer'", "'Short. Hello there patients", "doc_cleaner"):
        assert part in str(error.value)


def test_missing_output_of_a_tok2vec_is_an_error():
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "tok2vec",
        config={
            "model": {
                "@architectures": "spacy.HashEmbedCNN.v2",
                "width": 8,
                "depth": 1,
                "embed_size": 50,
                "window_size": 1,
                "maxout_pieces": 2,
                "subword_features": True,
                "pretrained_vectors": None,
            }
        },
    )
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 8}
    tagger = nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}
    )
    tagger.add_label("A")
    nlp.initialize()
    docs = list(nlp.pipe(["The gut.", "", "  "]))
    require_encoder_output(tagger.model, docs, "tagger")
    docs[0].tensor = None
    with pytest.raises(ValueError, match=r"'tagger' listens to 'tok2vec'.*'The gut.'.*doc.tensor"):
        require_encoder_output(tagger.model, docs, "tagger")
    with pytest.raises(ValueError, match="'tok2vec'"):
        require_encoder_output(tagger.model, [nlp.make_doc("Mice")], "tagger")


def test_documents_without_text_need_no_output(tiny_bert):
    nlp, _ = make_pipeline(tiny_bert, ("tagger",))
    docs = [nlp.make_doc(text) for text in ("", "  \n ", "\t")]
    require_encoder_output(nlp.get_pipe("tagger").model, docs, "tagger")


def test_a_model_without_listener_needs_no_output():
    nlp = spacy.blank("en")
    tagger = nlp.add_pipe("tagger")
    require_encoder_output(tagger.model, [nlp.make_doc("Mice")], "tagger")
