"""Scores of mentions for codes: over token vectors, and over the texts of mentions."""

import numpy
import pytest
import torch
from thinc.api import Model

from spacy_bioie.models.code_classifier import CodeClassifier_v1
from spacy_bioie.models.mention_text_classifier import MentionTextClassifier_v1
from tests.tiny_encoder import make_tiny_bert

WIDTH = 6
TEXTS = ["gut pain and gut pain", "", "pain of the gut"]
TABLES = [
    numpy.asarray([(0, 2, 0), (3, 5, 0), (1, 2, -1)], dtype="int64"),
    numpy.zeros((0, 3), dtype="int64"),
    numpy.asarray([(0, 4, 0)], dtype="int64"),
]
NONE = [table[:0] for table in TABLES]


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in TEXTS]


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder") / "tiny")


def token_source():
    """A tok2vec layer that gives fixed vectors and keeps the gradient it gets."""
    gradients = []

    def forward(model, docs, is_train):
        random = numpy.random.default_rng(0)
        vectors = [random.normal(size=(len(doc), WIDTH)).astype("float32") for doc in docs]
        return vectors, lambda d: gradients.append(d) or docs

    return Model("source", forward, dims={"nO": WIDTH}), gradients


def test_over_token_vectors(docs):
    source, gradients = token_source()
    model = CodeClassifier_v1(source, hidden_width=8, dropout=0.0)
    with pytest.raises(ValueError, match="CodeClassifier.v1 does not know the number of codes"):
        model.initialize(X=(docs, TABLES))
    model.set_dim("nO", 3)
    model.initialize(X=(docs, TABLES))
    logits, backprop = model.begin_update((docs, TABLES))
    assert [array.shape for array in logits] == [(3, 3), (0, 3), (1, 3)]
    backprop([numpy.ones_like(array) for array in logits])
    assert [array.shape for array in gradients[0]] == [(5, WIDTH), (0, WIDTH), (4, WIDTH)]
    # tokens outside of mentions get none
    assert not gradients[0][0][2].any() and gradients[0][0][1].any()
    _, backprop = model.begin_update((docs, NONE))
    backprop(model.predict((docs, NONE)))
    assert not any(array.any() for array in gradients[1])


def make_reader(name, docs, n_codes=3, **settings):
    torch.manual_seed(0)
    model = MentionTextClassifier_v1(name, hidden_size=8, **{"dropout": 0.0, **settings})
    model.set_dim("nO", n_codes)
    model.initialize(X=(docs, TABLES))
    return model


def test_over_texts(docs, encoder_dir):
    model = make_reader(encoder_dir, docs)
    logits = model.predict((docs, TABLES))
    assert [array.shape for array in logits] == [(3, 3), (0, 3), (1, 3)]
    numpy.testing.assert_array_equal(logits[0][0], logits[0][1])  # the same text
    assert not numpy.allclose(logits[0][0], logits[0][2], atol=1e-3)
    for i in (0, 2):
        single = model.predict((docs[i : i + 1], TABLES[i : i + 1]))
        numpy.testing.assert_allclose(single[0], logits[i], atol=1e-5)
    small = make_reader(encoder_dir, docs, batch_pieces=1)
    small.from_bytes(model.to_bytes())
    for one, other in zip(small.predict((docs, TABLES)), logits, strict=True):
        numpy.testing.assert_allclose(one, other, atol=1e-5)
    assert [array.shape for array in model.predict((docs, NONE))] == [(0, 3)] * 3
    assert model.predict(([], [])) == []


def test_gradient_of_texts(docs, encoder_dir):
    """Mentions of one text share a row: its gradient is the sum of theirs."""
    model = make_reader(encoder_dir, docs)
    module = model.get_ref("scorer").shims[0]._model
    logits, backprop = model.begin_update((docs, TABLES))
    d_logits = [numpy.zeros_like(array) for array in logits]
    d_logits[0][:2, 0] = 1.0
    backprop(d_logits)
    bias = module.head[-1].bias.grad.numpy()
    assert bias.tolist() == [2.0, 0.0, 0.0]
    word = module.encoder.transformer.embeddings.word_embeddings.weight.grad
    assert float(word.abs().sum()) > 0
    _, backprop = model.begin_update((docs, NONE))
    assert backprop(model.predict((docs, NONE))) == (docs, NONE)


def test_texts_are_translated_and_cut(docs, encoder_dir):
    plain = make_reader(encoder_dir, docs)
    same = make_reader(encoder_dir, docs, translate=lambda texts: ["gut pain" for _ in texts])
    same.from_bytes(plain.to_bytes())
    expected = plain.predict((docs, TABLES))[0][0]
    for array in same.predict((docs, TABLES)):
        for row in array:
            numpy.testing.assert_allclose(row, expected, atol=1e-5)
    module = make_reader(encoder_dir, docs, max_length=5).get_ref("scorer").shims[0]._model
    assert [len(row) for row in module.cut(["gut", "gut pain " * 200])] == [3, 5]
    whole = plain.get_ref("scorer").shims[0]._model
    whole.max_length = 1000
    assert len(whole.cut(["gut " * 2000])[0]) == 128  # what the encoder takes


def test_errors(docs, encoder_dir):
    model = MentionTextClassifier_v1(encoder_dir)
    with pytest.raises(ValueError, match="MentionTextClassifier.v1 does not know the number of"):
        model.initialize(X=(docs, TABLES))
    with pytest.raises(ValueError, match="has no parameters yet, initialize or load it"):
        model.predict((docs, TABLES))
    made = make_reader(encoder_dir, docs)
    wrong = numpy.asarray([(0, 9, 0)], dtype="int64")
    with pytest.raises(ValueError, match="Mention of tokens 0 to 9 in document 1 of the batch"):
        made.predict((docs, [TABLES[0], wrong, TABLES[2]]))
    with pytest.raises(ValueError, match="The encoder 'absent/folder' cannot be loaded"):
        make_reader("absent/folder", docs)


@pytest.mark.parametrize(
    "setting, value, message",
    [
        ("hidden_size", 0, "hidden_size is 0, expected 1 or more"),
        ("max_length", 0, "max_length is 0, expected 1 or more"),
        ("batch_pieces", 0, "batch_pieces is 0, expected 1 or more"),
        ("dropout", 1.0, "dropout is 1.0, expected at least 0 and below 1"),
    ],
)
def test_settings_out_of_range(setting, value, message):
    with pytest.raises(ValueError, match=f"MentionTextClassifier: {message}"):
        MentionTextClassifier_v1("name", **{setting: value})
