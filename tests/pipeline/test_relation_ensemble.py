"""The component relation_ensemble, and the pipelines that it is made of."""

import numpy
import pytest
import spacy
import torch
from spacy.tokens import DocBin

from spacy_bioie.annotation import get_mentions, get_relation_rows
from spacy_bioie.training.relation_averaging import average_relations, average_saved_relations
from spacy_bioie.training.tune_relations import tune_relations

from ..relation_pipeline import (
    LISTENER,
    NAME,
    SHARED_TOK2VEC,
    TRAIN,
    TRIPLES,
    initialize,
    make_examples,
    make_nlp,
    mark_words,
    train,
)
from ..tiny_encoder import make_tiny_bert

TEXTS = [text for text, _ in TRAIN]
ENSEMBLE = "relation_ensemble"


def make_member(kind="tok2vec", steps=12, bert="", **config):
    if kind == "tok2vec":
        nlp = make_nlp(LISTENER, SHARED_TOK2VEC, **config)
    elif kind == "transformer":
        model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": bert}
        listener = {"@architectures": "spacy_bioie.TransformerListener.v1"}
        nlp = make_nlp(listener, [("transformer", {"model": model})], **config)
    else:
        nlp = make_nlp(**config)
    train(nlp, initialize(nlp), steps)
    return nlp


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Saved pipelines of several kinds, all of them unsure."""
    folder = tmp_path_factory.mktemp("members")
    bert = make_tiny_bert(folder / "bert")
    softmax = {"@misc": "spacy_bioie.PairSoftmax.v1"}
    made = {
        "first": make_member(),
        "second": make_member("own", 8, use_priors=True),
        "third": make_member("transformer", 5, bert, loss=softmax),
    }
    made["second"].get_pipe(NAME).calibrate(make_examples(made["second"]))
    for name, nlp in made.items():
        nlp.to_disk(folder / name)
    return [folder / name for name in made]


@pytest.fixture(scope="module")
def ensemble(members):
    return average_relations([spacy.load(path) for path in members])


def probabilities(nlp, name, text):
    doc = mark_words(nlp.make_doc(text))
    for encoder in ("tok2vec", "transformer"):
        if encoder in nlp.pipe_names:
            doc = nlp.get_pipe(encoder)(doc)
    pipe = nlp.get_pipe(name)
    candidates, logits = pipe.logits([doc], [get_mentions(doc)])
    return numpy.where(candidates.pair_legal(), pipe.probabilities(candidates, logits), 0.0)


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 1.0]])
def test_probabilities_are_the_mean_of_the_members(members, weights):
    pipelines = [spacy.load(path) for path in members]
    own = [probabilities(nlp, NAME, TEXTS[0]) for nlp in pipelines]
    assert numpy.abs(own[0] - own[1]).max() > 0.02 < numpy.abs(own[0] - own[2]).max()
    nlp = average_relations(pipelines, weights=weights)
    # the first goes on listening to the encoder of the pipeline
    assert nlp.pipe_names == ["tok2vec", "mark_words", ENSEMBLE]
    assert nlp.get_pipe("tok2vec").listening_components == [ENSEMBLE]
    joint = probabilities(nlp, ENSEMBLE, TEXTS[0])
    numpy.testing.assert_allclose(joint, numpy.average(own, axis=0, weights=weights), atol=1e-5)


def rows_of(docs):
    return [get_relation_rows(doc) for doc in docs]


def assert_same(one, other):
    assert [[row[:3] for row in rows] for rows in one] == [[r[:3] for r in rows] for rows in other]
    for rows, others in zip(one, other, strict=True):
        assert [row[3] for row in rows] == pytest.approx([row[3] for row in others], abs=1e-5)


def test_saves_and_reloads(members, ensemble, tmp_path):
    nlp = average_saved_relations(members, tmp_path / "joint")
    rows = rows_of(nlp.pipe(TEXTS))
    assert any(rows)
    again = spacy.load(tmp_path / "joint")
    assert again.get_pipe(ENSEMBLE).cfg == nlp.get_pipe(ENSEMBLE).cfg
    assert again.get_pipe(ENSEMBLE).labels == spacy.load(members[0]).get_pipe(NAME).labels
    assert_same(rows_of(again.pipe(TEXTS)), rows)
    assert_same(rows_of(ensemble.pipe(TEXTS)), rows)
    assert_same(rows_of(again.from_bytes(again.to_bytes()).pipe(TEXTS)), rows)
    with pytest.raises(ValueError, match="is no pipeline"):
        average_saved_relations(members, members[0].parent)


def test_batches_processes_and_doc_bin(ensemble):
    docs = list(ensemble.pipe(TEXTS * 2))
    assert_same(rows_of(docs), [get_relation_rows(ensemble(text)) for text in TEXTS * 2])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        other = rows_of(ensemble.pipe(TEXTS * 2, n_process=2, batch_size=2))
    finally:
        torch.set_num_threads(threads)
    assert_same(other, rows_of(docs))
    for doc in docs:
        doc.tensor = numpy.zeros((0,), dtype="float32")
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    assert rows_of(DocBin().from_bytes(data).get_docs(ensemble.vocab)) == rows_of(docs)


def test_empty_input(ensemble):
    assert list(ensemble.pipe([])) == []
    for text in ("", "\n", "Nothing .", "Only mice ."):
        assert ensemble(text)._.relations == []


def test_thresholds_and_temperature(members):
    nlp = average_relations([spacy.load(path) for path in members])
    thresholds = [spacy.load(path).get_pipe(NAME).cfg["threshold"] for path in members]
    pipe = nlp.get_pipe(ENSEMBLE)
    assert pipe.cfg["threshold"] == pytest.approx(numpy.mean(thresholds))
    result = tune_relations(nlp, make_examples(nlp, TRAIN * 2), metric="mean")
    assert pipe.cfg["threshold"] == result["threshold"]
    figures = nlp.evaluate(make_examples(nlp, TRAIN * 2))
    assert figures["rel_gold_mean_micro_f"] == pytest.approx(result["rel_gold_mean_micro_f"])
    examples = make_examples(nlp)
    for eg in examples:
        eg.predicted = nlp(eg.predicted)
    found = pipe.calibrate(examples)
    assert pipe.cfg["temperature"] == found["temperature"] != 1.0
    assert found["ece_after"] <= found["ece_before"] + 1e-9


def test_errors(members, ensemble):
    pipelines = [spacy.load(path) for path in members[:2]]
    with pytest.raises(ValueError, match="of 1 pipelines: expected at least two"):
        average_relations(pipelines[:1])
    with pytest.raises(ValueError, match="1 component names for 2 pipelines"):
        average_relations(pipelines, components=[NAME])
    with pytest.raises(ValueError, match="Expected the name of a relation_extractor, got 'other'"):
        average_relations(pipelines, components=[NAME, "other"])
    with pytest.raises(ValueError, match="weights are .1.0., expected 2"):
        average_relations([spacy.load(path) for path in members[:2]], weights=[1.0])
    other = make_nlp()
    initialize(other, schema=TRIPLES[:5])
    with pytest.raises(ValueError, match=f"Pipeline 2, component '{NAME}': its schema is another"):
        average_relations([pipelines[0], other])
    pipelines[1].tokenizer.url_match = None
    with pytest.raises(ValueError, match="Pipeline 2.*its tokenizer is another"):
        average_relations(pipelines)
    examples = make_examples(ensemble)
    with pytest.raises(ValueError, match=f"'{ENSEMBLE}' is an ensemble.*does not learn"):
        ensemble.get_pipe(ENSEMBLE).update(examples)
    with pytest.raises(ValueError, match=f"'{ENSEMBLE}' is an ensemble.*cannot be initialized"):
        ensemble.get_pipe(ENSEMBLE).initialize(lambda: examples)
    with pytest.raises(ValueError, match="no parameters of its own"):
        ensemble.get_pipe(ENSEMBLE).model.initialize()


def test_factory():
    nlp = spacy.blank("en")
    nlp.add_pipe(ENSEMBLE)
    assert nlp.get_pipe_meta(ENSEMBLE).assigns == ["doc._.relations"]
    with pytest.raises(ValueError, match="no relation schema"):
        nlp("Before it is made of anything.")
