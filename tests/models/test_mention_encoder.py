import numpy
import pytest
from spacy.util import registry
from thinc.api import Linear, Model, chain

from spacy_bioie.models.mention_encoder import MentionEncoder_v1

WIDTH = 6
LENGTHS = [5, 0, 3]
TABLES = [
    # nested, overlapping and equal ones
    numpy.asarray([(0, 2, 0), (1, 5, -1), (1, 2, 0), (1, 2, 1)], dtype="int64"),
    numpy.zeros((0, 3), dtype="int64"),
    numpy.asarray([(0, 3, 0)], dtype="int64"),
]
NONE = [numpy.zeros((0, 3), dtype="int64")] * 3


def token_source(vectors):
    """A tok2vec layer that gives fixed vectors and keeps the gradient it gets."""
    gradients = []

    def forward(model, docs, is_train):
        return [array.copy() for array in vectors], lambda d: gradients.append(d) or docs

    return Model("source", forward, dims={"nO": WIDTH}), gradients


def make(vectors, docs, nO=4, dropout=0.0):
    source, gradients = token_source(vectors)
    model = MentionEncoder_v1(source, hidden_width=8, dropout=dropout, nO=nO)
    model.initialize(X=(docs, TABLES))
    return model, gradients


@pytest.fixture
def vectors():
    random = numpy.random.default_rng(0)
    return [random.normal(size=(n, WIDTH)).astype("float32") for n in LENGTHS]


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(" ".join("word" for _ in range(n))) for n in LENGTHS]


def test_output_has_one_row_for_each_mention(vectors, docs):
    model, _ = make(vectors, docs)
    output = model.predict((docs, TABLES))
    assert [array.shape for array in output] == [(4, 4), (0, 4), (1, 4)]
    numpy.testing.assert_array_equal(output[0][2], output[0][3])  # labels play no part
    projection = model.layers[1]
    pooled = numpy.concatenate((vectors[0][1:5].mean(axis=0), vectors[0][1]))[None]
    numpy.testing.assert_allclose(output[0][1], projection.predict(pooled)[0], atol=1e-5)


def test_batch_equals_single(vectors, docs):
    model, _ = make(vectors, docs)
    together = model.predict((docs, TABLES))
    for i in range(3):
        single, _ = token_source(vectors[i : i + 1])
        model.layers[0] = single
        numpy.testing.assert_allclose(
            model.predict((docs[i : i + 1], TABLES[i : i + 1]))[0], together[i], atol=1e-6
        )


def test_gradient_of_tokens_by_finite_differences(vectors, docs):
    model, gradients = make(vectors, docs)
    random = numpy.random.default_rng(1)
    output, backprop = model.begin_update((docs, TABLES))
    weights = [random.normal(size=array.shape).astype("float32") for array in output]
    backprop(weights)
    (gradient,) = gradients
    assert [array.shape for array in gradient] == [array.shape for array in vectors]

    def value(changed):
        model.layers[0] = token_source(changed)[0]
        found = model.predict((docs, TABLES))
        return sum(float((a * b).sum()) for a, b in zip(found, weights, strict=True))

    step = 2e-3  # short, so that no piece of the maxout layer changes in between
    for d, t, w in ((0, 0, 0), (0, 1, 3), (0, 4, 5), (2, 0, 1), (2, 2, 2)):
        up, down = ([array.copy() for array in vectors] for _ in range(2))
        up[d][t, w] += step
        down[d][t, w] -= step
        expected = (value(up) - value(down)) / (2 * step)
        assert gradient[d][t, w] == pytest.approx(expected, rel=0.05, abs=0.02)


def test_gradient_of_parameters(vectors, docs):
    model, _ = make(vectors, docs)
    output, backprop = model.begin_update((docs, TABLES))
    backprop([numpy.ones_like(array) for array in output])
    names = {
        name
        for node in model.walk()
        for name in node.param_names
        if node.has_grad(name) and numpy.abs(node.get_grad(name)).sum() > 0
    }
    assert {"W", "b"} <= names


def test_without_mentions_the_tokens_get_zeros(vectors, docs):
    model, gradients = make(vectors, docs)
    output, backprop = model.begin_update((docs, NONE))
    assert [array.shape for array in output] == [(0, 4)] * 3
    backprop(output)
    assert [array.shape for array in gradients[0]] == [array.shape for array in vectors]
    assert not any(array.any() for array in gradients[0])


def test_mentions_outside_of_their_document(vectors, docs):
    model, _ = make(vectors, docs)
    for row in ((3, 3, 0), (-1, 1, 0), (2, 6, 0)):
        tables = [numpy.asarray([row]), *NONE[:2]]
        with pytest.raises(ValueError, match="in document 0 of the batch: expected at least one"):
            model.predict((docs, tables))
    with pytest.raises(ValueError, match="in document 1.*inside the 0 tokens"):
        model.predict((docs, [NONE[0], numpy.asarray([(0, 1, 0)]), NONE[0]]))


def test_width_of_the_tokens_is_read_from_a_sample(vectors, docs):
    source, _ = token_source(vectors)
    unsized = Model("unsized", source._func)
    model = MentionEncoder_v1(unsized, hidden_width=8, nO=4)
    with pytest.raises(ValueError, match="cannot tell the width"):
        model.initialize()
    model.initialize(X=(docs, TABLES))
    assert model.predict((docs, TABLES))[0].shape == (4, 4)


def test_output_width_has_to_be_set(vectors, docs):
    model = MentionEncoder_v1(token_source(vectors)[0], hidden_width=8)
    with pytest.raises(ValueError, match="has no output width"):
        model.initialize(X=(docs, TABLES))


def test_bytes_size_a_new_model(vectors, docs):
    model, _ = make(vectors, docs)
    again = MentionEncoder_v1(token_source(vectors)[0], hidden_width=8)
    again.from_bytes(model.to_bytes())
    assert again.get_dim("nO") == 4
    numpy.testing.assert_array_equal(
        again.predict((docs, TABLES))[0], model.predict((docs, TABLES))[0]
    )


def test_parameters_below_get_the_gradient(vectors, docs):
    """A trainable layer under the encoder: its weights move."""
    source, _ = token_source(vectors)
    layer = Linear(nO=WIDTH, nI=WIDTH)
    flat = Model(
        "each",
        lambda model, Xs, is_train: _each(model.layers[0], Xs, is_train),
        layers=[layer],
        dims={"nO": WIDTH},
    )
    model = MentionEncoder_v1(chain(source, flat), hidden_width=8, nO=4)
    layer.initialize()
    model.initialize(X=(docs, TABLES))
    output, backprop = model.begin_update((docs, TABLES))
    backprop([numpy.ones_like(array) for array in output])
    assert numpy.abs(layer.get_grad("W")).sum() > 0


def _each(layer, Xs, is_train):
    rows = [layer(X, is_train) for X in Xs]
    return [Y for Y, _ in rows], lambda d: [back(dY) for (_, back), dY in zip(rows, d, strict=True)]


def test_registered_name():
    assert registry.architectures.get("spacy_bioie.MentionEncoder.v1") is MentionEncoder_v1
