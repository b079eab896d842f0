"""What the component relation_extractor passes to a shared encoder."""

import numpy
import pytest

from ..relation_pipeline import (
    LISTENER,
    NAME,
    SHARED_TOK2VEC,
    TRAIN,
    gradients,
    initialize,
    make_examples,
    make_nlp,
)
from ..tiny_encoder import make_tiny_bert

TRANSFORMER_LISTENER = {"@architectures": "spacy_bioie.TransformerListener.v1"}


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


def tagged(nlp, text, relations):
    (eg,) = make_examples(nlp, [(text, relations)])
    for token in eg.reference:
        token.tag_ = "ODD" if token.i % 2 else "EVEN"
    return eg


@pytest.mark.parametrize("kind", ["no candidates", "dense", "candidates"])
def test_gradient_of_the_shared_encoder(kind):
    """What another component passes to the encoder arrives, whatever there is to relate."""
    tagger = ("tagger", {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}})
    limit = {"max_gold_relations": 2} if kind == "dense" else {}
    batch = ("The gut and gut", []) if kind == "no candidates" else TRAIN[0]
    found = []
    for heads in (["tagger"], ["tagger", NAME]):
        nlp = make_nlp(LISTENER, [*SHARED_TOK2VEC, tagger], **limit)
        examples = [tagged(nlp, *batch), tagged(nlp, TRAIN[0][0], TRAIN[0][1][:2])]
        initialize(nlp, examples)
        nlp.select_pipes(enable=["tok2vec", "mark_words", *heads])
        if len(heads) == 1:
            nlp.remove_pipe(NAME)
        for node in nlp.get_pipe("tagger").model.walk():
            if node.name == "softmax":  # it begins with zeros
                signs = numpy.asarray([[1.0], [-1.0]], dtype="float32")
                node.set_param("W", numpy.ones_like(node.get_param("W")) * signs)
        nlp.update(examples[:1], sgd=False)
        found.append(gradients(nlp, "tok2vec"))
    assert sum(numpy.abs(gradient).sum() for gradient in found[0]) > 0
    same = [numpy.allclose(*pair, atol=1e-6) for pair in zip(*found, strict=True)]
    assert all(same) == (kind != "candidates")


def test_gradient_of_a_transformer(tiny_bert):
    model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": tiny_bert}
    nlp = make_nlp(TRANSFORMER_LISTENER, [("transformer", {"model": model})])
    examples = initialize(nlp)
    for batch, flows in ((examples, True), (examples[2:], True), (examples[3:], False)):
        nlp.update(batch, sgd=False)
        total = sum(numpy.abs(gradient).sum() for gradient in gradients(nlp, "transformer"))
        assert (total > 0) == flows
        nlp.get_pipe("transformer").finish_update(lambda key, w, d, **_: (w, d * 0))


def test_loss_weight_scales_the_gradient():
    found = []
    for weight in (1.0, 0.5):
        nlp = make_nlp(loss_weight=weight)
        examples = initialize(nlp)
        losses = nlp.update(examples, sgd=False, losses={})
        found.append((losses[NAME], gradients(nlp, NAME)))
    assert found[0][0] == pytest.approx(found[1][0])
    for whole, half in zip(found[0][1], found[1][1], strict=True):
        numpy.testing.assert_allclose(whole / 2, half, rtol=1e-4, atol=1e-7)
