"""The cross-encoder over candidates: its inputs, its fit, and what it is saved as."""

import shutil
from dataclasses import replace

import numpy
import pytest
import torch
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import fix_random_seed

from spacy_bioie.models.candidate_cross_encoder import CandidateCrossEncoder_v1, rows_to_read
from spacy_bioie.models.candidate_inputs import MARKERS, CandidateReader
from spacy_bioie.models.candidate_reranker import (
    CandidateReranker_v1,
    CandidateRows,
    group_cross_entropy,
    is_fitted,
)
from spacy_bioie.models.half_precision import cpu_has_bfloat16
from tests.tiny_encoder import make_tiny_bert
from tests.tiny_encoders import make_tiny_t5, make_tiny_xlm_roberta

VOCAB = Vocab()
NAMES = ["stress", "serotonin", "acid", "bowel", "diet", "gut"]
CONCEPTS = [
    {
        "name": [name],
        "synonyms": [f"{name} of rats", f"{name} s"],
        "types": ["disease", "chain"],
        "definition": [f"a study of {name} levels in patients ."],
    }
    for name in NAMES
]
LEARNING = {"epochs": 12, "batch_size": 8, "learn_rate": 2e-3, "head_learn_rate": 5e-3}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def make_rows(texts, tables, candidates, scores=None):
    """Rows of candidates, given for each mention, that have the same features, then no link."""
    sizes = [len(row) for row in candidates]
    n = len(candidates)
    groups = numpy.concatenate([numpy.repeat(numpy.arange(n), sizes), numpy.arange(n)])
    concepts = numpy.asarray([c for row in candidates for c in row] + [-1] * n, dtype="int64")
    features = numpy.stack([concepts < 0, numpy.full(len(concepts), 0.5)], axis=1)
    ranks = [1 - 0.1 * place for size in sizes for place in range(size)]
    return CandidateRows(
        features=features.astype("float32"),
        groups=groups,
        concepts=concepts,
        scores=numpy.asarray([*(ranks if scores is None else scores), *[0.0] * n]),
        docs=[Doc(VOCAB, words=text.split()) for text in texts],
        tables=[numpy.asarray(t, dtype="int64").reshape((-1, 3)) for t in tables],
        describe=CONCEPTS.__getitem__,
    )


def make_data():
    """A name for two concepts or none: only the text around it says which."""
    contexts = {"patients": 0, "mice": 1, "human": -1}
    before, after = ["increase", "decrease", "the", "effect of"], ["in", "of", "with"]
    texts, right = [], []
    for word, concept in contexts.items():
        for i, first in enumerate(before):
            for second in after:
                texts.append(f"{first} depression {second} {word} .")
                right.append((len(first.split()), concept, i))
    tables = [[(start, start + 1, 0)] for start, _, _ in right]
    # either order of the candidates, so that their places say nothing
    candidates = [[0, 1] if i % 2 else [1, 0] for _, _, i in right]
    rows = make_rows(texts, tables, candidates)
    gold = rows.concepts == numpy.asarray([concept for _, concept, _ in right])[rows.groups]
    return rows, gold


def make_reranker(bert, **settings):
    return CandidateCrossEncoder_v1(bert, progress=False, **{**LEARNING, **settings})


@pytest.fixture(scope="module")
def fitted(bert):
    reranker = make_reranker(bert)
    loss = reranker.fit(*make_data())
    return reranker, loss


