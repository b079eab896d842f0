"""Temperature and thresholds of a nested_spancat, on documents that it was not trained on."""

import numpy
import pytest
import spacy
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.models.calibration import calibration_error
from spacy_bioie.models.span_head import TEMPERATURE
from spacy_bioie.pipeline.span_evaluation import gold_keys, span_items, span_keys

from ..span_pipeline import (
    GUT,
    NESTED,
    TOK2VEC,
    borders,
    make_examples,
    make_nlp,
    model_config,
    scores_of,
)

NAME = "nested_spancat"
LABELS = {"mice": "animal", "rats": "animal", "gut": "organ", "brain": "organ", "anxiety": "DDF"}


def make_noisy(nlp, seed, n_docs, chance):
    """Documents in which a word is mentioned with a chance that its label decides.

    So the best that can be learned is that chance, and its probabilities can be right or wrong.
    """
    generator = numpy.random.default_rng(seed)
    words = [*LABELS, "of", "and", "study", "in", "cells"]
    examples = []
    for _ in range(n_docs):
        text = " ".join(generator.choice(words, 12))
        reference = nlp.make_doc(text)
        mentions = [
            Mention(token.i, token.i + 1, LABELS[token.text])
            for token in reference
            if token.text in LABELS and generator.random() < chance[LABELS[token.text]]
        ]
        set_mentions(reference, "sc", mentions)
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


@pytest.fixture(scope="module", params=["argmax", "crf", "pointer"])
def overconfident(request):
    """A pipeline that has learned a few noisy documents by heart, and held-out ones, in which a
    label is far rarer."""
    if request.param == "pointer":
        model = {"@architectures": "spacy_bioie.SpanPointer.v1", "tok2vec": TOK2VEC, "dropout": 0.0}
    else:
        model = model_config("joint", request.param, dropout=0.0, scheme="BIOES")
    nlp = make_nlp(model=model)
    chance = {"animal": 0.9, "organ": 0.7, "DDF": 0.9}
    examples = make_noisy(nlp, 0, 12, chance)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    return nlp, make_noisy(nlp, 1, 60, {**chance, "DDF": 0.1})


def reset(pipe):
    pipe.model.attrs[TEMPERATURE] = 1.0
    pipe.cfg["threshold"], pipe.cfg["thresholds"] = 0.0, {}


def found_of(pipe, examples):
    """Scores of all spans that are found, and whether they are in the gold standard."""
    docs = [eg.predicted for eg in examples]
    scores, hits = [], []
    for eg, spans in zip(examples, pipe.predict(docs), strict=True):
        gold = gold_keys(eg.reference, "sc")
        hits += [key in gold for key in span_keys(eg.predicted, spans, pipe.labels)]
        scores += spans.scores.tolist()
    return numpy.asarray(scores), numpy.asarray(hits)


def test_calibration_lowers_the_error_and_is_saved(overconfident, tmp_path):
    nlp, held_out = overconfident
    pipe = nlp.get_pipe(NAME)
    reset(pipe)
    scores, hits = found_of(pipe, held_out)
    assert scores.mean() > hits.mean() + 0.05
    result = pipe.calibrate(held_out)
    assert result["temperature"] == pipe.model.attrs[TEMPERATURE] > 1.1
    assert result["ece_before"] == pytest.approx(calibration_error(scores, hits))
    assert result["ece_after"] < 0.75 * result["ece_before"]
    cooler, same_hits = found_of(pipe, held_out)
    assert (same_hits == hits).all() and (cooler < scores + 1e-6).all()
    assert result["ece_after"] == pytest.approx(calibration_error(cooler, hits))
    # a second time there is nothing left to gain
    again = pipe.calibrate(held_out)
    assert again["temperature"] == pytest.approx(result["temperature"], rel=0.02)
    assert again["ece_before"] == pytest.approx(result["ece_after"], abs=1e-3)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    text = held_out[0].text
    numpy.testing.assert_allclose(scores_of(loaded(text)), scores_of(nlp(text)), rtol=1e-4)


