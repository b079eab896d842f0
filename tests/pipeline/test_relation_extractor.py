"""The component relation_extractor, alone and on a shared tok2vec or transformer."""

import json
import warnings
from pathlib import Path

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_relation_rows, set_mentions, set_relations
from spacy_bioie.models.relation_schema import RelationSchema
from spacy_bioie.scoring.relations import score_relation_sets

from ..relation_pipeline import (
    LISTENER,
    NAME,
    SHARED_TOK2VEC,
    TRAIN,
    TRIPLES,
    initialize,
    make_examples,
    make_nlp,
    mark,
    mark_words,
    train,
)
from ..tiny_encoder import make_tiny_bert

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "assets" / "schemas" / "gutbrainie.json"
TRANSFORMER_LISTENER = {"@architectures": "spacy_bioie.TransformerListener.v1"}


def texts():
    return [text for text, _ in TRAIN]


def expected(nlp):
    return [relations_of(eg.reference) for eg in make_examples(nlp)]


def relations_of(doc):
    """Relations as (head token, predicate, tail token)."""
    return sorted((r.head.start, r.label, r.tail.start) for r in doc._.relations)


def assert_same_rows(one, other):
    rows, others = get_relation_rows(one), get_relation_rows(other)
    assert [row[:3] for row in rows] == [row[:3] for row in others]
    assert [row[3] for row in rows] == pytest.approx([row[3] for row in others], abs=1e-5)


@pytest.fixture(scope="module")
def trained():
    nlp = make_nlp()
    examples = initialize(nlp)
    train(nlp, examples, 60)
    return nlp


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


def gradients(nlp, pipe):
    model = nlp.get_pipe(pipe).model
    found = [
        node.get_grad(name).copy()
        for node in model.walk()
        for name in node.grad_names
        if node.has_grad(name)
    ]
    for node in model.walk():
        for shim in node.shims:
            found += [p.grad.numpy().copy() for p in shim._model.parameters() if p.grad is not None]
    return found


def test_factory():
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(NAME)
    meta = nlp.get_pipe_meta(NAME)
    assert (meta.assigns, meta.requires) == (["doc._.relations"], ["doc.spans"])
    assert (pipe.labels, pipe.mention_labels, pipe.label_data) == ((), (), None)
    with pytest.raises(ValueError, match="no relation schema"):
        nlp("Before it is initialized.")
    with pytest.raises(ValueError, match="predicate 'affect' cannot be added"):
        pipe.add_label("affect")


@pytest.mark.parametrize(
    "config,message",
    [
        ({"threshold": 1.2}, "threshold 'threshold' is 1.2"),
        ({"thresholds": {"is a": -0.1}}, "threshold 'is a' is -0.1"),
        ({"max_gold_relations": -1}, "max_gold_relations is -1"),
        ({"loss_weight": -1.0}, "loss_weight is -1.0"),
    ],
)
def test_settings_out_of_range(config, message):
    with pytest.raises(ValueError, match=f"'{NAME}'.*{message}"):
        make_nlp(**config)


@pytest.mark.parametrize("kind", ["own", "tok2vec", "transformer"])
def test_overfits_and_reloads(kind, tiny_bert, tmp_path):
    if kind == "own":
        nlp = make_nlp()
    elif kind == "tok2vec":
        nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    else:
        model = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": tiny_bert}
        nlp = make_nlp(TRANSFORMER_LISTENER, [("transformer", {"model": model})])
    examples = initialize(nlp)
    assert train(nlp, examples, 60) < 0.05
    docs = list(nlp.pipe(texts()))
    assert [relations_of(doc) for doc in docs] == expected(nlp)
    nlp.to_disk(tmp_path / "model")
    disk = spacy.load(tmp_path / "model")
    pipe = disk.get_pipe(NAME)
    assert pipe.schema == nlp.get_pipe(NAME).schema == RelationSchema.from_data(TRIPLES)
    for doc, again in zip(docs, disk.pipe(texts()), strict=True):
        assert_same_rows(again, doc)
    # and trains on
    assert train(disk, make_examples(disk), 2) < 0.1


def test_to_and_from_bytes(trained):
    nlp = make_nlp().from_bytes(trained.to_bytes())
    text = texts()[0]
    assert get_relation_rows(nlp(text)) == get_relation_rows(trained(text)) != []