def right_first(reranker, rows, gold):
    """The share of mentions whose highest score has the right row."""
    scores = reranker.scores(rows)
    order = numpy.lexsort((-scores, rows.groups))
    return gold[order[:: len(scores) // len(rows.docs)]].mean()


def read(bert, rows, chosen=None, **settings):
    """The inputs as text, and the token types of the first one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.add_tokens(list(MARKERS), special_tokens=True)
    options = {"context_pieces": 64, "candidate_pieces": 16, "fields": ["name", "types"]}
    reader = CandidateReader(tokenizer, 128, **{**options, **settings})
    chosen = numpy.arange(len(rows.groups)) if chosen is None else numpy.asarray(chosen)
    written = reader.read(rows, chosen).write_out(numpy.arange(len(chosen)))
    lengths = written.mask.sum(axis=1).tolist()
    texts = [tokenizer.decode(ids[:n]) for ids, n in zip(written.ids, lengths, strict=True)]
    types = written.types[0, : lengths[0]].tolist()
    assert (written.read == 0).all()
    return texts, types


TEXTS = ["gut bacteria of mice lower depression .", "", "serotonin", "no mention"]
TABLES = [[(5, 6, 0), (0, 2, 0)], [], [(0, 1, 0)], []]


def test_inputs_hold_mention_context_and_concept(bert):
    rows = make_rows(TEXTS, TABLES, [[2, 0], [], [1]])
    texts, types = read(bert, rows)
    first = "[CLS] gut bacteria of mice lower [M] depression [/M]. [SEP] "
    assert texts == [
        first + "acid ; disease, chain [SEP]",
        first + "stress ; disease, chain [SEP]",
        "[CLS] [M] serotonin [/M] [SEP] serotonin ; disease, chain [SEP]",
        # no link
        first + "[SEP]",
        "[CLS] [M] gut bacteria [/M] of mice lower depression. [SEP] [SEP]",
        "[CLS] [M] serotonin [/M] [SEP] [SEP]",
    ]
    assert sorted(types) == types and types.count(1) == 6
    # some of them, in another order
    assert read(bert, rows, [5, 0])[0] == [texts[5], texts[0]]


def test_fields_of_a_concept_are_a_choice(bert):
    rows = make_rows(TEXTS[2:3], TABLES[2:3], [[1]])
    for fields, expected in (
        (["name"], "serotonin"),
        (["types", "name"], "disease, chain ; serotonin"),
        (["name", "synonyms"], "serotonin ; serotonin of rats, serotonin s"),
        (["name", "definition"], "serotonin ; a study of serotonin levels in patients."),
    ):
        texts, _ = read(bert, rows, [0], fields=fields)
        assert texts == [f"[CLS] [M] serotonin [/M] [SEP] {expected} [SEP]"]
    bare = {"name": ["x"], "synonyms": [], "types": [], "definition": []}
    rows = make_rows(TEXTS[2:3], TABLES[2:3], [[1]])
    rows.__dict__["describe"] = lambda number: bare
    fields = ["name", "synonyms", "types", "definition"]
    assert read(bert, rows, [0], fields=fields)[0] == ["[CLS] [M] serotonin [/M] [SEP] x [SEP]"]


def test_inputs_are_bounded(bert):
    rows = make_rows(["the of and in to a with for by was"], [[(4, 7, 0)]], [[5]])
    for context, pieces, expected in (
        (4, 2, "[CLS] and in [M] to a [/M] for by [SEP] gut ; [SEP]"),
        (0, 1, "[CLS] [M] to [/M] [SEP] gut [SEP]"),
        # what one side does not need goes to the other
        (64, 3, "[CLS] the of and in [M] to a with [/M] for by was [SEP] gut ; disease [SEP]"),
    ):
        texts, _ = read(bert, rows, [0], context_pieces=context, candidate_pieces=pieces)
        assert texts == [expected]
    texts, _ = read(bert, make_rows(["a b c d e f g"], [[(1, 2, 0)]], [[5]]), [0], context_pieces=4)
    assert texts[0].startswith("[CLS] a [M] b [/M] c d e [SEP]")


def test_context_is_cut_to_what_the_encoder_takes(bert):
    doc = " ".join(["gut"] * 300)
    texts, _ = read(bert, make_rows([doc], [[(150, 151, 0)]], [[5]]), [0], context_pieces=500)
    assert len(texts[0].replace("[/M]", "x").split()) <= 128
    assert texts[0].count("gut") > 80


def test_markup_in_texts_is_no_command(bert):
    rows = make_rows(["[SEP] gut [M]"], [[(1, 2, 0)]], [[0]])
    rows.__dict__["describe"] = lambda number: {**CONCEPTS[0], "name": ["a [SEP] [/M] b"]}
    (text,), _ = read(bert, rows, [0], candidate_pieces=32)
    assert text.count("[M]") == 1 and text.count("[/M]") == 1 and text.count("[SEP]") == 2


def test_it_learns_what_only_the_context_tells(fitted):
    rows, gold = make_data()
    reranker, loss = fitted
    assert loss < 0.2 and right_first(reranker, rows, gold) == 1.0
    perceptron = CandidateReranker_v1()
    perceptron.fit(rows, gold)
    assert right_first(perceptron, rows, gold) < 0.6
    # the loss is that of the scores, without dropout
    found, _ = group_cross_entropy(reranker.scores(rows), rows.groups, gold)
    assert found == pytest.approx(loss, abs=0.2)


def test_it_learns_from_features(bert):
    """Candidates of equal text, which are read without their names."""
    rows, gold = make_data()
    rows.features[:, 1] = 1000 + gold + numpy.random.default_rng(0).normal(0, 0.1, len(gold))
    reranker = make_reranker(bert, fields=["types"], context_pieces=0, learn_rate=1e-9)
    reranker.fit(rows, gold)
    assert right_first(reranker, rows, gold) == 1.0


def test_gradient_reaches_encoder_and_head(bert, fitted):
    from transformers import AutoModel

    module = fitted[0].module
    before = AutoModel.from_pretrained(bert).state_dict()
    for name, parameter in module.encoder.transformer.named_parameters():
        if "pooler" in name or "word_embeddings" in name:
            continue
        assert not torch.equal(parameter.detach(), before[name]), name
    rows, gold = make_data()
    read = rows_to_read(rows, 5)
    scores = module.train()(module.prepare(rows, read))
    scores.sum().backward()
    module.eval()
    weight = module.encoder.transformer.encoder.layer[0].attention.self.query.weight
    words = module.encoder.transformer.get_input_embeddings().weight
    markers = module.encoder.tokenizer.convert_tokens_to_ids(list(MARKERS))
    for gradient in (weight.grad, words.grad[markers[0]], words.grad[markers[1]]):
        assert float(gradient.abs().max()) > 0
    assert all(float(p.grad.abs().max()) > 0 for p in module.head.parameters())
    module.zero_grad()


def test_single_equals_batch(bert, fitted):
    rows, _ = make_data()
    expected = fitted[0].scores(rows)
    small = make_reranker(bert, batch_pieces=40).from_bytes(fitted[0].to_bytes())
    numpy.testing.assert_allclose(small.scores(rows), expected, atol=1e-4)
    for group in range(3):
        own = numpy.flatnonzero(rows.groups == group)
        text = [rows.docs[group].text]
        one = make_rows(text, rows.tables[group : group + 1], [rows.concepts[own[:-1]].tolist()])
        numpy.testing.assert_allclose(fitted[0].scores(one), expected[own], atol=1e-4)


def test_only_the_best_are_read():
    rows = make_rows(
        ["gut of mice", "rats"],
        [[(0, 1, 0), (2, 3, 0)], [(0, 1, 0)]],
        [[0, 1, 2, 3], [], [4, 2]],
        [0.2, 0.5, 0.5, 0.9, 0.1, 0.3],
    )
    # a mention without candidates has nothing to choose
    none = [6, 8]
    assert rows_to_read(rows, 2).tolist() == [3, 1, none[0], 5, 4, none[1]]
    assert rows_to_read(rows, 1).tolist() == [3, none[0], 5, none[1]]
    gold = numpy.zeros(9, dtype="bool")
    gold[[0, 7, 5]] = True
    # in training the right one is read in any case
    assert rows_to_read(rows, 2, gold).tolist() == [0, 3, none[0], 5, 4, none[1]]
    assert rows_to_read(rows, 1, gold).tolist() == [0, none[0], 5, none[1]]


def test_the_others_have_no_score(bert, fitted):
    rows = make_rows(TEXTS, TABLES, [[2, 0, 1], [], [1]])
    reranker = make_reranker(bert, n_rerank=2).from_bytes(fitted[0].to_bytes())
    scores = reranker.scores(rows)
    assert scores.dtype == numpy.float64
    assert numpy.isfinite(scores).tolist() == [True, True, False, *[True] * 4]
    assert scores[5] == 0  # no link, of a mention without candidates
    numpy.testing.assert_allclose(scores[:2], fitted[0].scores(rows)[:2], atol=1e-4)


@pytest.mark.parametrize("texts, tables", [([], []), (TEXTS[3:], [[]]), (TEXTS[2:3], TABLES[2:3])])
def test_nothing_to_read(fitted, texts, tables):
    rows = make_rows(texts, tables, [[] for table in tables for _ in table])
    assert fitted[0].scores(rows).tolist() == [0.0] * sum(map(len, tables))


def test_another_number_of_features_is_refused(fitted):
    rows, _ = make_data()
    fewer = replace(rows, features=rows.features[:, :1])
    with pytest.raises(ValueError, match="fitted to 2 features of each candidate, and there are 1"):
        fitted[0].scores(fewer)


def test_fit_can_be_repeated(bert):
    rows, gold = make_data()
    reranker = make_reranker(bert, epochs=1)
    found = []
    # whatever was drawn before, and also where it was fitted before
    for _ in range(2):
        torch.rand(3)
        state = torch.get_rng_state()
        loss = reranker.fit(rows, gold)
        assert torch.equal(torch.get_rng_state(), state)
        found.append((loss, *reranker.scores(rows)))
    fix_random_seed(7)
    again = make_reranker(bert, epochs=1)
    found.append((again.fit(rows, gold), *again.scores(rows)))
    assert found[1:] == found[:1] * 2
    assert make_reranker(bert, epochs=1, seed=1).fit(rows, gold) != found[0][0]


def test_save_and_load(fitted, bert, tmp_path):
    rows, gold = make_data()
    folder = shutil.copytree(bert, tmp_path / "bert")
    reranker = make_reranker(str(folder), epochs=1)
    assert not is_fitted(reranker)
    reranker.fit(rows, gold)
    shutil.rmtree(folder)
    new = make_reranker(str(folder))
    assert not is_fitted(new.from_bytes(make_reranker(bert).to_bytes()))
    assert is_fitted(new.from_bytes(reranker.to_bytes()))
    numpy.testing.assert_array_equal(new.scores(rows), reranker.scores(rows))
    assert new.to_bytes() == reranker.to_bytes()
    # one that is not fitted replaces one that is
    assert not is_fitted(new.from_bytes(make_reranker(bert).to_bytes()))


def test_bar_on_standard_error(bert, capfd):
    rows, gold = make_data()
    CandidateCrossEncoder_v1(bert, epochs=1).fit(rows, gold)
    out, err = capfd.readouterr()
    assert "Fitting the reranker: 100%" in err and "3/3" in err and not out
    CandidateCrossEncoder_v1(bert, epochs=1, progress=False).fit(rows, gold)
    assert "Fitting" not in capfd.readouterr().err


@pytest.mark.parametrize("make", [make_tiny_xlm_roberta, make_tiny_t5])
def test_other_classes_of_encoders(make, tmp_path):
    """Without token types, and without a piece before the text."""
    reranker = make_reranker(make(tmp_path), epochs=1)
    rows, gold = make_data()
    assert numpy.isfinite(reranker.fit(rows, gold))
    assert numpy.isfinite(reranker.scores(rows)).all()


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_mixed_precision(bert, fitted):
    rows, gold = make_data()
    expected = fitted[0].scores(rows)
    rounded = make_reranker(bert, mixed_precision=True, epochs=1).from_bytes(fitted[0].to_bytes())
    scores = rounded.scores(rows)
    assert not numpy.array_equal(scores, expected)
    numpy.testing.assert_allclose(scores, expected, atol=0.5)
    assert numpy.isfinite(rounded.fit(rows, gold))


@pytest.mark.parametrize(
    "setting, value, expected",
    [
        ("n_rerank", 0, "1 or more"),
        ("context_pieces", -1, "0 or more"),
        ("candidate_pieces", 0, "1 or more"),
        ("batch_pieces", 0, "1 or more"),
        ("epochs", 0, "1 or more"),
        ("batch_size", 0, "1 or more"),
        ("weight_decay", -0.1, "0 or more"),
        ("seed", -1, "0 or more"),
        ("learn_rate", 0.0, "more than 0"),
        ("head_learn_rate", 0.0, "more than 0"),
        ("warmup", 1.0, "at least 0 and below 1"),
        ("dropout", 1.0, "at least 0 and below 1"),
        ("fields", [], "one or more of"),
        ("fields", ["name", "label"], "one or more of"),
    ],
)
def test_settings_out_of_range(setting, value, expected):
    with pytest.raises(ValueError) as error:
        CandidateCrossEncoder_v1("any", **{setting: value})
    where = f"CandidateCrossEncoder: {setting} is {value}, expected {expected}"
    assert str(error.value).startswith(where)


def test_errors(bert, fitted, tmp_path):
    rows, gold = make_data()
    with pytest.raises(ValueError, match="CandidateCrossEncoder: the reranker has not been fitted"):
        make_reranker(bert).scores(rows)
    with pytest.raises(ValueError, match="encoder '.*absent' cannot be loaded"):
        make_reranker(str(tmp_path / "absent")).fit(rows, gold)
    with pytest.raises(ValueError, match="room for 0 pieces around a mention, .* room for 16"):
        make_reranker(bert, candidate_pieces=64).fit(rows, gold)
    nothing = make_rows(TEXTS[2:3], TABLES[2:3], [[]])
    with pytest.raises(ValueError, match="CandidateCrossEncoder: no mention has a candidate"):
        make_reranker(bert).fit(nothing, numpy.ones(1, dtype="bool"))
    with pytest.raises(ValueError, match="the scores of step 2 are nan, expected numbers"):
        make_reranker(bert, learn_rate=1e30, head_learn_rate=1e30, warmup=0.0).fit(rows, gold)
    with pytest.raises(ValueError, match="expected what this reranker was saved as"):
        make_reranker(bert).from_bytes(CandidateReranker_v1().to_bytes())
    # what was there before stays where a fit fails
    kept = make_reranker(bert).from_bytes(fitted[0].to_bytes())
    with pytest.raises(ValueError, match="no mention has a candidate"):
        kept.fit(nothing, numpy.ones(1, dtype="bool"))
    assert is_fitted(kept)
