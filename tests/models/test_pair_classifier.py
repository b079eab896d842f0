"""The pair classifier: scores against a plain computation, gradients, chunks, memory."""

import subprocess
import sys

import numpy
import pytest
import torch
from spacy.tokens import Doc
from spacy.util import registry
from spacy.vocab import Vocab
from thinc.api import Adam, Model

from spacy_bioie.models import pair_classifier
from spacy_bioie.models.candidates import PairCandidates, pair_candidates
from spacy_bioie.models.pair_classifier import PairClassifier_v1, PairScorer
from spacy_bioie.models.pair_features import (
    gaps_between,
    mention_positions,
    pair_features,
    surroundings,
)
from spacy_bioie.models.relation_schema import RelationSchema

WIDTH = 6
SCHEMA = RelationSchema(
    [["A", "p", "B"], ["A", "q", "B"], ["B", "p", "B"], ["C", "r", "A"]], labels=["A", "B", "C"]
)
TABLES = [
    numpy.asarray([[0, 2, 0], [1, 2, 1], [1, 2, 2], [4, 5, 1], [8, 9, 0]]),
    numpy.asarray([[3, 4, 1], [0, 1, 1], [1, 3, 0], [0, 1, -1]]),
    numpy.zeros((0, 3), dtype="int64"),
    numpy.asarray([[0, 1, 2]]),
]
WORDS = [10, 4, 3, 1]


def make_docs():
    vocab = Vocab()
    docs = [Doc(vocab, words=[f"w{i}" for i in range(n)]) for n in WORDS]
    docs[0] = Doc(vocab, words=["a", "b", "c", "\n", *"defghi"], spaces=[False] * 10)
    for doc, starts in ((docs[0], {0, 3, 6}), (docs[3], {0})):
        for token in doc:
            token.is_sent_start = token.i in starts
    for doc, first in zip(docs, numpy.cumsum([0, *WORDS]).tolist(), strict=False):
        doc.user_data["row"] = first
    return docs


def embedder():
    """A tok2vec layer: a trainable vector for each token of ``make_docs``."""

    def forward(model, docs, is_train):
        rows = [slice(doc.user_data["row"], doc.user_data["row"] + len(doc)) for doc in docs]

        def backprop(d_vectors):
            d_table = numpy.zeros_like(model.get_param("E"))
            for row, d_vector in zip(rows, d_vectors, strict=True):
                d_table[row] = d_vector
            model.inc_grad("E", d_table)
            return docs

        return [model.get_param("E")[row] for row in rows], backprop

    table = numpy.random.default_rng(0).normal(size=(sum(WORDS), WIDTH)).astype("float32")
    return Model("embedder", forward, params={"E": table}, dims={"nO": None})


def make_model(**settings):
    torch.manual_seed(0)
    settings = {"hidden_size": 12, "label_size": 3, "dropout": 0.0, **settings}
    model = PairClassifier_v1(embedder(), **settings)
    model.initialize(X=(make_docs(), pair_candidates(TABLES, SCHEMA)))
    return model


def scorer_of(model) -> PairScorer:
    return model.get_ref("scorer").shims[0]._model.pair_head


