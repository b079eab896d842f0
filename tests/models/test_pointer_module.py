"""The scores of spans, and that they are computed in chunks."""

import itertools

import numpy
import pytest
import spacy
import torch

from spacy_bioie.models.pointer_module import PointerModule
from spacy_bioie.models.span_head import get_span_head

from .pointer_models import assert_same_gradients, get_module, make_docs, make_gold, make_model
from .tagger_models import WIDTH


@pytest.fixture(scope="module")
def docs():
    return make_docs()


@pytest.fixture(scope="module")
def gold():
    return make_gold()


def test_a_score_is_that_of_the_formula():
    module = PointerModule(max_width=4, hidden_size=3, rank=2, dropout=0.0, chunk_size=7)
    module.build(WIDTH, 3)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    module.eval()
    vectors = torch.randn(6, WIDTH)
    with torch.no_grad():
        scores = module(vectors, torch.tensor([6, 5, 4, 3, 2, 1]), 4)
        gelu = torch.nn.functional.gelu
        starts = module.head_start_output(gelu(module.head_start_hidden(vectors)))
        ends = module.head_end_output(gelu(module.head_end_hidden(vectors)))
        for i, n, label in itertools.product(range(6), range(4), range(3)):
            if i + n >= 6:
                assert scores[i, n, label] == -torch.inf
                continue
            start, end = starts[i], ends[i + n]
            factors = module.head_labels.weight[label] * module.head_width_factor[n]
            product = (factors * start[:2] * end[:2]).sum()
            expected = product + start[2 + label] + end[2 + label]
            expected += module.head_width_bias[n, label]
            torch.testing.assert_close(scores[i, n, label], expected)


def test_scores_every_span_of_a_section(docs):
    model = make_model()
    output = model.predict(docs)
    words = sum(not token.is_space for doc in docs for token in doc)
    assert output.logits.shape == (words, 6, 3) and output.logits.dtype == "float32"
    finite = numpy.isfinite(output.logits)
    assert (finite == finite[:, :, :1]).all()
    # 2 words and 6 words in the sections of the first document, then 1 and 8
    expected = [2, 1, 6, 5, 4, 3, 2, 1, 1, 6, 6, 6, 5, 4, 3, 2, 1]
    assert finite[:, :, 0].sum(axis=1).tolist() == expected


def test_no_width_beyond_the_longest_section(docs):
    model = make_model(max_width=50)
    assert model.predict(docs).logits.shape[1] == 8
    assert model.predict(docs[2:3]).logits.shape == (1, 1, 3)
    assert model.predict(docs[1:2]).logits.shape == (0, 1, 3)
    assert model.predict([]).logits.shape == (0, 1, 3)


def test_chunks_change_nothing(docs, gold):
    """Also the dropout is the same, and a chunk may end in the middle of a section."""
    # the whole, 5, 2 and 1 words at a time
    models = [make_model(chunk_size=n, dropout=0.3) for n in (1000, 30, 12, 1)]
    outputs = []
    for model in models:
        get_module(model).train()
        torch.manual_seed(1)
        output, backprop = model.begin_update(docs)
        backprop(get_span_head(model).loss(output, gold)[1])
        outputs.append(output.logits)
    for model, logits in zip(models[1:], outputs[1:], strict=True):
        numpy.testing.assert_allclose(logits, outputs[0], rtol=1e-4, atol=1e-5)
        assert_same_gradients(models[0], model)
        expected, found = (m.predict(docs).logits for m in (models[0], model))
        numpy.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def make_module(chunk_size):
    module = PointerModule(16, 4, 32, 0.0, chunk_size)
    module.build(WIDTH, 2)
    return module


def test_chunks_bound_what_is_kept_for_the_gradient():
    def kept(chunk_size, n_words=400):
        vectors = torch.randn(n_words, WIDTH, requires_grad=True)
        seen = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            scores = make_module(chunk_size)(vectors, torch.arange(n_words, 0, -1), 16)
        assert scores.shape == (n_words, 16, 2)
        return sum(seen.values())

    products = 400 * 4 * 16 * 32  # bytes
    assert kept(10**6) > products
    assert kept(64) < products / 3


def test_chunks_bound_what_is_computed_at_a_time():
    module = make_module(chunk_size=64)
    sizes = []
    score = module._score
    module._score = lambda starts, *rest: (sizes.append(len(starts)), score(starts, *rest))[1]
    with torch.no_grad():
        module(torch.randn(401, WIDTH), torch.arange(401, 0, -1), 16)
    assert sizes == [4] * 100 + [1]


def test_document_longer_than_a_chunk():
    doc = spacy.blank("en")("one two three four five six seven eight nine ten " * 40)
    tables = [numpy.asarray([(i, i + 3, i % 2) for i in range(0, 390, 7)], dtype="int64")]
    outputs = []
    for chunk_size in (64, 10**6):
        model = make_model(n_labels=2, chunk_size=chunk_size)
        output, backprop = model.begin_update([doc])
        loss, d_output = get_span_head(model).loss(output, tables)
        backprop(d_output)
        outputs.append((model, loss, get_span_head(model).decode(output)[0]))
    assert outputs[0][1] == pytest.approx(outputs[1][1], rel=1e-5)
    assert len(outputs[0][2].scores) > 100
    assert_same_gradients(outputs[0][0], outputs[1][0])
