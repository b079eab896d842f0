"""The marker classifier: scores against a plain computation, gradients, batches, memory."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy
import pytest
import torch
from spacy.tokens import Doc
from spacy.util import registry
from spacy.vocab import Vocab
from thinc.api import Adam

from spacy_bioie.models import encoded_rows
from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.half_precision import cpu_has_bfloat16
from spacy_bioie.models.marker_classifier import MarkerClassifier_v1
from spacy_bioie.models.marker_module import NEVER
from spacy_bioie.models.relation_schema import RelationSchema
from tests.tiny_encoder import make_tiny_bert

WIDTH = 32
SCHEMA = RelationSchema(
    [["A", "located in", "B"], ["A", "affect", "B"], ["B", "affect", "B"], ["C", "target", "A"]],
    labels=["A", "B", "C"],
)
TEXTS = ["gut bacteria of mice lowered anxiety in the colon", "rats . no acid", "mice", ""]
TABLES = [
    [[0, 2, 0], [1, 2, 1], [1, 2, 2], [3, 4, 1], [8, 9, 0]],
    [[3, 4, 1], [0, 1, 1], [0, 2, 0], [0, 1, -1]],
    [[0, 1, 2]],
    [],
]
FORMS = ("markers", "cross_encoder")
both_forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def dropping_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), dropout=0.3)


def make_docs():
    vocab = Vocab()
    docs = [Doc(vocab, words=text.split()) for text in TEXTS]
    for doc in docs[:2]:
        for token in doc:
            token.is_sent_start = token.i == 0 or doc[token.i - 1].text in (".", "mice")
    return docs


def make_candidates(tables=TABLES, schema=SCHEMA):
    return pair_candidates([numpy.asarray(t, "int64").reshape((-1, 3)) for t in tables], schema)


def make_model(encoder, form, **settings):
    torch.manual_seed(0)
    model = MarkerClassifier_v1(encoder, form, **{"dropout": 0.0, "max_length": 64, **settings})
    model.initialize(X=(make_docs(), make_candidates()))
    return model


def module_of(model):
    return model.get_ref("scorer").shims[0]._model


def gradients(model):
    named = module_of(model).named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def some_gradient(n):
    return numpy.random.default_rng(1).normal(size=(n, 3)).astype("float32")


def update(model, X, seed=5):
    """The logits of a training batch, and the gradients of all parameters."""
    torch.manual_seed(seed)
    logits, backprop = model.begin_update(X)
    backprop(some_gradient(len(logits)))
    found = gradients(model)
    module_of(model).zero_grad(set_to_none=True)
    return logits, found


def assert_same(one, other, atol=1e-5):
    numpy.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=atol)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert torch.allclose(gradient, other[1][name], rtol=1e-3, atol=atol), name


def plain_update(model, docs, candidates):
    """The same, input by input, without padding, batches or dropout."""
    module = module_of(model)
    rows, scored = module.prepare(docs, candidates)
    linear = module.pair_head[-1]
    logits = torch.full(scored.shape, NEVER)
    places = numpy.argwhere(scored).tolist()
    for i in range(len(rows.lengths)):
        ids, _, types, read = (torch.from_numpy(x) for x in rows.write_out(numpy.asarray([i])))
        hidden = module.encoder.transformer(input_ids=ids, token_type_ids=types)[0][0]
        scores = linear.weight @ hidden[read[0]].flatten() + linear.bias
        if len(scores) == 1:
            logits[tuple(places[i])] = scores[0]
        else:
            logits[i] = torch.where(torch.from_numpy(scored[i]), scores, NEVER)
    (logits * torch.from_numpy(some_gradient(len(logits)))).sum().backward()
    found = gradients(model)
    module.zero_grad(set_to_none=True)
    return logits.detach().numpy(), found


def test_registered():
    assert registry.architectures.get("spacy_bioie.MarkerClassifier.v1") is MarkerClassifier_v1


@both_forms
@pytest.mark.parametrize("batch_pieces", [1, 50, 10000])
def test_scores_and_gradients_are_those_of_each_pair(bert, form, batch_pieces):
    model = make_model(bert, form, batch_pieces=batch_pieces)
    docs, candidates = make_docs(), make_candidates()
    expected = plain_update(model, docs, candidates)
    logits, found = update(model, (docs, candidates))
    assert logits.shape == (len(candidates.pairs), 3)
    assert_same((logits, found), expected)
    numpy.testing.assert_allclose(model.predict((docs, candidates)), logits, atol=1e-5)
    query = "encoder.transformer.encoder.layer.0.attention.self.query.weight"
    assert found[query].abs().sum() > 0


@both_forms
def test_head_with_a_hidden_layer(bert, form):
    model = make_model(bert, form, hidden_size=7)
    linear = [layer for layer in module_of(model).pair_head if isinstance(layer, torch.nn.Linear)]
    n_in, n_out = (2 * WIDTH, 3) if form == "markers" else (WIDTH, 1)
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(n_in, 7), (7, n_out)]
    logits, found = update(model, (make_docs(), make_candidates()))
    assert all(found[name].abs().sum() > 0 for name in found if "pair_head" in name)


@both_forms
def test_what_is_illegal_is_not_scored(bert, form):
    candidates = make_candidates()
    X, legal = (make_docs(), candidates), candidates.pair_legal()
    logits = make_model(bert, form).predict(X)
    assert (logits[~legal] == NEVER).all() and (logits[legal] > -20).all()
    unbound = make_model(bert, form, type_constraint=False)
    everything = unbound.predict(X)
    assert (everything > -20).all()
    numpy.testing.assert_allclose(everything[legal], logits[legal], atol=1e-5)
    rows, _ = module_of(unbound).prepare(*X)
    assert len(rows.lengths) == (legal.size if form == "cross_encoder" else len(legal))


@both_forms
def test_any_subset_of_pairs(bert, form):
    """Training may draw negatives: pairs that are left out change nothing."""
    model, docs, candidates = make_model(bert, form), make_docs(), make_candidates()
    whole = model.predict((docs, candidates))
    for rows in ([1, 4, 7], [0], [len(whole) - 1], []):
        part = replace(candidates, pairs=candidates.pairs[rows])
        numpy.testing.assert_allclose(model.predict((docs, part)), whole[rows], atol=1e-5)


@both_forms
def test_batch_equals_single(bert, form):
    model = make_model(bert, form)
    docs = make_docs()
    together = model.predict((docs, make_candidates()))
    single = [
        model.predict(([doc], make_candidates([table])))
        for doc, table in zip(docs, TABLES, strict=True)
    ]
    numpy.testing.assert_allclose(together, numpy.concatenate(single), atol=1e-5)


@both_forms
@pytest.mark.parametrize(
    "texts, tables",
    [
        (slice(0, 4), [[], [], [], []]),
        (slice(2, 3), TABLES[2:3]),
        (slice(3, 4), [[]]),
        (slice(0, 0), []),
    ],
    ids=["no mention", "one mention", "empty text", "no document"],
)
def test_nothing_to_score(bert, form, texts, tables):
    model = make_model(bert, form)
    X = (make_docs()[texts], make_candidates(tables))
    assert model.predict(X).shape == (0, 3)
    logits, backprop = model.begin_update(X)
    assert backprop(numpy.zeros_like(logits)) is X
    model.finish_update(Adam(0.1))


def without_checkpoint(function, *args, use_reentrant):
    return function(*args)


@both_forms
def test_batches_are_computed_again_with_the_same_dropout(dropping_bert, form, monkeypatch):
    X = (make_docs(), make_candidates())
    model = make_model(dropping_bert, form, batch_pieces=40, dropout=0.2)
    passes = []
    transformer = module_of(model).encoder.transformer
    transformer.register_forward_hook(lambda *_: passes.append(1))
    again = update(model, X)
    n_again = len(passes)
    monkeypatch.setattr(encoded_rows, "checkpoint", without_checkpoint)
    kept = update(model, X)
    n_batches = len(passes) - n_again
    assert_same(again, kept)
    assert n_batches > 3 and n_again == 2 * n_batches - 1  # the last batch is kept
    assert numpy.abs(update(model, X, seed=6)[0] - kept[0])[kept[0] > NEVER].max() > 0.1


def test_one_batch_is_computed_once(bert):
    model = make_model(bert, "markers", batch_pieces=10000)
    passes = []
    module_of(model).encoder.transformer.register_forward_hook(lambda *_: passes.append(1))
    update(model, (make_docs(), make_candidates([TABLES[0]] + [[]] * 3)))
    assert len(passes) == 1


@both_forms
def test_training_lowers_the_loss(bert, form):
    model = make_model(bert, form)
    X = (make_docs(), make_candidates())
    targets = (some_gradient(len(X[1].pairs)) > 0) & X[1].pair_legal()
    optimizer = Adam(0.003)
    for _ in range(40):
        logits, backprop = model.begin_update(X)
        probabilities = 1 / (1 + numpy.exp(-logits.clip(-50)))
        backprop(((probabilities - targets) / len(targets)).astype("float32"))
        model.finish_update(optimizer)
    found = model.predict(X) > 0
    if form == "markers":
        assert (found == targets).all()
    else:  # texts with the same words have the same score
        assert (found == targets).mean() > 0.85


@both_forms
def test_save_and_load(bert, form, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    model = make_model(str(folder), form)
    X = (make_docs(), make_candidates())
    logits = model.predict(X)
    shutil.rmtree(folder)  # what is saved stands alone
    settings = {"dropout": 0.0, "max_length": 64}
    other = MarkerClassifier_v1(str(folder), form, **settings).from_bytes(model.to_bytes())
    numpy.testing.assert_array_equal(other.predict(X), logits)
    tokenizer = module_of(other).encoder.tokenizer
    assert ("[E1]" in tokenizer.get_vocab()) == (form == "markers")
    assert module_of(other).predicates == list(SCHEMA.predicates)
    other.initialize(X=X)  # does not need the folder either
    blank = MarkerClassifier_v1(str(folder), form)
    blank.from_bytes(MarkerClassifier_v1(str(folder), form).to_bytes())
    with pytest.raises(ValueError, match="MarkerClassifier: the model has no parameters yet"):
        blank.predict(X)


def test_initialized_anew_for_another_schema(bert):
    model = make_model(bert, "markers")
    size = module_of(model).encoder.transformer.get_input_embeddings().num_embeddings
    candidates = make_candidates([[[0, 2, 0], [3, 4, 0]]], RelationSchema([["A", "p", "A"]]))
    docs = make_docs()[:1]
    with pytest.raises(ValueError, match="knows 3 predicates, but the candidates have 1"):
        model.predict((docs, candidates))
    model.initialize(X=(docs, candidates))
    assert model.get_dim("nO") == 1 and model.predict((docs, candidates)).shape == (2, 1)
    # the markers are not added twice
    assert module_of(model).encoder.transformer.get_input_embeddings().num_embeddings == size
    assert size == len(module_of(model).encoder.tokenizer)


@both_forms
def test_parameters_of_the_head_are_named_so(bert, form):
    names = [name for name, _ in module_of(make_model(bert, form)).named_parameters()]
    heads = [name for name in names if "head" in name]
    assert heads == ["pair_head.1.weight", "pair_head.1.bias"]
    assert all(name.startswith("encoder.") for name in names if name not in heads)


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_mixed_precision(bert):
    X = (make_docs(), make_candidates())
    exact = update(make_model(bert, "markers"), X)
    rounded = update(make_model(bert, "markers", mixed_precision=True), X)
    assert rounded[0].dtype == numpy.float32 and not numpy.array_equal(exact[0], rounded[0])
    numpy.testing.assert_allclose(rounded[0], exact[0], atol=0.2)
    assert all(gradient.dtype == torch.float32 for gradient in rounded[1].values())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"form": "marker"}, r"form is 'marker', expected one of \['markers', 'cross_encoder'\]"),
        ({"max_length": 0}, "max_length is 0"),
        ({"batch_pieces": 0}, "batch_pieces is 0"),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=f"MarkerClassifier: {message}"):
        MarkerClassifier_v1("nowhere", **settings)


def test_errors_of_initialize(bert, tmp_path):
    X = (make_docs(), make_candidates())
    with pytest.raises(ValueError, match="MarkerClassifier: predicates are unknown"):
        MarkerClassifier_v1(bert).initialize()
    absent = str(tmp_path / "absent")
    with pytest.raises(ValueError, match="encoder '.*absent' cannot be loaded"):
        MarkerClassifier_v1(absent).initialize(X=X)
    with pytest.raises(ValueError, match="Set 'max_length' higher"):
        MarkerClassifier_v1(bert, max_length=20).initialize(X=X)
    with pytest.raises(ValueError, match="a fast tokenizer"):
        MarkerClassifier_v1(bert, tokenizer_config={"use_fast": False}).initialize(X=X)
    with pytest.raises(ValueError, match="has no setting hidden_dropout"):
        MarkerClassifier_v1(bert, transformer_config={"hidden_dropout": 0}).initialize(X=X)
    unnamed = replace(X[1], predicates=())
    MarkerClassifier_v1(bert).initialize(X=(X[0], unnamed))
    with pytest.raises(ValueError, match="0 of 3 predicates have names, but a cross-encoder"):
        MarkerClassifier_v1(bert, "cross_encoder").initialize(X=(X[0], unnamed))


MEMORY_SCRIPT = """
import resource, sys
import numpy
from spacy.tokens import Doc
from spacy.vocab import Vocab
from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.marker_classifier import MarkerClassifier_v1
from spacy_bioie.models.relation_schema import RelationSchema

n = 34
doc = Doc(Vocab(), words=["gut"] * (2 * n))
table = numpy.asarray([[2 * i, 2 * i + 1, 0] for i in range(n)])
schema = RelationSchema([["A", f"p{i}", "A"] for i in range(17)])
model = MarkerClassifier_v1(sys.argv[1], batch_pieces=1024)
few, all_pairs = (pair_candidates([part], schema) for part in (table[:6], table))
assert len(all_pairs.pairs) == 1122
model.initialize(X=([doc], few))
peaks = []
for candidates in (few, all_pairs):
    logits, backprop = model.begin_update(([doc], candidates))
    backprop(logits)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
def test_memory_of_many_pairs(bert):
    """1122 pairs in training need hardly more memory than 30; kept at once, what the encoder
    computes for them would fill 200 MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, bert],
        capture_output=True,
        text=True,
        check=True,
        # free memory goes back at once, so that its peak is what was needed
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "OMP_NUM_THREADS": "1"},
    )
    assert int(done.stdout) < 60, f"{done.stdout} MB"