def plain_scores(net: PairScorer, tokens, positions, pairs):
    """The same perceptron, pair by pair, over concatenated vectors."""
    features = pair_features(positions[pairs[:, 0]], positions[pairs[:, 1]])
    out = []
    for (h, t), numbers in zip(pairs.tolist(), features, strict=True):
        vectors = []
        for start, end, label in (positions[h, :3].tolist(), positions[t, :3].tolist()):
            own = tokens[start:end]
            vectors.append(torch.cat([own.mean(dim=0), own[0], net.labels.weight[max(label, 0)]]))
        (i, j), (k, m) = positions[h, :2].tolist(), positions[t, :2].tolist()
        first, end = min(j, m), max(i, k)
        between = tokens[first:end].mean(dim=0) if first < end else torch.zeros_like(tokens[0])
        parts = torch.cat([*vectors, between, numbers])
        own_doc = tokens[positions[h, 6] : positions[h, 7]]
        weight = torch.cat(
            [layer.weight for layer in (net.as_head, net.as_tail, net.between, net.features)],
            dim=1,
        )
        hidden = weight @ parts + net.as_head.bias
        hidden = hidden + net.head_factor(vectors[0]) * net.tail_factor(vectors[1])
        if net.around:
            first, last = min(i, k), max(j, m)
            before = tokens[max(first - net.around, positions[h, 6]) : first]
            after = tokens[last : min(last + net.around, positions[h, 7])]
            for layer, own in ((net.before, before), (net.after, after)):
                hidden = hidden + (layer(own.mean(dim=0)) if len(own) else 0.0)
        if net.attention_heads:
            product = 1.0
            for vector in vectors:
                query = net.attention.query(vector).unflatten(0, (net.attention_heads, -1))
                key = net.attention.key(own_doc).unflatten(1, (net.attention_heads, -1))
                scores = torch.einsum("hd,nhd->hn", query, key) / query.shape[1] ** 0.5
                product = product * scores.softmax(dim=1)
            both = product.mean(dim=0)
            hidden = hidden + (both / both.sum()) @ net.attention.value(own_doc)
        hidden = torch.nn.functional.gelu(hidden)
        out.append(net.scores(torch.nn.functional.gelu(net.hidden(hidden))))
    return torch.stack(out)


def test_registered():
    assert registry.architectures.get("spacy_bioie.PairClassifier.v1") is PairClassifier_v1


CONTEXTS = [{}, {"around": 2}, {"attention_heads": 3}, {"around": 1, "attention_heads": 2}]


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_scores_are_those_of_a_perceptron_over_each_pair(context):
    model = make_model(**context)
    docs, candidates = make_docs(), pair_candidates(TABLES, SCHEMA)
    logits = model.predict((docs, candidates))
    assert logits.shape == (len(candidates.pairs), 3)
    tokens = torch.from_numpy(model.get_ref("tok2vec").get_param("E"))
    positions = torch.from_numpy(mention_positions(docs, candidates))
    with torch.no_grad():
        expected = plain_scores(
            scorer_of(model), tokens, positions, torch.from_numpy(candidates.pairs)
        )
    numpy.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_positions():
    candidates = pair_candidates(TABLES, SCHEMA)
    positions = mention_positions(make_docs(), candidates)
    # start, end, label, sentence, section, sentences known, document; tokens 0 to 3 are the title
    assert positions[:5].tolist() == [
        [0, 2, 0, 1, 0, 1, 0, 10],
        [1, 2, 1, 1, 0, 1, 0, 10],
        [1, 2, 2, 1, 0, 1, 0, 10],
        [4, 5, 1, 2, 1, 1, 0, 10],
        [8, 9, 0, 3, 1, 1, 0, 10],
    ]
    assert positions[5:].tolist() == [
        [13, 14, 1, 0, 0, 0, 10, 14],
        [10, 11, 1, 0, 0, 0, 10, 14],
        [11, 13, 0, 0, 0, 0, 10, 14],
        [10, 11, -1, 0, 0, 0, 10, 14],
        [17, 18, 2, 1, 0, 1, 17, 18],
    ]
    assert mention_positions([], pair_candidates([], SCHEMA)).shape == (0, 8)


def test_features():
    columns = [
        # head, tail: start, end, label, sentence, section, sentences known
        ([0, 2, 0, 1, 0, 1], [5, 6, 0, 3, 1, 1]),
        ([5, 6, 0, 3, 1, 1], [0, 2, 0, 1, 0, 1]),
        ([0, 3, 0, 1, 0, 1], [1, 2, 0, 1, 0, 1]),
        ([2, 4, 0, 0, 0, 0], [4, 5, 0, 0, 0, 0]),
    ]
    heads, tails = (torch.tensor(side) for side in zip(*columns, strict=True))
    first, end = gaps_between(heads, tails)
    assert (end - first).tolist() == [3, 3, 0, 0]
    three, two = numpy.log1p(3), numpy.log1p(2)
    expected = [
        # distance, signed, order, touches, overlaps, sentences, signed, same, known, section
        [three, three, 1, 0, 0, two, two, 0, 1, 0],
        [three, -three, -1, 0, 0, two, -two, 0, 1, 0],
        [0, 0, 1, 1, 1, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 0, 0, 0, 0, 0, 1],
    ]
    numpy.testing.assert_allclose(pair_features(heads, tails).numpy(), expected, rtol=1e-6)