def test_tuned_thresholds_reach_the_figure_that_the_scorer_gives(overconfident):
    nlp, held_out = overconfident
    pipe = nlp.get_pipe(NAME)
    reset(pipe)

    def evaluate():
        examples = [Example(nlp.make_doc(eg.text), eg.reference) for eg in held_out]
        return nlp.evaluate(examples)

    def n_predicted(label):
        return sum(row[2] == label for eg in held_out for row in borders(nlp(eg.text)))

    before, n_before = evaluate()["ner_strict_micro_f"], n_predicted("DDF")
    common = pipe.tune_thresholds(held_out)
    assert common["thresholds"] == {}
    assert evaluate()["ner_strict_micro_f"] == pytest.approx(common["ner_strict_micro_f"])
    by_label = pipe.tune_thresholds(held_out, per_label=True, min_gold=1)
    assert evaluate()["ner_strict_micro_f"] == pytest.approx(by_label["ner_strict_micro_f"])
    assert pipe.cfg["thresholds"] == by_label["thresholds"] and by_label["thresholds"]
    # the label that is wrong more often than not has to go, whatever its probability
    assert n_predicted("DDF") < n_before / 4
    assert before - 0.01 < common["ner_strict_micro_f"] <= by_label["ner_strict_micro_f"]
    assert by_label["ner_strict_micro_f"] > before + 0.03
    reset(pipe)
    none = pipe.tune_thresholds(held_out, per_label=True, min_gold=10_000)
    assert none["thresholds"] == {}


def test_thresholds_of_labels_decide_what_is_written(overconfident):
    nlp, held_out = overconfident
    pipe = nlp.get_pipe(NAME)
    reset(pipe)
    text = " ".join(eg.text for eg in held_out[:5])
    everything = borders(nlp(text))
    assert {label for *_, label in everything} == {"animal", "organ", "DDF"}
    pipe.cfg["thresholds"] = {"animal": 1.0}
    assert borders(nlp(text)) == [row for row in everything if row[2] != "animal"]
    pipe.cfg["threshold"], pipe.cfg["thresholds"] = 1.0, {"animal": 0.0}
    assert borders(nlp(text)) == [row for row in everything if row[2] == "animal"]
    reset(pipe)


def test_items_are_all_spans_and_all_gold_mentions():
    nlp = make_nlp("per_label")
    examples = make_examples(nlp, NESTED)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    pipe = nlp.get_pipe(NAME)
    items = span_items(pipe, examples)
    assert items.n_gold == len(items.keys) == 10 and items.hits.all()
    assert sorted(items.groups.tolist()) == sorted(
        pipe.labels.index(label) for _, mentions in NESTED for *_, label in mentions
    )
    assert len(set(items.keys.tolist())) == 10
    assert items.doc_gold.tolist() == [6, 4, 0, 0]
    assert numpy.bincount(items.documents, minlength=4).tolist() == [6, 4, 0, 0]
    # gold mentions on other tokens are compared by their characters
    reference = nlp.make_doc(GUT)
    set_mentions(reference, "sc", [Mention(0, 2, "bacteria", char_offsets=(0, 11))])
    items = span_items(pipe, [Example(nlp.make_doc(GUT), reference)])
    assert items.n_gold == 1 and not items.hits.any()


def test_nothing_to_tune_to():
    nlp = make_nlp()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe(NAME)
    unannotated = [Example(nlp.make_doc(GUT), nlp.make_doc(GUT))]
    for call in (pipe.calibrate, pipe.tune_thresholds):
        for nothing in ([], examples[2:], unannotated):
            with pytest.raises(ValueError, match=r"no reference holds a mention.*\['sc'\]"):
                call(nothing)
    assert pipe.model.attrs[TEMPERATURE] == 1.0 and pipe.cfg["threshold"] == 0.0


def test_a_pipeline_that_finds_nothing():
    nlp = make_nlp("joint", "argmax")
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe(NAME)
    module = pipe.model.get_ref("head").shims[0]._model
    module.head_output.weight.data.zero_()
    module.head_output.bias.data[0] = 50.0
    with pytest.raises(ValueError, match="finds no span in any of 4 documents"):
        pipe.calibrate(examples)
    with pytest.warns(UserWarning, match="no gold mention is found"):
        result = pipe.tune_thresholds(examples)
    assert result == {"threshold": 0.0, "thresholds": {}, "ner_strict_micro_f": 0.0}


def test_a_head_that_cannot_be_calibrated(monkeypatch):
    from spacy_bioie.models.tagger_head import TaggerHead

    nlp = make_nlp()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    monkeypatch.delattr(TaggerHead, "rescore")
    with pytest.raises(ValueError, match="'span_tagger' cannot be calibrated"):
        nlp.get_pipe(NAME).calibrate(examples)


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"thresholds\['DDF'\] is 2.0, expected a probability"):
        make_nlp(thresholds={"DDF": 2.0})
    nlp = make_nlp(thresholds={"gene": 0.5})
    with pytest.raises(ValueError, match=r"thresholds are set for \['gene'\]"):
        nlp.initialize(lambda: make_examples(nlp))
