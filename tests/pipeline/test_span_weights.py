"""What a nested_spancat learns from: tiers, weights of labels, losses that a config swaps."""

import json

import numpy
import pytest
import spacy
from spacy.cli.train import train as spacy_train
from spacy.tokens import DocBin

from spacy_bioie.annotation import set_tier
from spacy_bioie.pipeline.span_weights import balanced_weights
from spacy_bioie.training.optimizers import LayeredAdam_v1

from ..span_pipeline import (
    GUT,
    TOK2VEC,
    TRAIN,
    assert_same_spans,
    borders,
    gold_borders,
    make_examples,
    make_nlp,
    model_config,
)

NAME = "nested_spancat"
LABELS = ["bacteria", "animal", "DDF", "anatomical location"]


def initialized(model=None, **config):
    nlp = make_nlp(model=model or model_config(dropout=0.0), **config)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples


def loss_of(nlp, examples):
    """The loss of the examples and the norm of its gradient, without an update."""
    pipe = nlp.get_pipe(NAME)
    output = pipe.model.predict([eg.predicted for eg in examples])
    loss, d_output = pipe.get_loss(examples, output)
    return loss, float(numpy.abs(d_output.emissions).sum())


def adaptive(**settings):
    return model_config(loss={"@misc": "spacy_bioie.AdaptiveMix.v1", **settings}, dropout=0.0)


def alpha_of(nlp):
    return nlp.get_pipe(NAME).score([])[f"{NAME}_alpha"]


@pytest.mark.parametrize(
    "config,message",
    [
        ({"tier_weights": {"silver": -0.5}}, r"tier_weights\['silver'\] is -0.5"),
        ({"label_weights": {"DDF": -1}}, r"label_weights\['DDF'\] is -1"),
    ],
)
def test_settings_out_of_range(config, message):
    with pytest.raises(ValueError, match=f"'{NAME}': {message}"):
        make_nlp(**config)


def test_weights_are_numbers_by_name_or_balanced():
    with pytest.raises(ValueError, match="label_weights"):
        make_nlp(label_weights="even")
    with pytest.raises(ValueError, match=r"label_weights are set for \['gene'\].*'DDF'"):
        initialized(label_weights={"gene": 2.0})


def test_weights_of_tiers():
    nlp, examples = initialized(tier_weights={"silver": 0.25, "bronze": 0.0})
    (first, _), (second, _) = (loss_of(nlp, [eg]) for eg in examples[:2])
    words = [sum(not token.is_space for token in eg.predicted) for eg in examples[:2]]
    set_tier(examples[0].reference, "silver")
    mixed, _ = loss_of(nlp, examples[:2])
    expected = (0.25 * first * words[0] + second * words[1]) / (0.25 * words[0] + words[1])
    assert mixed == pytest.approx(expected, rel=1e-5)
    set_tier(examples[0].reference, "bronze")
    assert loss_of(nlp, examples[:2])[0] == pytest.approx(second, rel=1e-5)
    assert loss_of(nlp, examples[:1]) == (0.0, 0.0)
    assert nlp.update(examples[:1], losses={})[NAME] == 0.0


def test_weights_of_labels():
    nlp, examples = initialized()
    weighted, _ = initialized(label_weights={"DDF": 3.0, "animal": 0.0})
    parts = {}
    for label in LABELS:
        pipe = nlp.get_pipe(NAME)
        # the loss is linear in each weight
        pipe.weights.labels.clear()
        plain, _ = loss_of(nlp, examples)
        pipe.weights.labels[label] = 2.0
        parts[label] = loss_of(nlp, examples)[0] - plain
    found, _ = loss_of(weighted, examples)
    assert found == pytest.approx(plain + 2 * parts["DDF"] - parts["animal"], rel=1e-4)
    assert all(part > 0.0 for part in parts.values())


def test_balanced_weights_are_counted_and_saved(tmp_path):
    nlp, examples = initialized(label_weights="balanced")
    # 8 mentions, 4 labels: bacteria twice, animal twice, DDF three times, one location
    expected = [8 / (4 * n) for n in (2, 2, 3, 1)]
    pipe = nlp.get_pipe(NAME)
    assert pipe.labels == tuple(LABELS)
    assert pipe.cfg["balanced_weights"] == pytest.approx(expected)
    given, _ = initialized(label_weights=dict(zip(LABELS, expected, strict=True)))
    assert loss_of(nlp, examples)[0] == pytest.approx(loss_of(given, examples)[0], rel=1e-5)
    plain, _ = initialized()
    assert loss_of(nlp, examples)[0] != pytest.approx(loss_of(plain, examples)[0], rel=1e-3)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert loss_of(again, examples)[0] == pytest.approx(loss_of(nlp, examples)[0], rel=1e-5)


def test_balanced_weights_of_labels_without_mentions():
    tables = [numpy.asarray([[0, 1, 2], [1, 2, 2], [2, 3, 0]]), numpy.asarray([[0, 1, 2]])]
    assert balanced_weights(tables, 4) == [4 / 2, 1.0, 4 / 6, 1.0]
    assert balanced_weights([], 2) == [1.0, 1.0]