def test_surroundings_stay_in_the_document():
    heads = torch.tensor([[2, 4, 0, 0, 0, 0, 0, 9], [12, 14, 0, 0, 0, 0, 10, 15]])
    tails = torch.tensor([[6, 7, 0, 0, 0, 0, 0, 9], [10, 12, 0, 0, 0, 0, 10, 15]])
    borders = [column.tolist() for column in surroundings(heads, tails, 3)]
    assert borders == [[0, 10], [2, 10], [7, 14], [9, 15]]


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_gradient_of_the_scorer(context):
    model = make_model(
        **{"hidden_size": 4 if context.get("attention_heads") != 3 else 6, **context}
    )
    candidates = pair_candidates(TABLES, SCHEMA)
    net = scorer_of(model).double()
    positions = torch.from_numpy(mention_positions(make_docs(), candidates))
    pairs = torch.from_numpy(candidates.pairs)
    tokens = torch.randn(sum(WORDS), WIDTH, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x, positions, pairs), (tokens,))


def test_gradient_through_the_wrapper():
    model = make_model()
    docs, candidates = make_docs(), pair_candidates(TABLES, SCHEMA)
    rng = numpy.random.default_rng(1)
    weights = rng.normal(size=(len(candidates.pairs), 3)).astype("float32")
    _, backprop = model.begin_update((docs, candidates))
    backprop(weights)
    tok2vec = model.get_ref("tok2vec")
    table, gradient = tok2vec.get_param("E"), tok2vec.get_grad("E")
    assert gradient.shape == table.shape
    for _ in range(5):
        direction = rng.normal(size=table.shape).astype("float32")
        sums = []
        for step in (1e-2, -1e-2):
            tok2vec.set_param("E", table + step * direction)
            sums.append(float((model.predict((docs, candidates)) * weights).sum(dtype="float64")))
        tok2vec.set_param("E", table)
        difference = (sums[0] - sums[1]) / 2e-2
        assert difference == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("context", [{}, {"around": 2, "attention_heads": 2}], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_chunks_change_nothing(dropout, context, monkeypatch):
    docs, candidates = make_docs(), pair_candidates(TABLES, SCHEMA)
    rng = numpy.random.default_rng(1)
    weights = rng.normal(size=(len(candidates.pairs), 3)).astype("float32")
    results = []
    # without checkpoints the same chunks draw the same dropout masks
    for checkpoint in (pair_classifier.checkpoint, lambda f, *args, use_reentrant: f(*args)):
        monkeypatch.setattr(pair_classifier, "checkpoint", checkpoint)
        model = make_model(dropout=dropout, chunk_size=3, **context)
        torch.manual_seed(5)
        logits, backprop = model.begin_update((docs, candidates))
        backprop(weights)
        results.append([logits, model.get_ref("tok2vec").get_grad("E")])
    if not dropout:
        model = make_model(**context)
        logits, backprop = model.begin_update((docs, candidates))
        backprop(weights)
        results.append([logits, model.get_ref("tok2vec").get_grad("E")])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            numpy.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert numpy.abs(results[0][1]).sum() > 0


@pytest.mark.parametrize(
    "docs,tables",
    [
        (make_docs(), [table[:0] for table in TABLES]),
        (make_docs()[3:], TABLES[3:]),
        ([Doc(Vocab(), user_data={"row": 0})], [TABLES[2]]),
        ([], []),
    ],
    ids=["no mention", "one mention", "empty text", "no document"],
)
def test_nothing_to_score(docs, tables):
    model = make_model(around=2, attention_heads=2)
    candidates = pair_candidates(tables, SCHEMA)
    assert model.predict((docs, candidates)).shape == (0, 3)
    logits, backprop = model.begin_update((docs, candidates))
    backprop(numpy.zeros_like(logits))
    assert (model.get_ref("tok2vec").get_grad("E") == 0).all()
    model.finish_update(Adam(0.1))


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_batch_equals_single(context):
    model = make_model(**context)
    docs = make_docs()
    together = model.predict((docs, pair_candidates(TABLES, SCHEMA)))
    single = [
        model.predict(([doc], pair_candidates([table], SCHEMA)))
        for doc, table in zip(docs, TABLES, strict=True)
    ]
    numpy.testing.assert_allclose(together, numpy.concatenate(single), rtol=1e-4, atol=1e-5)


def test_sums_keep_their_digits_in_long_documents():
    net = PairScorer(4, 1, 2, 8, 2, 0.0, 100, 0, 0)
    torch.manual_seed(0)
    n = 30000
    tokens = torch.randn(n, 4) + 100.0
    positions = torch.tensor(
        [[0, 1, 0, 0, 0, 0, 0, n], [n - 8, n - 6, 0, 0, 0, 0, 0, n], [n - 1, n, 0, 0, 0, 0, 0, n]]
    )
    pairs = torch.tensor([[1, 2], [2, 1], [0, 2]])
    with torch.no_grad():
        expected = plain_scores(net, tokens, positions, pairs)
        # the first pair's mean is over 5 tokens whose prefix sums are near 3,000,000
        assert torch.allclose(net(tokens, positions, pairs), expected, rtol=1e-3, atol=1e-2)


def test_save_and_load():
    model = make_model()
    X = (make_docs(), pair_candidates(TABLES, SCHEMA))
    other = PairClassifier_v1(embedder(), hidden_size=12, label_size=3, dropout=0.0)
    other.from_bytes(model.to_bytes())
    numpy.testing.assert_array_equal(other.predict(X), model.predict(X))
    blank = PairClassifier_v1(embedder())
    blank.from_bytes(PairClassifier_v1(embedder()).to_bytes())
    with pytest.raises(ValueError, match="no parameters yet"):
        blank.predict(X)


def test_initialized_anew_for_another_schema():
    model = make_model()
    schema = RelationSchema([["A", "p", "A"]])
    candidates = pair_candidates([table[:1] * 0 for table in TABLES], schema)
    model.initialize(X=(make_docs(), candidates))
    assert model.get_dim("nO") == 1
    assert scorer_of(model).labels.num_embeddings == 1


def test_parameters_are_named_as_a_head():
    module = make_model().get_ref("scorer").shims[0]._model
    assert all("head" in name for name, _ in module.named_parameters())


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": 0},
        {"label_size": -1},
        {"chunk_size": 0},
        {"dropout": 1.0},
        {"around": -1},
        {"attention_heads": -1},
        {"hidden_size": 10, "attention_heads": 4},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=f"PairClassifier: {next(iter(settings))} is"):
        PairClassifier_v1(embedder(), **settings)


