"""A table of names beside an encoder."""

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.util import fix_random_seed
from thinc.api import Adam

from spacy_bioie.kb.name_table import NameTable
from spacy_bioie.models.name_features import PROJECTION, STRENGTH, WithNameTable_v1

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


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.jsonl"
    rows = [("anxiety", "disease"), ("gut bacteria", "microbe"), ("mice", "animal")]
    lines = [f'{{"id": "{i}", "name": "{n}", "types": ["{t}"]}}' for i, (n, t) in enumerate(rows)]
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def texts(nlp):
    return [nlp.make_doc(text) for text in ("Gut bacteria of mice", "", "anxiety")]


def make_model(names, docs, width=4):
    fix_random_seed(0)
    model = WithNameTable_v1(token_vectors(), NameTable({"names": str(names)}), width)
    model.initialize(X=docs)
    return model


def test_features_are_joined_and_their_gradient(names):
    docs = texts(spacy.blank("en"))
    model = make_model(names, docs)
    assert model.get_dim("nO") == WIDTH + 4
    joined, backprop = model.begin_update(docs)
    assert [x.shape for x in joined] == [(4, WIDTH + 4), (0, WIDTH + 4), (1, WIDTH + 4)]
    features = [STRENGTH * model.attrs["table"].find(doc) for doc in docs]
    assert [x.sum() for x in features] == [7 * STRENGTH, 0, 3 * STRENGTH]
    projection = model.get_param(PROJECTION)
    encoded = model.get_ref("tok2vec").predict(docs)
    for x, vectors, found in zip(joined, encoded, features, strict=True):
        numpy.testing.assert_array_equal(x[:, :WIDTH], vectors)
        numpy.testing.assert_allclose(x[:, WIDTH:], found @ projection.T, rtol=1e-5)
    generator = numpy.random.default_rng(0)
    d_joined = [generator.normal(size=x.shape).astype("f") for x in joined]
    backprop(d_joined)
    expected = numpy.concatenate(d_joined)[:, WIDTH:].T @ numpy.concatenate(features)
    numpy.testing.assert_allclose(model.get_grad(PROJECTION), expected, rtol=1e-5)
    for d, whole in zip(model.get_ref("tok2vec").attrs["gradient"], d_joined, strict=True):
        numpy.testing.assert_array_equal(d, whole[:, :WIDTH])
    before = projection.copy()
    model.finish_update(Adam(0.1))
    assert (model.get_param(PROJECTION) != before).any()


def test_batches_without_tokens(names):
    nlp = spacy.blank("en")
    model = make_model(names, texts(nlp))
    joined, backprop = model.begin_update([nlp.make_doc(""), nlp.make_doc("")])
    assert [x.shape for x in joined] == [(0, WIDTH + 4)] * 2
    backprop(joined)
    assert model.predict([]) == []


def test_the_table_is_saved_with_the_model(names):
    docs = texts(spacy.blank("en"))
    model = make_model(names, docs)
    data = model.to_bytes()
    names.unlink()
    again = WithNameTable_v1(token_vectors(), NameTable({"names": str(names)}), 4)
    again.from_bytes(data)
    for x, y in zip(again.predict(docs), model.predict(docs), strict=True):
        numpy.testing.assert_array_equal(x, y)


def test_errors(names):
    with pytest.raises(ValueError, match="width is 0"):
        WithNameTable_v1(token_vectors(), NameTable(), 0)
    with pytest.raises(ValueError, match="no name of up to"):
        WithNameTable_v1(token_vectors(), NameTable()).initialize(X=texts(spacy.blank("en")))


def make_pipeline(names):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    tok2vec = {
        "@architectures": "spacy_bioie.WithNameTable.v1",
        "tok2vec": listener(),
        "table": {"@misc": "spacy_bioie.NameTable.v1", "sources": {"names": str(names)}},
        "width": 4,
    }
    nlp.add_pipe("nested_spancat", config={"model": model_config(tok2vec=tok2vec)})
    return nlp


def test_pipeline_overfits_and_reloads(tmp_path, names):
    nlp = make_pipeline(names)
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    assert gradient_of_tok2vec(nlp, examples) > 0
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    docs = [nlp(text) for text, _ in TRAIN]
    for doc, example in zip(docs, examples, strict=True):
        assert borders(doc) == gold_borders(example)
    nlp.to_disk(tmp_path / "shared")
    afresh = spacy.load(tmp_path / "shared")
    afresh.initialize(lambda: make_examples(afresh))
    names.unlink()
    again = spacy.load(tmp_path / "shared")
    for doc, text in zip(docs, [text for text, _ in TRAIN], strict=True):
        assert_same_spans(again(text), doc)
    stored = DocBin(docs=docs).to_bytes()
    for doc, back in zip(docs, DocBin().from_bytes(stored).get_docs(again.vocab), strict=True):
        assert borders(back) == borders(doc)
    again.replace_listeners("tok2vec", "nested_spancat", ["model.tok2vec.tok2vec"])
    again.remove_pipe("tok2vec")
    again.to_disk(tmp_path / "alone")
    assert_same_spans(spacy.load(tmp_path / "alone")(GUT), docs[0])


def test_two_processes(names):
    nlp = make_pipeline(names)
    nlp.initialize(lambda: make_examples(nlp))
    batch = [text for text, _ in TRAIN] * 2
    for doc, text in zip(nlp.pipe(batch, n_process=2, batch_size=3), batch, strict=True):
        assert_same_spans(doc, nlp(text))