def test_replace_listeners(tmp_path):
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    train(nlp, initialize(nlp), 40)
    docs = list(nlp.pipe(texts()))
    nlp.replace_listeners("tok2vec", NAME, ["model.tok2vec"])
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path, exclude=["tok2vec"])
    for one, other in zip(again.pipe(texts()), docs, strict=True):
        assert_same_rows(one, other)
    assert any(doc._.relations for doc in docs)


def test_empty_input(trained):
    assert list(trained.pipe([])) == []
    assert trained.get_pipe(NAME).predict([]) == []
    for text in (
        "",
        "\n",
        "   ",
        "Nothing .",
        "Only mice .",
        "<i></i>",
        "mice and rats and the gut",
    ):
        doc = trained(text)
        assert doc._.relations == [] and doc._.concept_relations == []
        assert doc.user_data["bioie_relations"] == {"spans_key": "sc", "relations": []}


def test_batch_equals_single(trained):
    together = list(trained.pipe(texts() * 2, batch_size=100))
    for doc, text in zip(together, texts() * 2, strict=True):
        assert_same_rows(trained(text), doc)


def test_predict_changes_nothing(trained):
    doc = mark_words(trained.make_doc(texts()[0]))
    (found,) = trained.get_pipe(NAME).predict([doc])
    assert len(found.heads) == 3
    assert all(not span.id_ for span in doc.spans["sc"]) and not doc.user_data


def test_two_processes_after_torch_was_used(trained):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(300, 300) @ torch.randn(300, 300)
        docs = list(trained.pipe(texts() * 2, n_process=2, batch_size=2))
    finally:
        torch.set_num_threads(threads)
    assert [relations_of(doc) for doc in docs] == expected(trained) * 2


def test_doc_bin_keeps_relations(trained):
    docs = list(trained.pipe(texts()))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(data).get_docs(trained.vocab), strict=True):
        assert get_relation_rows(again) == get_relation_rows(doc)
        assert relations_of(again) == relations_of(doc)


def test_nested_mentions_with_equal_borders():
    text = "gut serotonin of mice"
    nlp = make_nlp()
    mentions = [
        Mention(0, 2, "chemical"),
        Mention(0, 2, "DDF"),
        Mention(0, 1, "anatomical location"),
        Mention(3, 4, "animal"),
    ]
    reference = nlp.make_doc(text)
    ids = [mention.id for mention in set_mentions(reference, "sc", mentions)]
    gold = [(ids[0], "influence", ids[1], 1.0), (ids[1], "target", ids[3], 1.0)]
    set_relations(reference, "sc", gold)
    example = Example(nlp.make_doc(text), reference)
    initialize(nlp, [example])
    train(nlp, [example], 40)
    doc = nlp.make_doc(text)
    set_mentions(doc, "sc", mentions)
    doc = nlp.get_pipe(NAME)(doc)
    assert [row[:3] for row in get_relation_rows(doc)] == [row[:3] for row in gold]
    head, _, tail, _ = doc._.relations[0]
    assert (head.label_, tail.label_) == ("chemical", "DDF")
    assert (head.start, head.end) == (tail.start, tail.end)


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


def test_unknown_labels_take_part_in_nothing(trained):
    doc = mark_words(trained.make_doc(TRAIN[0][0]))
    spans = [*doc.spans["sc"], spacy.tokens.Span(doc, 0, 3, label="food")]
    doc.spans["sc"] = [spans[-1], *spans[:-1]]
    pipe = trained.get_pipe(NAME)
    with pytest.warns(UserWarning, match="label 'food' take part in no relation"):
        pipe(doc)
    assert relations_of(doc) == relations_of(make_examples(trained)[0].reference)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(doc)  # warned of once


def test_missing_span_group(trained):
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME, source=trained)
    with pytest.warns(UserWarning, match="no doc.spans\\['sc'\\].*have: none"):
        assert nlp("Butyrate of mice")._.relations == []


def test_missing_encoder_output():
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    initialize(nlp)
    with nlp.select_pipes(disable="tok2vec"), pytest.raises(ValueError, match="no output of it"):
        nlp("Butyrate of mice")