def test_balanced_weights_need_counts():
    plain, examples = initialized()
    nlp = make_nlp(model=model_config(), label_weights="balanced")
    nlp.get_pipe(NAME).from_bytes(plain.get_pipe(NAME).to_bytes())
    with pytest.raises(ValueError, match="'balanced', but no mentions were counted"):
        nlp.update(examples)


@pytest.mark.parametrize(
    "decoder,loss",
    [
        ("argmax", {"@misc": "spacy_bioie.TokenCrossEntropy.v1"}),
        ("crf", {"@misc": "spacy_bioie.CrfLikelihood.v1", "per": "sequence"}),
        ("crf", {"@misc": "spacy_bioie.AdaptiveMix.v1", "mode": "bounded", "bounds": [0.2, 0.6]}),
        ("crf", {"@misc": "spacy_bioie.AdaptiveMix.v1", "mode": "uncertainty"}),
        ("crf", {"@misc": "spacy_bioie.AdaptiveMix.v1", "mode": "gradnorm"}),
    ],
)
def test_each_loss_overfits_and_reloads(tmp_path, decoder, loss):
    nlp, examples = initialized(
        model_config("joint", decoder, loss=loss, scheme="BIOES"), label_weights="balanced"
    )
    optimizer = nlp.create_optimizer()
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    docs = [nlp(text) for text, _ in TRAIN]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    for doc, other in zip(docs, again.pipe(text for text, _ in TRAIN), strict=True):
        assert_same_spans(doc, other)
    assert again.get_pipe(NAME).score([]) == nlp.get_pipe(NAME).score([])


def test_alpha_is_learned_at_its_own_rate_saved_and_logged(tmp_path):
    values = {}
    for rate in (0.0, 100.0):
        nlp, examples = initialized(adaptive(mode="learned", alpha=0.4))
        assert alpha_of(nlp) == pytest.approx(0.4)
        optimizer = LayeredAdam_v1(0.001, scales={"alpha": rate})
        logged = []
        for _ in range(10):
            logged.append(nlp.update(examples, sgd=optimizer, losses={})[f"{NAME}_alpha"])
        values[rate] = alpha_of(nlp)
    assert values[0.0] == pytest.approx(0.4)
    assert abs(values[100.0] - 0.4) > 0.05
    # each update logs what it began with
    assert logged[0] == pytest.approx(0.4) and len(set(logged)) == 10
    nlp.to_disk(tmp_path)
    assert alpha_of(spacy.load(tmp_path)) == pytest.approx(values[100.0])
    assert nlp.evaluate(examples)[f"{NAME}_alpha"] == pytest.approx(values[100.0])


CONFIG = """
[nlp]
lang = "en"
pipeline = ["nested_spancat"]

[components]

[components.nested_spancat]
factory = "nested_spancat"
label_weights = "balanced"
tier_weights = {"silver": 0.5}
thresholds = {"DDF": 0.1}

[components.nested_spancat.model]
@architectures = "spacy_bioie.SpanTagger.v1"
scheme = "BIOES"
lstm_size = 8

[components.nested_spancat.model.loss]
@misc = "spacy_bioie.AdaptiveMix.v1"
mode = "learned"
alpha = 0.3

[training]
max_steps = 4
eval_frequency = 2

[training.optimizer]
@optimizers = "spacy_bioie.LayeredAdam.v1"
learn_rate = 0.001
scales = {"alpha": 100.0}

[training.logger]
@loggers = "spacy.ConsoleLogger.v3"
output_file = %s

[training.score_weights]
spans_sc_f = 1.0
nested_spancat_alpha = 0.0

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = %s

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = %s
"""


def test_spacy_train_shows_alpha(tmp_path, capsys):
    nlp = spacy.blank("en")
    references = [eg.reference for eg in make_examples(nlp)]
    set_tier(references[0], "silver")
    corpus = tmp_path / "corpus.spacy"
    DocBin(docs=references, store_user_data=True).to_disk(corpus)
    log = tmp_path / "log.jsonl"
    config = CONFIG % tuple(json.dumps(str(path)) for path in (log, corpus, corpus))
    config = spacy.util.load_config_from_str(config)
    config["components"][NAME]["model"]["tok2vec"] = TOK2VEC
    config.to_disk(tmp_path / "config.cfg")
    # fill in the defaults, as `spacy init fill-config` does
    spacy.util.load_model_from_config(config, auto_fill=True).config.to_disk(tmp_path / "full.cfg")
    spacy_train(tmp_path / "full.cfg", tmp_path / "out")
    rows = [json.loads(line)["scores"] for line in log.read_text(encoding="utf8").splitlines()]
    alphas = [row["nested_spancat_alpha"] / 100 for row in rows]
    assert len(alphas) == 3 and all(0.0 < alpha < 1.0 for alpha in alphas)
    assert len(set(alphas)) == 3
    assert "NESTED_SPA..." in capsys.readouterr().out.replace("LOSS NESTE...", "")
    trained = spacy.load(tmp_path / "out" / "model-last")
    pipe = trained.get_pipe(NAME)
    assert pipe.cfg["thresholds"] == {"DDF": 0.1}
    assert len(pipe.cfg["balanced_weights"]) == 4
    assert trained.meta["performance"]["nested_spancat_alpha"] == pytest.approx(alphas[-1], abs=0.2)
    assert "sc" in trained(GUT).spans
