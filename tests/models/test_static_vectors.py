"""Static vectors joined with those of an encoder."""

import numpy
import pytest
import spacy
from spacy.strings import get_string_id
from spacy.tokens import Doc
from spacy.training.initialize import convert_vectors
from spacy.util import fix_random_seed
from spacy.vectors import Vectors
from thinc.api import Adam

from spacy_bioie.models.span_tagger import SpanTagger_v1
from spacy_bioie.models.static_vectors import PROJECTION, WithStaticVectors_v1, static_vectors

from ..span_pipeline import (
    GUT,
    TOK2VEC,
    TRAIN,
    assert_same_spans,
    borders,
    gold_borders,
    gradient_of_tok2vec,
    listener,
    make_examples,
    model_config,
)
from .tagger_models import WIDTH, token_vectors

VECTORS = {"Gut": [1.0, 0.0, 0.0], "mice": [0.0, 2.0, 0.0], "anxiety": [0.5, 0.5, 0.5]}


def add_vectors(nlp, mode="default"):
    if mode == "default":
        nlp.vocab.vectors = Vectors(
            data=numpy.asarray(list(VECTORS.values()), dtype="f"), keys=VECTORS
        )
        return
    table = numpy.random.default_rng(0).normal(size=(50, 3)).astype("f")
    nlp.vocab.vectors = Vectors(
        mode="floret", data=table, minn=2, maxn=3, hash_count=2, strings=nlp.vocab.strings
    )


@pytest.fixture
def nlp():
    nlp = spacy.blank("en")
    add_vectors(nlp)
    return nlp


def texts(nlp):
    return [nlp.make_doc(text) for text in ("Gut of mice", "", "anxiety")]


def make_model(docs, width=0):
    fix_random_seed(0)
    model = WithStaticVectors_v1(token_vectors(), width)
    model.initialize(X=docs)
    return model


def test_vectors_are_joined(nlp):
    docs = texts(nlp)
    model = make_model(docs)
    assert model.get_dim("nO") == WIDTH + 3
    found = model.predict(docs)
    encoded = model.get_ref("tok2vec").predict(docs)
    assert [x.shape for x in found] == [(3, WIDTH + 3), (0, WIDTH + 3), (1, WIDTH + 3)]
    for x, y in zip(found, encoded, strict=True):
        numpy.testing.assert_array_equal(x[:, :WIDTH], y)
    static = [VECTORS["Gut"], [0.0, 0.0, 0.0], VECTORS["mice"]]  # "of" has no vector
    numpy.testing.assert_array_equal(found[0][:, WIDTH:], static)
    numpy.testing.assert_array_equal(found[2][:, WIDTH:], [VECTORS["anxiety"]])
    assert model.predict([]) == []


def test_vectors_of_floret(nlp):
    add_vectors(nlp, "floret")
    docs = texts(nlp)
    found = make_model(docs).predict(docs)
    numpy.testing.assert_allclose(found[0][:, WIDTH:], [token.vector for token in docs[0]])
    assert numpy.abs(found[0][1, WIDTH:]).sum() > 0  # "of" has one from its characters


def test_keys_of_another_attribute(nlp):
    keys = [get_string_id(word.lower()) for word in VECTORS]
    data = numpy.asarray(list(VECTORS.values()), dtype="f")
    nlp.vocab.vectors = Vectors(data=data, keys=keys, attr="LOWER")
    docs = [nlp.make_doc("gut MICE")]
    found = make_model(docs).predict(docs)
    numpy.testing.assert_array_equal(found[0][:, WIDTH:], [VECTORS["Gut"], VECTORS["mice"]])


def test_projection_and_its_gradient(nlp):
    docs = texts(nlp)
    model = make_model(docs, width=2)
    assert model.get_dim("nO") == WIDTH + 2
    joined, backprop = model.begin_update(docs)
    projection = model.get_param(PROJECTION)
    static = numpy.asarray([VECTORS["Gut"], [0, 0, 0], VECTORS["mice"]], dtype="f")
    numpy.testing.assert_allclose(joined[0][:, WIDTH:], static @ projection.T, rtol=1e-6)
    generator = numpy.random.default_rng(0)
    d_joined = [generator.normal(size=x.shape).astype("f") for x in joined]
    backprop(d_joined)
    everything = numpy.concatenate([static, [VECTORS["anxiety"]]])
    d_static = numpy.concatenate(d_joined)[:, WIDTH:]
    numpy.testing.assert_allclose(model.get_grad(PROJECTION), d_static.T @ everything, rtol=1e-5)
    for d, whole in zip(model.get_ref("tok2vec").attrs["gradient"], d_joined, strict=True):
        numpy.testing.assert_array_equal(d, whole[:, :WIDTH])
    before = projection.copy()
    model.finish_update(Adam(0.1))
    assert (model.get_param(PROJECTION) != before).all()