def test_other_tokens_in_the_reference(trained):
    text = "Butyrate of mice reduces anxiety"
    words = ["Butyrate", "of", "mice", "reduces", "anx", "iety"]
    reference = Doc(trained.vocab, words=words, spaces=[True, True, True, True, False, False])
    mentions = [Mention(0, 1, "chemical"), Mention(2, 3, "animal"), Mention(4, 6, "DDF")]
    ids = [mention.id for mention in set_mentions(reference, "sc", mentions)]
    set_relations(reference, "sc", [(ids[0], "influence", ids[2], 1.0)])
    example = Example(trained.make_doc(text), reference)
    nlp = make_nlp()
    initialize(nlp, [example])
    train(nlp, [example], 40)
    assert relations_of(nlp(text)) == [(0, "influence", 4)]
    figures = nlp.evaluate([example])
    assert figures["rel_gold_tm_micro_f"] == figures["rel_pred_m_micro_f"] == pytest.approx(1.0)


def test_decoding_settings(trained):
    text = "Butyrate of mice reduces anxiety and depression in rats."
    nlp = make_nlp().from_bytes(trained.to_bytes())
    pipe = nlp.get_pipe(NAME)
    pipe.cfg["threshold"] = 0.0
    rows = get_relation_rows(nlp(text))
    # chemical-DDF 2, chemical-animal 2, DDF-animal 4, DDF-DDF 2
    assert len(rows) == 10
    pairs = [(head, tail) for head, _, tail, _ in rows]
    assert len(set(pairs)) == len(pairs)
    pipe.cfg["one_predicate_per_pair"] = False
    both = get_relation_rows(nlp(text))
    assert len(both) == 12 and len({row[:3] for row in both}) == 12
    best = {
        (head, tail): max(r[3] for r in both if (r[0], r[2]) == (head, tail))
        for head, _, tail, _ in both
    }
    assert best == {(head, tail): score for head, _, tail, score in rows}
    pipe.cfg["thresholds"] = {"is a": 1.0, "affect": 1.0, "located in": 1.0}
    assert {row[1] for row in get_relation_rows(nlp(text))} == {"influence", "target"}
    pipe.cfg["threshold"] = 1.0
    pipe.cfg["thresholds"] = {"target": 0.0}
    assert {row[1] for row in get_relation_rows(nlp(text))} == {"target"}


def test_relations_over_concepts(trained):
    doc = mark_words(trained.make_doc(TRAIN[0][0]))
    concepts = {"chemical": "C1", "DDF": "C2", "animal": "C3"}
    group = doc.spans["sc"]
    for i, span in enumerate(group):
        group[i] = spacy.tokens.Span(
            doc, span.start, span.end, label=span.label, kb_id=concepts[span.label_]
        )
    doc = trained.get_pipe(NAME)(doc)
    found = {(r.head, r.label, r.tail) for r in doc._.concept_relations}
    assert found == {("C1", "influence", "C2"), ("C1", "located in", "C3"), ("C2", "target", "C3")}


def test_scores_on_gold_and_predicted_input(trained):
    nlp = make_nlp().from_bytes(trained.to_bytes())
    examples = make_examples(nlp)
    figures = nlp.evaluate(examples)
    assert figures["rel_gold_tm_micro_f"] == pytest.approx(1.0)
    assert figures["rel_pred_tm_micro_f"] == pytest.approx(1.0)
    # fewer predicted mentions: the figures over gold mentions stay as they are
    examples = make_examples(nlp)
    for eg in examples:
        mark(eg.predicted)
        keep = [span for span in eg.predicted.spans["sc"] if span.label_ != "animal"]
        eg.predicted.spans["sc"] = keep
    with nlp.select_pipes(disable="mark_words"):
        figures = nlp.evaluate(examples)
    assert figures["rel_gold_m_micro_f"] == pytest.approx(1.0)
    assert figures["rel_pred_m_micro_p"] == pytest.approx(1.0)
    assert figures["rel_pred_m_micro_r"] == pytest.approx(3 / 6)
    assert nlp.get_pipe(NAME).score([])["rel_gold_tm_micro_f"] is None


def test_no_gold_figures_without_encoder_output():
    nlp = make_nlp(LISTENER, SHARED_TOK2VEC)
    initialize(nlp)
    nlp.add_pipe("doc_cleaner", config={"attrs": {"tensor": None}})
    figures = nlp.evaluate(make_examples(nlp))
    assert "rel_pred_tm_micro_f" in figures and "rel_gold_tm_micro_f" not in figures


def test_no_figures_without_scorer():
    nlp = make_nlp(scorer=None)
    initialize(nlp)
    assert nlp.get_pipe(NAME).score(make_examples(nlp)) == {}


