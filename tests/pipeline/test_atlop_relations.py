"""The component relation_extractor with ATLOP and an encoder of its own."""

import shutil

import numpy
import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop
from spacy.util import fix_random_seed, load_config, load_model_from_config

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    mention_table,
    set_mentions,
    set_relations,
)
from spacy_bioie.models.candidates import pair_candidates

from ..relation_pipeline import (
    NAME,
    TRAIN,
    TRIPLES,
    assert_same_rows,
    expected,
    initialize,
    make_examples,
    mark,
    relations_of,
    texts,
    train,
)
from ..sample_training import CONFIGS, REPOSITORY
from ..tiny_encoder import make_tiny_bert

(CONFIG,) = (path for path in CONFIGS if path.stem == "relations_atlop")
LOSS = {"@misc": "spacy_bioie.AdaptiveThreshold.v1"}


def make_nlp(source, target="mention", **model):
    """A pipeline that marks words and relates them by ATLOP."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("mark_words")
    model = {
        "@architectures": "spacy_bioie.ATLOP.v1",
        "name": source,
        "one_mention_per_entity": True,
        "hidden_size": 32,
        "block_size": 8,
        **model,
    }
    nlp.add_pipe(NAME, config={"model": model, "loss": LOSS, "target": target})
    return nlp


def weights_of(nlp):
    module = nlp.get_pipe(NAME).model.get_ref("scorer").shims[0]._model
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def trained(source):
    nlp = make_nlp(source)
    assert train(nlp, initialize(nlp), 40) < 0.05
    return nlp


def test_overfits_and_reloads_without_the_source(tmp_path):
    folder = make_tiny_bert(tmp_path / "encoder")
    nlp = make_nlp(folder)
    train(nlp, initialize(nlp), 40)
    docs = list(nlp.pipe(texts()))
    assert [relations_of(doc) for doc in docs] == expected(nlp)
    nlp.to_disk(tmp_path / "model")
    data = nlp.to_bytes()
    shutil.rmtree(folder)
    disk = spacy.load(tmp_path / "model")
    for again in (disk, make_nlp(folder).from_bytes(data)):
        for doc, other in zip(docs, again.pipe(texts()), strict=True):
            assert_same_rows(other, doc)
    # and trains on
    assert train(disk, make_examples(disk), 2, rate=0.0003) < 0.1


def test_empty_input(trained):
    assert list(trained.pipe([])) == []
    for text in ("", "\n", "   ", "Nothing .", "Only mice .", "mice and rats and the gut"):
        doc = trained(text)
        assert doc._.relations == []
    examples = make_examples(trained, TRAIN[2:])
    losses = trained.update(examples[1:], sgd=trained.resume_training(), losses={})
    assert losses == {NAME: 0.0}


def test_batch_equals_single(trained):
    together = list(trained.pipe(texts() * 2, batch_size=100))
    for doc, text in zip(together, texts() * 2, strict=True):
        assert_same_rows(trained(text), doc)


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


def test_probability_one_half_is_the_threshold_class(trained, source):
    nlp = make_nlp(source).from_bytes(trained.to_bytes())
    pipe = nlp.get_pipe(NAME)
    doc = nlp(texts()[0])
    above = {(r.head.start, r.label, r.tail.start) for r in doc._.relations}
    pipe.cfg.update(threshold=0.0, one_predicate_per_pair=False)
    scores = {(r.head.start, r.label, r.tail.start): r.score for r in nlp(texts()[0])._.relations}
    labels = pipe.schema.labels
    table = mention_table(get_mentions(doc), labels)
    candidates = pair_candidates([table], pipe.schema)
    logits = pipe.model.predict(([doc], candidates))
    rows, predicates = numpy.nonzero(candidates.pair_legal())
    found = {
        (int(table[h, 0]), pipe.labels[p], int(table[t, 0])): float(logits[row, p])
        for row, p in zip(rows, predicates, strict=True)
        for h, t in [candidates.pairs[row]]
    }
    assert found.keys() == scores.keys() and len(found) > len(above) > 0
    for key, logit in found.items():
        assert scores[key] == pytest.approx(1 / (1 + numpy.exp(-logit)), abs=1e-5)
        assert (logit >= 0) == (key in above)


def test_relations_in_a_document_of_several_windows(source):
    """Nothing is cut off: the first and the last mentions are related, and to each other."""
    filler = " of the study and the results" * 6
    text = f"Butyrate of mice{filler} reduces anxiety{filler} , serotonin in the gut of rats."
    data = [(text, [(0, "influence", 2), (0, "located in", 1), (3, "located in", 5)])]
    data[0][1].append((0, "located in", 5))
    nlp = make_nlp(source, window=40)
    examples = initialize(nlp, make_examples(nlp, data))
    assert len(nlp.make_doc(text)) > 2 * 40
    assert train(nlp, examples, 60) < 0.05
    assert relations_of(nlp(text)) == relations_of(examples[0].reference)
    assert len(nlp(text)._.relations) == 4


@pytest.mark.parametrize("one_mention_per_entity", [False, True])
def test_mentions_of_one_concept(source, one_mention_per_entity):
    nlp = make_nlp(source, one_mention_per_entity=one_mention_per_entity)
    initialize(nlp)
    pipe = nlp.get_pipe(NAME)
    pipe.cfg.update(threshold=0.0, one_predicate_per_pair=False)
    doc = nlp(TRAIN[0][0])
    # "Butyrate" and "anxiety" stand in the title and in the abstract
    scores = {
        (r.head.start, r.tail.start): r.score for r in doc._.relations if r.label == "influence"
    }
    assert sorted(scores) == [(0, 2), (0, 8), (4, 2), (4, 8)]
    assert len(set(scores.values())) == (4 if one_mention_per_entity else 1)


@pytest.mark.parametrize("target", ["mention", "any"])
def test_target_of_concepts(source, target):
    """Gold relates one of four pairs of mentions of two concepts, which share their logits."""
    data = [(TRAIN[0][0], [(2, "influence", 4)])]
    nlp = make_nlp(source, target, one_mention_per_entity=False)
    examples = initialize(nlp, make_examples(nlp, data))
    pipe = nlp.get_pipe(NAME)
    (eg,) = examples
    candidates = pipe.candidates([eg.predicted], [get_mentions(eg.reference)])
    targets = pipe.learning.targets(examples, candidates, pipe.schema, "sc")
    rows, predicates = numpy.nonzero(targets)
    assert {pipe.labels[p] for p in predicates} == {"influence"}
    heads, tails = candidates.mentions[candidates.pairs[rows], 0].T
    pairs = sorted(zip(heads.tolist(), tails.tolist(), strict=True))
    assert pairs == ([(4, 8)] if target == "mention" else [(0, 2), (0, 8), (4, 2), (4, 8)])
    # against three negatives the one positive cannot win; no loss is left where all agree
    loss = train(nlp, examples, 60)
    found = relations_of(nlp(data[0][0]))
    if target == "any":
        assert loss < 0.05
        assert found == [(head, "influence", tail) for head, tail in pairs]
    else:
        assert loss > 0.2 and len(found) in (0, 4)


def test_nested_mentions(source):
    text = "gut serotonin of mice"
    nlp = make_nlp(source)
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


def test_errors_of_the_encoder_and_the_settings(source, tmp_path):
    with pytest.raises(ValueError, match="ATLOP: hidden_size is 32, expected a multiple"):
        make_nlp(source, block_size=9)
    nlp = make_nlp(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="none' cannot be loaded: expected a folder"):
        initialize(nlp)
    nlp = make_nlp(source)
    nlp.get_pipe(NAME).cfg["schema"] = TRIPLES
    with pytest.raises(ValueError, match="ATLOP: the model has no parameters yet"):
        nlp(TRAIN[0][0])


def save_corpus(folder, data, name):
    nlp = spacy.blank("en")
    docs = [mark(nlp.make_doc(text), relations) for text, relations in data]
    DocBin(docs=docs, store_user_data=True).to_disk(folder / name)
    return str(folder / name)


def small_config(source, corpus):
    """The config of configs/, sized for this test."""
    config = load_config(CONFIG)
    return config.merge(
        {
            "paths": {
                "train": corpus,
                "dev": corpus,
                "schema": str(REPOSITORY / "assets" / "schemas" / "gutbrainie.json"),
            },
            "vars": {"encoder": source},
            "components": {NAME: {"model": {"hidden_size": 32, "block_size": 8}}},
            "training": {"max_steps": 4, "eval_frequency": 2},
        }
    )


def train_config(config, folder):
    config.to_disk(folder / "config.cfg")
    # interpolated as ``spacy train`` reads it
    nlp = init_nlp(load_config(folder / "config.cfg", interpolate=False))
    before = weights_of(nlp)
    (folder / "output").mkdir()
    train_loop(nlp, folder / "output")
    return before, spacy.load(folder / "output" / "model-last")


@pytest.mark.filterwarnings("ignore:.*are ignored:UserWarning")
@pytest.mark.filterwarnings("ignore:.*have no doc.spans:UserWarning")
def test_two_stages_of_training(tmp_path):
    """Noisy documents, then clean ones, as the comment in the config says."""
    source = make_tiny_bert(tmp_path / "encoder", max_positions=512)
    (tmp_path / "first").mkdir()
    first = small_config(source, save_corpus(tmp_path, TRAIN, "noisy.spacy"))
    drawn, noisy = train_config(first, tmp_path / "first")
    after_first = weights_of(noisy)
    assert any(not torch.equal(drawn[name], value) for name, value in after_first.items())
    shutil.rmtree(source)

    second = small_config(source, save_corpus(tmp_path, TRAIN[:3], "clean.spacy"))
    second["components"] = {NAME: {"source": str(tmp_path / "first" / "output" / "model-last")}}
    (tmp_path / "second").mkdir()
    start, clean = train_config(second, tmp_path / "second")
    assert start.keys() == after_first.keys()
    for name, value in start.items():
        assert torch.equal(value, after_first[name]), name
    pipe = clean.get_pipe(NAME)
    assert pipe.schema == noisy.get_pipe(NAME).schema
    changed = {n for n, value in weights_of(clean).items() if not torch.equal(value, start[n])}
    assert {"pair_head.scores.weight"} < changed
    assert "encoder.transformer.encoder.layer.1.attention.self.query.weight" in changed
    # nothing of the first stage's folder is needed any more
    shutil.rmtree(tmp_path / "first")
    again = spacy.load(tmp_path / "second" / "output" / "model-last")
    for name, value in weights_of(again).items():
        assert torch.equal(value, weights_of(clean)[name]), name


def test_config_is_that_of_the_organisers():
    config = load_config(CONFIG)
    nlp = load_model_from_config(config, auto_fill=True)
    assert nlp.pipe_names == [NAME]
    assert config["training"]["batcher"]["size"] == 4
    assert config["components"][NAME]["model"]["one_mention_per_entity"] is True
    rate = config["training"]["optimizer"]["learn_rate"]
    assert rate["initial_rate"] == 5e-5 and rate["total_steps"] == 205 * 500
    assert numpy.isclose(rate["warmup_steps"] / rate["total_steps"], 0.06)
