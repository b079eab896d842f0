"""ATLOP against plain Python: entities, localized context, bilinear blocks, long documents."""

import math
import os
import shutil
import subprocess
import sys

import numpy
import pytest
import torch
from spacy.tokens import Doc
from spacy.util import registry
from spacy.vocab import Vocab
from thinc.api import Adam

from spacy_bioie.models import atlop_module, marked_encoding
from spacy_bioie.models.atlop import ATLOP_v1
from spacy_bioie.models.atlop_module import (
    PairScorer,
    average_mentions,
    localized_context,
    pool_mentions,
)
from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.marked_encoding import encode_marked
from spacy_bioie.models.relation_schema import RelationSchema

from ..tiny_encoder import WORDS, make_tiny_bert

SCHEMA = RelationSchema(
    [["A", "p", "B"], ["A", "q", "B"], ["B", "p", "B"], ["C", "r", "A"]], labels=["A", "B", "C"]
)
TABLES = [
    numpy.asarray([[0, 2, 0], [1, 2, 1], [1, 2, 2], [4, 5, 1], [8, 9, 0]]),
    numpy.asarray([[3, 4, 1], [0, 1, 1], [1, 3, 0], [0, 1, -1]]),
    numpy.zeros((0, 3), dtype="int64"),
    numpy.asarray([[0, 1, 2]]),
]
# mentions 1 and 3 of the first document are one entity, and 0 and 4
ENTITIES = [numpy.asarray(own) for own in ([7, 2, 3, 2, 7], [0, 1, 2, 3], [], [0])]
N_WORDS = [10, 4, 3, 1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


def make_docs(n_words=N_WORDS):
    rng = numpy.random.default_rng(0)
    vocab = Vocab()
    return [Doc(vocab, words=[str(word) for word in rng.choice(WORDS, n)]) for n in n_words]


def make_batch():
    return make_docs(), pair_candidates(TABLES, SCHEMA, ENTITIES)


def make_long():
    """Documents of several windows, and of one."""
    docs = make_docs([150, 20, 90])
    tables = [
        numpy.asarray([[i, i + 1, (i // step) % 2] for i in range(0, len(doc), step)])
        for doc, step in zip(docs, (10, 5, 8), strict=True)
    ]
    entities = [numpy.arange(len(table)) // 4 * 2 + table[:, 2] for table in tables]
    return docs, pair_candidates(tables, SCHEMA, entities)


def make_model(source, X=None, **settings):
    settings = {"hidden_size": 12, "block_size": 3, **settings}
    model = ATLOP_v1(source, **settings)
    torch.manual_seed(0)
    model.initialize(X=make_batch() if X is None else X)
    return model


def module_of(model):
    return model.get_ref("scorer").shims[0]._model


def gradients(model):
    found = {n: p.grad for n, p in module_of(model).named_parameters() if p.grad is not None}
    return {name: gradient.numpy().copy() for name, gradient in found.items()}


def linear(layer, vector):
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * x for w, x in zip(row, vector, strict=True)) + bias for row, bias in rows]


def plain_context(states, heads, tails):
    """Of one pair: heads, tails as attention[attention head][place]."""
    n = len(states)
    common = [sum(h[i] * t[i] for h, t in zip(heads, tails, strict=True)) for i in range(n)]
    common = [value / len(heads) for value in common]
    total = sum(common) + 1e-5
    width = len(states[0])
    return [sum(common[i] / total * states[i][k] for i in range(n)) for k in range(width)]


def plain_scores(module, states, attention, groups, pair):
    """Of one pair of entities.

    states[place], attention[mention][attention head][place]; groups: for head and tail the
    (mention, place of its marker) of each of their mentions.
    """
    net = module.pair_head
    vectors, rows = [], []
    for entity in pair:
        own = groups[entity]
        vectors.append(
            [
                math.log(sum(math.exp(states[place][k]) for _, place in own))
                for k in range(len(states[0]))
            ]
        )
        n_heads = len(attention[own[0][0]])
        rows.append(
            [
                [sum(attention[m][a][i] for m, _ in own) / len(own) for i in range(len(states))]
                for a in range(n_heads)
            ]
        )
    context = plain_context(states, *rows)
    heads = [math.tanh(x) for x in linear(net.as_head, vectors[0] + context)]
    tails = [math.tanh(x) for x in linear(net.as_tail, vectors[1] + context)]
    size = net.block_size
    products = []
    for begin in range(0, len(heads), size):
        block = range(begin, begin + size)
        products += [heads[i] * tails[j] for i in block for j in block]
    threshold, *logits = linear(net.scores, products)
    return [logit - threshold for logit in logits]


def test_registered():
    assert registry.architectures.get("spacy_bioie.ATLOP.v1") is ATLOP_v1


def test_localized_context_by_hand():
    states = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])
    heads = torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.0, 0.8]], [[1.0, 0.0, 0.0]] * 2])
    tails = torch.tensor([[[0.0, 1.0, 0.0], [0.5, 0.25, 0.25]], [[0.0, 1.0, 0.0]] * 2])
    context = localized_context(states, heads, tails)
    # head 1: 0, .5, 0; head 2: .1, 0, .2; their mean .05, .25, .1 sums to .4
    expected = [(0.05 + 0.1 * 4) / 0.40001, (0.25 * 2 + 0.1 * 4) / 0.40001]
    assert context[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert context[1].tolist() == [0.0, 0.0]  # nothing in common
    for pair in range(2):
        plain = plain_context(states.tolist(), heads[pair].tolist(), tails[pair].tolist())
        assert context[pair].tolist() == pytest.approx(plain, rel=1e-5)


def test_pooling_of_mentions():
    values = torch.tensor([[1.0, -50.0], [2.0, 60.0], [3.0, 0.0], [500.0, -500.0]])
    entities = torch.tensor([1, 0, 1, 2])
    pooled = pool_mentions(values, entities, 3)
    expected = [[2.0, 60.0], [math.log(math.e + math.e**3), 0.0], [500.0, -500.0]]
    torch.testing.assert_close(pooled, torch.tensor(expected))
    means = average_mentions(values[:, :, None], entities, 3)
    torch.testing.assert_close(
        means[:, :, 0], torch.tensor([[2.0, 60.0], [2.0, -25.0], [500.0, -500.0]])
    )
    leaf = torch.randn(4, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool_mentions(x, entities, 3), (leaf,))


def test_gradient_of_the_scorer():
    torch.manual_seed(0)
    net = PairScorer(5, 3, 6, 2).double()
    attention = torch.rand(4, 2, 7, dtype=torch.double)
    inputs = [torch.randn(7, 5, dtype=torch.double), torch.randn(4, 5, dtype=torch.double)]
    inputs.append(attention / attention.sum(-1, keepdim=True))
    pairs = torch.tensor([[0, 1], [1, 0], [2, 2], [3, 1]])
    inputs = [value.requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(lambda *values: net(*values, pairs), inputs)


@pytest.mark.parametrize("one_mention_per_entity", [False, True])
def test_scores_are_those_of_plain_python(source, one_mention_per_entity):
    model = make_model(source, one_mention_per_entity=one_mention_per_entity)
    docs, candidates = make_batch()
    logits = model.predict((docs, candidates))
    assert logits.shape == (len(candidates.pairs), 3)
    module = module_of(model)
    windows = module.prepare(docs, candidates).windows
    entities = candidates.entities.tolist()
    if one_mention_per_entity:
        entities = list(range(len(entities)))
    expected = []
    for number, (first, n) in enumerate(
        zip(candidates.mention_starts, candidates.doc_mentions, strict=True)
    ):
        pairs = [p for p in candidates.pairs.tolist() if first <= p[0] < first + n]
        if not pairs:
            continue
        (row,) = numpy.flatnonzero(windows.docs == number)
        ids = torch.from_numpy(windows.ids[row : row + 1, : windows.lengths[row]])
        with torch.no_grad():
            output = module.encoder.eval()(ids, torch.ones_like(ids), output_attentions=True)
        states, matrix = output.last_hidden_state[0].tolist(), output.attentions[-1][0]
        groups, attention = {}, {}
        for mention in range(first, first + n):
            place = int(windows.markers[mention])
            groups.setdefault(entities[mention], []).append((mention, place))
            attention[mention] = matrix[:, place].tolist()
        for pair in pairs:
            own = [entities[mention] for mention in pair]
            expected.append(plain_scores(module, states, attention, groups, own))
    numpy.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_pairs_of_the_same_entities_have_the_same_logits(source):
    docs, candidates = make_batch()
    logits = make_model(source).predict((docs, candidates))
    rows = {tuple(pair): row for pair, row in zip(candidates.pairs.tolist(), logits, strict=True)}
    same = [rows[0, 1], rows[0, 3], rows[4, 1], rows[4, 3]]
    assert all(numpy.array_equal(row, same[0]) for row in same)
    assert not numpy.array_equal(rows[1, 3], same[0])
    alone = make_model(source, one_mention_per_entity=True).predict((docs, candidates))
    each = make_model(source).predict((docs, pair_candidates(TABLES, SCHEMA)))
    numpy.testing.assert_array_equal(alone, each)
    assert len({row.tobytes() for row in alone}) == len(alone)


def test_states_and_attentions_of_long_documents(source):
    """As in the authors' code, over full matrices of attention, for any number of windows."""
    model = make_model(source, window=40)
    docs, candidates = make_long()
    module = module_of(model)
    windows = module.prepare(docs, candidates).windows
    counts = numpy.bincount(windows.docs)
    assert counts[0] > 5 and counts[1] == 1 and counts[2] > 2
    mention_docs = candidates.mention_docs
    module.encoder.eval()
    with torch.no_grad():
        found = encode_marked(module.encoder, windows, mention_docs, 64)
    for number, doc in found.items():
        n = int(windows.doc_lengths[number])
        states, weights = torch.zeros(n, 32), torch.zeros(n, 1)
        matrix = torch.zeros(2, n, n)
        for row in numpy.flatnonzero(windows.docs == number):
            ids = torch.from_numpy(windows.ids[row : row + 1, : windows.lengths[row]])
            with torch.no_grad():
                output = module.encoder(ids, torch.ones_like(ids), output_attentions=True)
            inside = slice(int(windows.first[row]), int(windows.last[row]))
            shift = int(windows.shifts[row])
            places = slice(inside.start + shift, inside.stop + shift)
            states[places] += output.last_hidden_state[0, inside]
            weights[places] += 1
            matrix[:, places, places] += output.attentions[-1][0, :, inside, inside]
        if counts[number] > 1:
            matrix = matrix / (matrix.sum(-1, keepdim=True) + 1e-10)
        markers = windows.markers[mention_docs == number]
        torch.testing.assert_close(doc.states, states / weights, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            doc.attention, matrix[:, markers].transpose(0, 1), rtol=1e-4, atol=1e-6
        )


def test_gradient_reaches_everything(source):
    """Against differences, in the direction of each group of parameters."""
    model = make_model(source, window=40)
    X = make_long()
    rng = numpy.random.default_rng(1)
    weights = rng.normal(size=(len(X[1].pairs), 3)).astype("float32")
    _, backprop = model.begin_update(X)
    assert backprop(weights) is X
    found = gradients(model)
    parameters = dict(module_of(model).named_parameters())
    # all but the pooler, which nothing reads
    assert {name for name in parameters if "pooler" not in name} == set(found)
    for name in (
        "encoder.transformer.embeddings.word_embeddings.weight",
        # of the last layer, that reaches the scores through the attentions as well
        "encoder.transformer.encoder.layer.1.attention.self.query.weight",
        "encoder.transformer.encoder.layer.1.output.dense.weight",
        "pair_head.as_head.weight",
        "pair_head.scores.weight",
    ):
        parameter, direction = parameters[name].data, torch.from_numpy(found[name])
        before = parameter.clone()
        step = 2e-3 / float(direction.norm())
        sums = []
        for sign in (1, -1):
            parameter.copy_(before + sign * step * direction)
            sums.append(float((model.predict(X) * weights).sum(dtype="float64")))
        parameter.copy_(before)
        slope = (sums[0] - sums[1]) / (2 * step)
        assert slope == pytest.approx(float((direction**2).sum()), rel=3e-2), name


def test_attention_is_learned_through(source):
    """The last layer's queries reach the scores by what they attend to, not by states alone."""
    model = make_model(source)
    docs, candidates = make_batch()
    batch = module_of(model).prepare(docs, candidates)
    name = "transformer.encoder.layer.1.attention.self.query.weight"
    encoder = module_of(model).encoder.train()
    encoded = encode_marked(encoder, batch.windows, candidates.mention_docs, 2048)
    (encoded[0].attention ** 2).sum().backward()
    assert dict(encoder.named_parameters())[name].grad.abs().sum() > 0


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_chunks_and_passes_change_nothing(source, dropout, monkeypatch):
    X = make_long()
    rng = numpy.random.default_rng(1)
    weights = rng.normal(size=(len(X[1].pairs), 3)).astype("float32")
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    small = {"window": 40, "chunk_size": 5, "max_batch_pieces": 100}
    plain = lambda function, *args, use_reentrant: function(*args)  # noqa: E731
    variants = [(marked_encoding.checkpoint, small), (plain, small)]
    if not dropout:  # other passes draw other masks
        variants.append((plain, {"window": 40, "chunk_size": 9999, "max_batch_pieces": 9999}))
    results = []
    for checkpoint, settings in variants:
        monkeypatch.setattr(marked_encoding, "checkpoint", checkpoint)
        model = make_model(source, transformer_config=rates, **settings)
        torch.manual_seed(5)
        logits, backprop = model.begin_update(X)
        backprop(weights)
        results.append({"logits": logits, **gradients(model)})
    for result in results[1:]:
        for name, value in results[0].items():
            numpy.testing.assert_allclose(result[name], value, rtol=1e-3, atol=2e-4, err_msg=name)
    assert numpy.abs(results[0]["pair_head.as_head.weight"]).sum() > 0


def test_checkpoints_are_used_where_there_is_much(source, monkeypatch):
    calls = []
    monkeypatch.setattr(
        marked_encoding,
        "checkpoint",
        lambda function, *args, use_reentrant: calls.append(function) or function(*args),
    )
    X = make_long()
    make_model(source).begin_update(X)
    assert calls == []
    model = make_model(source, window=40, chunk_size=4, max_batch_pieces=80)
    model.predict(X)
    assert calls == []
    model.begin_update(X)
    assert marked_encoding._encode in calls and module_of(model).pair_head in calls
    assert atlop_module.recompute is marked_encoding.recompute


@pytest.mark.parametrize(
    "docs,tables",
    [
        (make_docs(), [table[:0] for table in TABLES]),
        (make_docs()[3:], TABLES[3:]),
        ([Doc(Vocab())], [TABLES[2]]),
        ([], []),
    ],
    ids=["no mention", "one mention", "empty text", "no document"],
)
def test_nothing_to_score(source, docs, tables):
    model = make_model(source)
    X = (docs, pair_candidates(tables, SCHEMA))
    assert model.predict(X).shape == (0, 3)
    logits, backprop = model.begin_update(X)
    assert backprop(numpy.zeros_like(logits)) is X
    assert gradients(model) == {}
    model.finish_update(Adam(0.1))


def test_batch_equals_single(source):
    for window, (docs, candidates) in ((128, make_batch()), (40, make_long())):
        model = make_model(source, window=window, max_batch_pieces=100)
        together = model.predict((docs, candidates))
        numbers = candidates.mention_docs
        single = [
            model.predict(
                (
                    [doc],
                    pair_candidates(
                        [candidates.mentions[numbers == i]],
                        SCHEMA,
                        [candidates.entities[numbers == i]],
                    ),
                )
            )
            for i, doc in enumerate(docs)
        ]
        numpy.testing.assert_allclose(together, numpy.concatenate(single), rtol=1e-3, atol=1e-4)


def test_save_and_load_without_the_source(tmp_path):
    folder = make_tiny_bert(tmp_path / "encoder")
    model = make_model(folder)
    X = make_batch()
    before, data = model.predict(X), model.to_bytes()
    shutil.rmtree(folder)
    other = ATLOP_v1(folder, hidden_size=12, block_size=3)
    other.from_bytes(data)
    numpy.testing.assert_array_equal(other.predict(X), before)
    # and can be initialized for another schema
    schema = RelationSchema([["A", "p", "A"]])
    other.initialize(X=(X[0], pair_candidates([table[:0] for table in TABLES], schema)))
    assert other.get_dim("nO") == 1
    kept = module_of(other).encoder.state_dict()
    for name, value in module_of(model).encoder.state_dict().items():
        assert torch.equal(kept[name], value), name


def test_bytes_before_initialization(source):
    blank = ATLOP_v1(source)
    blank.from_bytes(ATLOP_v1(source).to_bytes())
    with pytest.raises(ValueError, match="ATLOP: the model has no parameters yet"):
        blank.predict(make_batch())
    with pytest.raises(ValueError, match="ATLOP: predicates are unknown"):
        blank.initialize()


def test_marker_becomes_a_piece(source):
    model = make_model(source, marker="[entity]")
    X = make_batch()
    tokenizer = module_of(model).encoder.tokenizer
    windows = module_of(model).prepare(*X).windows
    pieces = tokenizer.convert_ids_to_tokens(windows.ids[0].tolist())
    assert pieces[:2] == ["[CLS]", "[entity]"] and pieces.count("[entity]") == 8
    again = ATLOP_v1("", marker="[entity]", hidden_size=12, block_size=3)
    again.from_bytes(model.to_bytes())
    numpy.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_scorer_parameters_are_named_as_a_head(source):
    names = [name for name, _ in module_of(make_model(source)).named_parameters()]
    own = [name for name in names if not name.startswith("encoder.transformer.")]
    assert len(own) == 6 and all("pair_head" in name for name in own)
    assert not any("head" in name for name in names if name not in own)


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"window": 0}, "window is 0, expected 1 or more"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"block_size": -2}, "block_size is -2"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"max_batch_pieces": 0}, "max_batch_pieces is 0"),
        ({"hidden_size": 100}, "hidden_size is 100, expected a multiple of block_size.*64"),
        ({"marker": " "}, "marker is ' ', expected more than blanks"),
    ],
)
def test_settings_out_of_range(source, settings, message):
    with pytest.raises(ValueError, match=f"ATLOP: {message}"):
        ATLOP_v1(source, **settings)