@pytest.fixture(scope="module")
def half_trained():
    """A pipeline that is unsure, and examples that have been through it."""
    nlp = make_nlp()
    train(nlp, initialize(nlp), 7, rate=0.002)
    return nlp


def processed(nlp):
    examples = make_examples(nlp, TRAIN * 2)
    for eg in examples:
        eg.predicted = nlp(eg.predicted)
    return examples


@pytest.mark.parametrize("input", ["gold", "pred"])
@pytest.mark.parametrize("metric", ["bt", "tt", "tm", "mean"])
@pytest.mark.parametrize("one_per_pair", [True, False])
def test_tuned_threshold_is_the_best(half_trained, input, metric, one_per_pair):
    nlp = make_nlp().from_bytes(half_trained.to_bytes())
    pipe = nlp.get_pipe(NAME)
    pipe.cfg["one_predicate_per_pair"] = one_per_pair
    examples = processed(nlp)
    result = pipe.tune_thresholds(examples, metric=metric, input=input)
    name = f"rel_{input}_{metric}_micro_f"
    assert result["threshold"] == pipe.cfg["threshold"] and result["thresholds"] == {}
    assert result[name] == pytest.approx(nlp.evaluate(make_examples(nlp, TRAIN * 2))[name])
    others = []
    for threshold in numpy.linspace(0.0, 1.0, 41):
        pipe.cfg["threshold"] = threshold
        others.append(nlp.evaluate(make_examples(nlp, TRAIN * 2))[name])
    assert result[name] >= max(others) - 1e-9
    assert max(others) > min(others)
    again = pipe.tune_thresholds(
        examples, metric=metric, input=input, per_predicate=True, min_gold=1
    )
    assert again[name] >= result[name] - 1e-12
    assert again[name] == pytest.approx(nlp.evaluate(make_examples(nlp, TRAIN * 2))[name])


def test_tuned_thresholds_are_saved(half_trained, tmp_path):
    nlp = make_nlp().from_bytes(half_trained.to_bytes())
    result = nlp.get_pipe(NAME).tune_thresholds(processed(nlp), per_predicate=True, min_gold=1)
    nlp.to_disk(tmp_path)
    cfg = spacy.load(tmp_path).get_pipe(NAME).cfg
    assert cfg["threshold"] == pytest.approx(result["threshold"])
    assert cfg["thresholds"] == pytest.approx(result["thresholds"])


def test_tolerance_lowers_the_threshold(half_trained):
    pipe = make_nlp().from_bytes(half_trained.to_bytes()).get_pipe(NAME)
    examples = processed(half_trained)
    found = [pipe.tune_thresholds(examples, tolerance=value) for value in (0.5, 1.0, 3.0)]
    thresholds = [result["threshold"] for result in found]
    assert thresholds == sorted(thresholds, reverse=True) and thresholds[0] > thresholds[-1]
    assert pipe.cfg["threshold"] == thresholds[-1]


def test_errors_of_tuning(half_trained):
    pipe = half_trained.get_pipe(NAME)
    examples = processed(half_trained)
    with pytest.raises(ValueError, match="Unknown metric 'ner': expected one of bt, .* mean"):
        pipe.tune_thresholds(examples, metric="ner")
    with pytest.raises(ValueError, match="Unknown input 'silver'"):
        pipe.tune_thresholds(examples, input="silver")
    with pytest.raises(ValueError, match="tolerance is -1, expected 0 or more standard errors"):
        pipe.tune_thresholds(examples, tolerance=-1)
    with pytest.raises(ValueError, match="no reference holds a relation"):
        pipe.tune_thresholds(examples[2:5])
    with pytest.raises(ValueError, match=f"'{NAME}'.*metric 'c', because no reference holds"):
        pipe.tune_thresholds(examples, metric="c")
    bare = make_examples(half_trained)  # without predicted mentions
    threshold = pipe.cfg["threshold"]
    with pytest.warns(UserWarning, match="no gold relation can be predicted over pred mentions"):
        assert pipe.tune_thresholds(bare, input="pred")["threshold"] == threshold


def test_figures_of_equal_sets():
    key = ("a", "A", "p", "b", "B", 0, 1, 2, 3)
    assert score_relation_sets([{key}], [{key}], "rel_gold")["rel_gold_m_micro_f"] == pytest.approx(
        1
    )
