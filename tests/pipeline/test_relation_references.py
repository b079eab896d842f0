"""The schema of the component relation_extractor, and what references teach it."""

import json
from pathlib import Path

import pytest
from spacy.training import Example

from ..relation_pipeline import (
    NAME,
    TRAIN,
    TRIPLES,
    gradients,
    initialize,
    make_examples,
    make_nlp,
    mark,
    relations_of,
    texts,
    train,
)

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "assets" / "schemas" / "gutbrainie.json"


def test_schema_of_the_training_set():
    nlp = make_nlp()
    initialize(nlp, schema=None)
    pipe = nlp.get_pipe(NAME)
    assert pipe.labels == ("influence", "is a", "located in", "target")
    assert pipe.mention_labels == ("DDF", "anatomical location", "animal", "chemical")
    assert len(pipe.schema.triples) == 5
    assert nlp.pipe_labels[NAME] == list(pipe.labels)


def test_schema_from_a_file_in_the_config():
    nlp = make_nlp()
    block = {"@misc": "spacy_bioie.RelationSchema.v1", "path": str(SCHEMA_PATH)}
    initialize(nlp, schema=block)
    assert len(nlp.get_pipe(NAME).labels) == 17
    assert nlp.config["initialize"]["components"][NAME]["relation_schema"] == block


def test_labels_of_init_labels():
    nlp = make_nlp()
    initialize(nlp)
    data = json.loads(json.dumps(nlp.get_pipe(NAME).label_data))
    other = make_nlp()
    pipe = other.get_pipe(NAME)
    examples = make_examples(other)
    pipe.initialize(lambda: examples, nlp=other, labels=data)
    assert pipe.schema == nlp.get_pipe(NAME).schema
    pipe.initialize(lambda: examples, labels=data, relation_schema=data)
    with pytest.raises(ValueError, match="'labels' and 'relation_schema' are both given"):
        pipe.initialize(lambda: examples, labels=data, relation_schema=TRIPLES[:2])


def test_errors_of_the_schema_name_the_component():
    nlp = make_nlp(thresholds={"is": 0.5})
    examples = make_examples(nlp)
    pipe = nlp.get_pipe(NAME)
    with pytest.raises(ValueError, match=f"'{NAME}', argument 'relation_schema': triple 0 is"):
        pipe.initialize(lambda: examples, relation_schema=[["DDF", "is a"]])
    with pytest.raises(ValueError, match="thresholds are set for \\['is'\\]"):
        pipe.initialize(lambda: examples, relation_schema=TRIPLES)


def test_corpus_without_relations():
    nlp = make_nlp()
    data = [(text, []) for text, _ in TRAIN]
    examples = make_examples(nlp, data)
    with pytest.raises(ValueError, match=f"'{NAME}' has no relation schema: none was given"):
        initialize(nlp, examples, schema=None)
    unmarked = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text, _ in TRAIN]
    with pytest.raises(ValueError, match="has no relation schema"):
        initialize(nlp, unmarked, schema=None)
    with pytest.warns(UserWarning, match="none of 5 examples has a relation"):
        initialize(nlp, examples)
    train(nlp, examples, 20)
    assert [doc._.relations for doc in nlp.pipe(texts())] == [[]] * 5


def test_references_that_say_nothing_are_not_learned_from():
    nlp = make_nlp()
    initialize(nlp)
    silent = make_examples(nlp, [(text, None) for text, _ in TRAIN])
    other_key = [Example(nlp.make_doc(t), mark(nlp.make_doc(t), r, "other")) for t, r in TRAIN]
    for eg in other_key:
        mark(eg.reference)
    for examples in (silent, other_key):
        losses = nlp.update(examples, sgd=False, losses={})
        assert losses == {NAME: 0.0}
        assert all((gradient == 0).all() for gradient in gradients(nlp, NAME))
    nlp.update(make_examples(nlp, [(TRAIN[2][0], [])]), sgd=False, losses=losses)
    assert losses[NAME] > 0  # a reference that says that there are none


def test_dense_documents_are_not_learned_from():
    nlp = make_nlp(max_gold_relations=2)
    with pytest.warns(UserWarning, match="all 1 examples with relations have more than max_gold"):
        initialize(nlp, make_examples(nlp)[:1])
    assert nlp.update(make_examples(nlp)[:2], sgd=False, losses={}) == {NAME: 0.0}
    assert nlp.update(make_examples(nlp)[:3], sgd=False, losses={})[NAME] > 0
    none = make_nlp(max_gold_relations=None)
    initialize(none)
    assert none.update(make_examples(none)[:2], sgd=False, losses={})[NAME] > 0


def test_illegal_relations_are_ignored_and_counted():
    nlp = make_nlp()
    text = TRAIN[0][0]
    examples = make_examples(nlp, [(text, [*TRAIN[0][1], (3, "target", 4), (0, "is a", 0)])])
    with pytest.warns(UserWarning, match="2 of 5 relations are ignored.*'animal', 'target', 'DDF'"):
        initialize(nlp, examples)
    train(nlp, examples, 40)
    assert relations_of(nlp(text)) == relations_of(make_examples(nlp)[0].reference)
