"""The component relation_extractor with an encoder that reads each pair by itself."""

import shutil

import pytest
import spacy
import torch
from spacy.tokens import DocBin, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_bioie.annotation import (
    Mention,
    get_relation_rows,
    set_mentions,
    set_relations,
)
from spacy_bioie.training.optimizers import LayeredAdam_v1

from ..relation_pipeline import (
    NAME,
    TRAIN,
    TRIPLES,
    assert_same_rows,
    expected,
    initialize,
    make_examples,
    mark_words,
    relations_of,
    train,
)
from ..tiny_encoder import make_tiny_bert

FORMS = ("markers", "cross_encoder")
both_forms = pytest.mark.parametrize("form", FORMS)
TEXTS = [text for text, _ in TRAIN]


def make_nlp(source, form="markers", *, model=None, **config):
    """A pipeline that finds sentences, marks words and relates them."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("biomedical_sentencizer")
    nlp.add_pipe("mark_words")
    architecture = {
        "@architectures": "spacy_bioie.MarkerClassifier.v1",
        "name": source,
        "form": form,
        "dropout": 0.0,
        **(model or {}),
    }
    nlp.add_pipe(NAME, config={"model": architecture, **config})
    return nlp


def make_split_examples(nlp, data=TRAIN):
    """Examples whose predicted documents have sentences, as in training."""
    examples = make_examples(nlp, data)
    for eg in examples:
        nlp.get_pipe("biomedical_sentencizer")(eg.predicted)
    return examples


def overfit(nlp, examples=None, steps=40):
    examples = make_split_examples(nlp) if examples is None else examples
    return train(nlp, initialize(nlp, examples), steps)


def module_of(nlp):
    return nlp.get_pipe(NAME).model.get_ref("scorer").shims[0]._model


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def trained(source):
    nlp = make_nlp(source)
    assert overfit(nlp) < 0.05
    return nlp


@both_forms
def test_overfits_and_reloads_without_the_source(form, tmp_path):
    folder = make_tiny_bert(tmp_path / "encoder")
    nlp = make_nlp(folder, form)
    assert overfit(nlp, steps=70) < 0.05
    docs = list(nlp.pipe(TEXTS))
    assert [relations_of(doc) for doc in docs] == expected(nlp)
    nlp.to_disk(tmp_path / "model")
    data = nlp.to_bytes()
    shutil.rmtree(folder)
    disk = spacy.load(tmp_path / "model")
    for again in (disk, make_nlp(folder, form).from_bytes(data)):
        for doc, other in zip(docs, again.pipe(TEXTS), strict=True):
            assert_same_rows(other, doc)
    # and trains on
    assert train(disk, make_split_examples(disk), 2, rate=0.0003) < 0.1


def test_settings_may_change_when_a_pipeline_is_loaded(trained, tmp_path):
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path, config={f"components.{NAME}.model.max_length": 22})
    assert module_of(nlp).reader.max_length == 22
    assert module_of(trained).reader.max_length == 128


def test_empty_input(trained):
    assert list(trained.pipe([])) == []
    for text in ("", "\n", "   ", "Nothing .", "Only mice .", "mice and rats and the gut"):
        assert trained(text)._.relations == []
    examples = make_split_examples(trained, TRAIN[3:])
    assert trained.update(examples, sgd=trained.resume_training(), losses={}) == {NAME: 0.0}


def test_batch_equals_single(trained):
    together = list(trained.pipe(TEXTS * 2, batch_size=100))
    for doc, text in zip(together, TEXTS * 2, strict=True):
        assert_same_rows(trained(text), doc)


def test_two_processes_after_torch_was_used(trained):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(300, 300) @ torch.randn(300, 300)
        docs = list(trained.pipe(TEXTS * 2, n_process=2, batch_size=2))
    finally:
        torch.set_num_threads(threads)
    assert [relations_of(doc) for doc in docs] == expected(trained) * 2


def test_doc_bin_keeps_relations(trained):
    docs = list(trained.pipe(TEXTS))
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(data).get_docs(trained.vocab), strict=True):
        assert get_relation_rows(again) == get_relation_rows(doc)
        assert relations_of(again) == relations_of(doc)


def test_unknown_labels_take_part_in_nothing(trained):
    doc = mark_words(trained.make_doc(TEXTS[0]))
    doc.spans["sc"] = [Span(doc, 0, 3, label="food"), *doc.spans["sc"]]
    with pytest.warns(UserWarning, match="label 'food' take part in no relation"):
        trained.get_pipe(NAME)(doc)
    assert relations_of(doc) == expected(trained)[0]


@both_forms
def test_relations_across_more_than_a_window(form, source):
    """The first and the last mention are related, though they fit into no window together."""
    filler = " of the study and the results" * 6
    text = f"Butyrate of mice{filler} reduces anxiety{filler} and depression in the gut of rats"
    data = [(text, [(0, "located in", 5), (0, "influence", 2), (3, "target", 1)])]
    nlp = make_nlp(source, form, model={"max_length": 32})
    examples = make_split_examples(nlp, data)
    assert len(examples[0].predicted) > 2 * 32
    assert overfit(nlp, examples, 50) < 0.1
    assert relations_of(nlp(text)) == relations_of(examples[0].reference)
    rows, _ = module_of(nlp).prepare(
        [examples[0].predicted], nlp.get_pipe(NAME).candidates([nlp(text)], [_mentions(nlp(text))])
    )
    assert rows.lengths.max() == 32


def _mentions(doc):
    return [Mention(span.start, span.end, span.label_) for span in doc.spans["sc"]]


def test_nested_mentions_with_equal_borders(source):
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
    overfit(nlp, [example], 40)
    doc = nlp.make_doc(text)
    set_mentions(doc, "sc", mentions)
    doc = nlp.get_pipe(NAME)(doc)
    assert [row[:3] for row in get_relation_rows(doc)] == [row[:3] for row in gold]


@both_forms
def test_learns_from_drawn_negatives_and_near_pairs(form, source):
    nlp = make_nlp(source, form, negatives=1.0, max_distance=40)
    read = []
    examples = make_split_examples(nlp)
    initialize(nlp, examples)
    module = module_of(nlp)
    prepare = module.prepare
    module.prepare = lambda docs, candidates: read.append(candidates) or prepare(docs, candidates)
    train(nlp, examples, 50)
    n_gold = sum(len(relations) for _, relations in TRAIN)
    everything = nlp.get_pipe(NAME).candidates(
        [eg.predicted for eg in examples], [_mentions(eg.reference) for eg in examples]
    )
    drawn = {tuple(map(tuple, candidates.pairs.tolist())) for candidates in read}
    assert len(drawn) > 1  # others in each update
    assert max(len(pairs) for pairs in drawn) <= 2 * n_gold + 3 < len(everything.pairs)
    found = [relations_of(doc) for doc in nlp.pipe(TEXTS)]
    missing = [set(gold) - set(own) for gold, own in zip(expected(nlp), found, strict=True)]
    assert missing == [set()] * len(TEXTS)
    assert nlp("Nothing to relate .")._.relations == []


def test_head_has_a_rate_of_its_own(source):
    nlp = make_nlp(source)
    examples = make_split_examples(nlp)
    initialize(nlp, examples)
    before = {name: p.detach().clone() for name, p in module_of(nlp).named_parameters()}
    nlp.update(examples, sgd=LayeredAdam_v1(0.001, scales={"pair_head": 0.0}, L2=0.0))
    for name, parameter in module_of(nlp).named_parameters():
        # the pooler is not used
        kept = "pair_head" in name or "pooler" in name
        assert torch.equal(parameter, before[name]) == kept, name


def test_sourced_behind_another_pipeline(trained):
    """The usual way: mentions come from the pipeline before it."""
    nlp = spacy.blank("en")
    nlp.add_pipe("mark_words")
    nlp.add_pipe(NAME, source=trained)
    assert relations_of(nlp(TEXTS[0])) == expected(trained)[0]


def test_errors_name_what_was_expected(source, tmp_path):
    with pytest.raises(ValueError, match="MarkerClassifier: max_length is 0, expected 1 or more"):
        make_nlp(source, model={"max_length": 0})
    nlp = make_nlp(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="none' cannot be loaded: expected a folder"):
        initialize(nlp)
    nlp = make_nlp(source)
    nlp.get_pipe(NAME).cfg["schema"] = TRIPLES
    with pytest.raises(ValueError, match="MarkerClassifier: the model has no parameters yet"):
        nlp(TEXTS[0])
