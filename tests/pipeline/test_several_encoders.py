"""Two encoders, a shared one and one of its own, whose vectors of a token are joined."""

import shutil

import numpy
import pytest
import spacy
from thinc.api import Adam

from tests.tiny_encoder import make_tiny_bert

from ..span_pipeline import (
    TRAIN,
    assert_same_spans,
    borders,
    gold_borders,
    make_examples,
    model_config,
)


@pytest.fixture
def trained(tmp_path):
    """Learned TRAIN by heart; the folders of the encoders are gone."""
    encoders = [make_tiny_bert(tmp_path / str(i), seed=i) for i in range(2)]
    nlp = spacy.blank("en")
    transformer = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": encoders[0]}
    nlp.add_pipe("transformer", config={"model": transformer})
    layers = {
        "shared": {"@architectures": "spacy_bioie.TransformerListener.v1"},
        "own": {"@architectures": "spacy_bioie.Tok2VecTransformer.v1", "name": encoders[1]},
    }
    model = model_config(tok2vec={"@layers": "concatenate.v1", "*": layers})
    nlp.add_pipe("nested_spancat", config={"model": model})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    before = encoder_weights(nlp)
    optimizer, losses = Adam(5e-3), {}
    for _ in range(60):
        nlp.update(examples, sgd=optimizer, losses=losses)
    for encoder in encoders:
        shutil.rmtree(encoder)
    return nlp, before


def encoder_weights(nlp):
    return [
        nlp.get_pipe("transformer").model.to_bytes(),
        nlp.get_pipe("nested_spancat").model.get_ref("tok2vec").layers[1].to_bytes(),
    ]


def test_vectors_stand_beside_each_other(trained):
    nlp, _ = trained
    tok2vec = nlp.get_pipe("nested_spancat").model.get_ref("tok2vec")
    docs = list(nlp.get_pipe("transformer").pipe([nlp.make_doc(text) for text, _ in TRAIN]))
    joined = tok2vec.predict(docs)
    parts = [layer.predict(docs) for layer in tok2vec.layers]
    assert len(parts) == 2 and not numpy.allclose(parts[0][0], parts[1][0])
    for i, array in enumerate(joined):
        both = numpy.concatenate([part[i] for part in parts], axis=1)
        numpy.testing.assert_allclose(array, both, atol=1e-5)


def test_both_encoders_learn_and_the_pipeline_reloads(trained, tmp_path):
    nlp, before = trained
    assert all(a != b for a, b in zip(before, encoder_weights(nlp), strict=True))
    docs = list(nlp.pipe(text for text, _ in TRAIN))
    assert [borders(doc) for doc in docs] == [gold_borders(eg) for eg in make_examples(nlp)]
    nlp.to_disk(tmp_path / "pipeline")
    for again in (spacy.load(tmp_path / "pipeline"), nlp.from_bytes(nlp.to_bytes())):
        for doc, other in zip(docs, again.pipe(text for text, _ in TRAIN), strict=True):
            assert_same_spans(doc, other)
