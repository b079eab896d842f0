"""Pipelines whose parameters are averaged."""

import numpy
import pytest
import spacy

from spacy_bioie.training.ensembling import write_ensemble
from spacy_bioie.training.weight_averaging import average_saved_pipelines, pipeline_parameters
from tests.pipelines import (
    TEXTS,
    make_examples,
    make_pipeline,
    parameters,
    save_knowledge_base,
    train_in_memory,
    what_was_found,
)
from tests.tiny_encoder import make_tiny_bert

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints of one run of all components on a transformer."""
    folder = tmp_path_factory.mktemp("checkpoints")
    kb = save_knowledge_base(folder / "kb")
    nlp = make_pipeline("transformer", make_tiny_bert(folder / "bert"), kb)
    train_in_memory(nlp, steps=60)
    nlp.to_disk(folder / "first")
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 1e-4
    examples = make_examples(nlp)
    for _ in range(5):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder / "second")
    return folder


def test_mean_of_all_parameters(saved, tmp_path):
    members = [saved / "first", saved / "second"]
    nlp = write_ensemble(members, tmp_path / "out", method="weights", weights=[1.0, 3.0])
    first, second = map(spacy.load, members)
    for pipe in nlp.pipe_names:
        a, b = parameters(first, pipe), parameters(second, pipe)
        assert len(a) > 20 and not numpy.allclose(a, b)
        expected = (a.astype("float64") + 3.0 * b) / 4.0
        numpy.testing.assert_allclose(parameters(nlp, pipe), expected, rtol=1e-6, atol=1e-7)
    again = spacy.load(tmp_path / "out")
    docs = list(nlp.pipe(TEXTS))
    assert sum(len(doc.spans["sc"]) for doc in docs) > 8
    for doc, other in zip(docs, again.pipe(TEXTS, n_process=2), strict=True):
        assert what_was_found(doc) == what_was_found(other)
    assert again.meta["ensemble"]["method"] == "weights"


@pytest.mark.parametrize("n", [1, 3])
def test_mean_of_one_checkpoint_is_itself(saved, n):
    nlp = average_saved_pipelines([saved / "first"] * n)
    first = spacy.load(saved / "first")
    for pipe in nlp.pipe_names:
        numpy.testing.assert_array_equal(parameters(nlp, pipe), parameters(first, pipe))


def test_every_component_has_its_parameters_named(saved):
    names = {(p.component, p.name) for p in pipeline_parameters(spacy.load(saved / "first"))}
    for component, name in (
        ("transformer", "encoder.layer.1.attention.self.query.weight"),
        ("nested_spancat", "crf_transitions"),
        ("nested_spancat", "head_output.bias"),
        ("faiss_entity_linker", "W"),
        ("relation_extractor", ""),
    ):
        assert any(c == component and n.endswith(name) for c, n in names), (component, name)


def make_saved(folder, **settings):
    """A pipeline of a tagger alone, with a vocabulary of a size and with labels."""
    nlp = make_pipeline("tok2vec", heads=("nested_spancat",), settings=settings)
    labels = settings.pop("labels", ["a", "b"])
    for label in labels:
        nlp.get_pipe("nested_spancat").add_label(label)
    examples = make_examples(nlp)
    nlp.config["initialize"]["components"] = {"nested_spancat": {"labels": labels}}
    nlp.initialize(lambda: examples)
    nlp.to_disk(folder)
    return folder


def tagger(**settings):
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    model = {"@architectures": "spacy_bioie.SpanTagger.v1", "tok2vec": listener, **settings}
    return {"nested_spancat": {"model": model}}


@pytest.mark.filterwarnings("ignore:.*are left out of the loss:UserWarning")
def test_pipelines_of_other_structure(saved, tmp_path):
    plain = make_saved(tmp_path / "plain")
    for name, other, message in (
        ("labels", {"labels": ["b", "a"]}, r"labels \['b', 'a'\].*in their order: \['a', 'b'\]"),
        ("hidden", tagger(hidden_size=8), r"'nested_spancat': the parameter layer \d+ \(pytorch"),
        ("scheme", tagger(scheme="BIOES"), r"crf_start has the shape \(1, 9\) in .*scheme' and"),
        ("crf", tagger(decoder="argmax"), r"crf_start has nothing of that name in '.*crf'"),
    ):
        with pytest.raises(ValueError, match=message):
            average_saved_pipelines([plain, make_saved(tmp_path / name, **other)])
    with pytest.raises(ValueError, match=r"first' has the components \['transformer', .*plain'"):
        write_ensemble([plain, saved / "first"], tmp_path / "out", method="weights")
    assert not (tmp_path / "out").exists()