def test_encoders_that_cannot_be_used(source, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="none' cannot be loaded: expected a folder"):
        make_model(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="A window of 2 word pieces has no room"):
        make_model(source, window=2)
    with pytest.raises(ValueError, match="expected a fast tokenizer"):
        make_model(source, tokenizer_config={"use_fast": False})
    model = make_model(source)
    forward = module_of(model).encoder.transformer.forward

    def without_attentions(**inputs):
        return forward(**{**inputs, "output_attentions": False})

    monkeypatch.setattr(module_of(model).encoder.transformer, "forward", without_attentions)
    with pytest.raises(ValueError, match="a BertModel, gives no attentions"):
        model.predict(make_batch())


MEMORY_SCRIPT = """
import resource, sys
import numpy
from spacy.tokens import Doc
from spacy.vocab import Vocab
from spacy_bioie.models.atlop import ATLOP_v1
from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.relation_schema import RelationSchema

n = 300
doc = Doc(Vocab(), words=["gut"] * (2 * n))
table = numpy.asarray([[2 * i, 2 * i + 1, 0] for i in range(n)])
schema = RelationSchema([["A", f"p{i}", "A"] for i in range(17)])
candidates = pair_candidates([table], schema)
assert len(candidates.pairs) == n * (n - 1)
model = ATLOP_v1(sys.argv[1], hidden_size=32, block_size=32)
few = pair_candidates([table[:2]], schema)
model.initialize(X=([doc], few))
logits, backprop = model.begin_update(([doc], few))
backprop(logits)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
logits, backprop = model.begin_update(([doc], candidates))
backprop(logits)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_memory_of_300_mentions(source):
    """All 89,700 pairs of 300 mentions of one label, in training.

    Each of their heads, tails and products of attentions alone takes 860 MB at once.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, source],
        capture_output=True,
        text=True,
        check=True,
        # what is freed goes back to the system at once, so that its holes are not counted
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    assert int(done.stdout) < 200, f"{done.stdout} MB"