def test_initialize_needs_candidates():
    with pytest.raises(ValueError, match="labels and predicates are unknown"):
        PairClassifier_v1(embedder()).initialize()


MEMORY_SCRIPT = """
import resource
import numpy
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model
from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.pair_classifier import PairClassifier_v1
from spacy_bioie.models.relation_schema import RelationSchema

def forward(model, docs, is_train):
    vectors = [numpy.ones((len(doc), 768), dtype="float32") for doc in docs]
    return vectors, lambda d: docs

n = 300
doc = Doc(Vocab(), words=["w"] * (4 * n))
table = numpy.asarray([[4 * i, 4 * i + 2, 0] for i in range(n)])
schema = RelationSchema([["A", f"p{i}", "A"] for i in range(17)])
candidates = pair_candidates([table], schema)
assert len(candidates.pairs) == n * (n - 1)
model = PairClassifier_v1(Model("ones", forward, dims={"nO": 768}))
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
def test_memory_of_300_mentions():
    """All 89,700 pairs of 300 mentions of one label, in training."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000, f"{done.stdout} MB"


def test_candidates_are_plain_arrays():
    candidates = pair_candidates(TABLES, SCHEMA)
    assert isinstance(candidates, PairCandidates)
    assert candidates.legal is SCHEMA.legal