def test_a_batch_without_tokens(nlp):
    model = make_model(texts(nlp), width=2)
    joined, backprop = model.begin_update([nlp.make_doc(""), Doc(nlp.vocab)])
    assert [x.shape for x in joined] == [(0, WIDTH + 2)] * 2
    backprop(joined)
    backprop_none = model.begin_update([])[1]
    backprop_none([])


def test_what_is_missing_is_named(nlp):
    with pytest.raises(ValueError, match="width is -1"):
        WithStaticVectors_v1(token_vectors(), -1)
    with pytest.raises(ValueError, match="example documents"):
        WithStaticVectors_v1(token_vectors()).initialize(X=None)
    blank = spacy.blank("en")
    with pytest.raises(ValueError, match="no vectors.*initialize.vectors"):
        make_model(texts(blank))
    model = make_model(texts(nlp))
    with pytest.raises(ValueError, match="width 0, expected those of width 3"):
        model.predict([blank.make_doc("Gut")])


def test_sizes_of_the_head(nlp):
    docs = texts(nlp)
    model = SpanTagger_v1(WithStaticVectors_v1(token_vectors(), 2), hidden_size=4)
    model.set_dim("nO", 3)
    model.initialize(X=docs)
    assert model.get_ref("head").shims[0]._model.width == WIDTH + 2
    assert len(model.predict(docs).emissions) == 4


def make_pipeline(width=4):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    add_vectors(nlp)
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    tok2vec = {
        "@architectures": "spacy_bioie.WithStaticVectors.v1",
        "tok2vec": listener(),
        "width": width,
    }
    nlp.add_pipe("nested_spancat", config={"model": model_config(tok2vec=tok2vec)})
    return nlp


@pytest.mark.parametrize("width", [0, 4])
def test_pipeline_overfits_and_reloads(tmp_path, width):
    nlp = make_pipeline(width)
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    assert nlp.vocab.vectors.shape == (3, 3)
    assert gradient_of_tok2vec(nlp, examples) > 0
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    docs = [nlp(text) for text, _ in TRAIN]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
    nlp.to_disk(tmp_path / "shared")
    again = spacy.load(tmp_path / "shared")
    for doc, text in zip(docs, [text for text, _ in TRAIN], strict=True):
        assert_same_spans(again(text), doc)
    again.replace_listeners("tok2vec", "nested_spancat", ["model.tok2vec.tok2vec"])
    again.remove_pipe("tok2vec")
    again.to_disk(tmp_path / "alone")
    assert_same_spans(spacy.load(tmp_path / "alone")(GUT), docs[0])


def test_two_processes():
    nlp = make_pipeline()
    nlp.initialize(lambda: make_examples(nlp))
    batch = [text for text, _ in TRAIN] * 2
    for doc, text in zip(nlp.pipe(batch, n_process=2, batch_size=3), batch, strict=True):
        assert_same_spans(doc, nlp(text))


def test_a_frozen_last_listener_is_noticed():
    """Also where it does not stand directly in the head; see ``gradient_watch``."""
    nlp = make_pipeline()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    with pytest.warns(UserWarning, match="no gradient came back to the encoder"):
        for _ in range(2):
            nlp.update(examples, exclude=["nested_spancat"])


@pytest.mark.parametrize("mode", ["default", "floret"])
def test_vectors_from_a_file(tmp_path, mode):
    """As `spacy init vectors` reads it, and initialize.vectors loads it."""
    lines = {
        "default": ["3 3", *(" ".join(map(str, [w, *v])) for w, v in VECTORS.items())],
        "floret": ["4 3 2 3 2 2166136261 < >", *(f"{i} {i}.5 0.25 -1" for i in range(4))],
    }
    (tmp_path / "vectors.txt").write_text("\n".join(lines[mode]) + "\n", encoding="utf8")
    source = spacy.blank("en")
    convert_vectors(source, tmp_path / "vectors.txt", truncate=0, prune=-1, mode=mode)
    source.to_disk(tmp_path / "vectors")
    nlp = make_pipeline()
    nlp.vocab.vectors = Vectors()
    nlp.config["initialize"]["vectors"] = str(tmp_path / "vectors")
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    doc = nlp.make_doc("Gut of mice")
    model = nlp.get_pipe("nested_spancat").model.get_ref("tok2vec")
    found = static_vectors(model, [doc])
    numpy.testing.assert_allclose(found, [token.vector for token in doc])
    assert (numpy.abs(found).sum(axis=1) > 0).tolist() == [True, mode == "floret", True]
