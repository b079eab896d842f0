"""A relation_extractor that learns from predicted mentions among gold ones."""

from contextlib import nullcontext

import numpy
import pytest
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    gold_mentions,
    set_mentions,
)
from spacy_bioie.pipeline.relation_mixing import matching, with_predicted_mentions
from spacy_bioie.pipeline.relation_targets import pair_targets

from ..relation_pipeline import NAME, TRAIN, initialize, make_examples, make_nlp, mark, train

KEY = "sc_predicted"
MIXED = {"predicted_key": KEY, "predicted_share": 1.0}


def with_predictions(nlp, predict=lambda mentions: mentions):
    """Examples whose references hold predicted mentions, made of the gold ones."""
    examples = make_examples(nlp)
    for eg in examples:
        set_mentions(eg.reference, KEY, predict(get_mentions(eg.reference)), keep_ids=False)
    return examples


def without_animals(mentions):
    """Animals are not found, and a word too many is."""
    found = [m for m in mentions if m.label != "animal"]
    return [*found, Mention(1, 2, "chemical")] if found else []


def positives(nlp, examples):
    """Gold relations as the model learns them, by (head token, predicate, tail token)."""
    pipe = nlp.get_pipe(NAME)
    found = []
    for eg in pipe.learning.mix(examples, pipe.key):
        candidates = pipe.candidates([eg.predicted], [gold_mentions(eg)])
        rows, predicates = numpy.nonzero(pair_targets([eg], candidates, pipe.schema, pipe.key))
        starts = candidates.mentions[candidates.pairs[rows], 0].tolist()
        found.append({(h, pipe.labels[p], t) for (h, t), p in zip(starts, predicates, strict=True)})
    return found


@pytest.mark.parametrize("match", ["exact", "overlap"])
def test_matching(match):
    gold = [Mention(0, 3, "A"), Mention(2, 6, "A"), Mention(0, 3, "B"), Mention(9, 10, "A")]
    predicted = [
        Mention(0, 3, "A"),
        Mention(3, 6, "A"),
        Mention(2, 3, "A"),  # shares more with the first
        Mention(7, 8, "A"),
        Mention(9, 10, "C"),
        Mention(0, 3, "A"),
    ]
    expected = {
        "exact": [[0, 5], [], [], []],
        "overlap": [[0, 2, 5], [1], [], []],
    }
    assert matching(gold, predicted, match) == expected[match]
    assert matching([], predicted, match) == [] and matching(gold, [], match) == [[]] * 4
    # mentions with equal borders and label both stand for what was found there
    assert matching([gold[0]] * 2, predicted[:1], match) == [[0], [0]]


def test_relations_are_carried_over_and_the_reference_stays():
    nlp = make_nlp()
    (eg, *_) = with_predictions(nlp, without_animals)
    before = eg.reference.to_bytes()
    user_data = {key: str(value) for key, value in eg.reference.user_data.items()}
    mixed = with_predicted_mentions(eg, "sc", KEY)
    assert [(m.start, m.label) for m in get_mentions(mixed.reference)] == [
        (0, "chemical"),
        (2, "DDF"),
        (4, "chemical"),
        (8, "DDF"),
        (1, "chemical"),
    ]
    by_id = {m.id: m.start for m in get_mentions(mixed.reference)}
    rows = [(by_id[h], label, by_id[t]) for h, label, t, _ in get_relation_rows(mixed.reference)]
    assert rows == [(4, "influence", 8)]  # those with an animal are lost
    assert mixed.predicted is eg.predicted
    assert eg.reference.to_bytes() == before
    assert {key: str(value) for key, value in eg.reference.user_data.items()} == user_data


def test_overlap_makes_positives_of_near_misses():
    nlp = make_nlp()
    (eg, *_) = with_predictions(
        nlp, lambda found: [Mention(m.start, m.end + 1, m.label) for m in found]
    )
    assert get_relation_rows(with_predicted_mentions(eg, "sc", KEY).reference) == []
    mixed = with_predicted_mentions(eg, "sc", KEY, "overlap")
    assert len(get_relation_rows(mixed.reference)) == 3


def test_share_of_documents():
    nlp = make_nlp(predicted_key=KEY, predicted_share=0.5)
    examples = with_predictions(nlp, without_animals) * 20
    numpy.random.seed(0)
    mixed = nlp.get_pipe(NAME).learning.mix(examples, "sc")
    replaced = [one is not eg for one, eg in zip(mixed, examples, strict=True)]
    assert 0.3 < numpy.mean(replaced) < 0.7
    numpy.random.seed(0)
    again = nlp.get_pipe(NAME).learning.mix(examples, "sc")
    assert [one is not eg for one, eg in zip(again, examples, strict=True)] == replaced


def test_off_draws_nothing():
    nlp = make_nlp(predicted_key=KEY)
    learning = nlp.get_pipe(NAME).learning
    examples = with_predictions(nlp)
    numpy.random.seed(0)
    assert all(a is b for a, b in zip(learning.mix(examples, "sc"), examples, strict=True))
    after = numpy.random.random()
    numpy.random.seed(0)
    assert numpy.random.random() == after
    # without the group of predicted mentions all is as it is without the setting
    losses = []
    for config in ({}, MIXED):
        nlp = make_nlp(**config)
        message = pytest.warns(UserWarning, match="no reference has doc.spans")
        with message if config else nullcontext():
            initialize(nlp)
        losses.append(train(nlp, make_examples(nlp), 3))
    assert losses[0] == losses[1]


def test_pairs_that_are_learned():
    nlp = make_nlp(**MIXED)
    examples = with_predictions(nlp, without_animals)
    initialize(nlp, examples)
    first, second, *others = positives(nlp, examples)
    assert first == {(4, "influence", 8)}
    assert second == {(2, "is a", 9), (12, "located in", 15)}
    assert others == [set()] * 3


def test_documents_that_are_not_learned_from_stay():
    nlp = make_nlp(**MIXED, max_gold_relations=2)
    examples = with_predictions(nlp, without_animals)
    initialize(nlp, examples[:2])
    # one relation is left of three, but the document is still over-annotated
    assert nlp.get_pipe(NAME).learning.mix(examples[:1], "sc")[0] is examples[0]
    assert nlp.update(examples[:1], losses={}) == {NAME: 0.0}


def test_learns_not_to_relate_what_is_wrongly_found():
    """From gold mentions alone nothing is learned about the word that is no mention."""
    text, relations = TRAIN[0]
    scores = []
    for config in ({}, MIXED):
        nlp = make_nlp(**config)
        reference = mark(nlp.make_doc(text), relations)
        found = [*get_mentions(reference), Mention(5, 6, "chemical")]
        set_mentions(reference, KEY, found, keep_ids=False)
        data = DocBin(docs=[reference], store_user_data=True).to_bytes()
        (reference,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
        example = Example(nlp.make_doc(text), reference)
        initialize(nlp, [example])
        train(nlp, [example], 60)
        doc = nlp.make_doc(text)
        set_mentions(doc, "sc", found, keep_ids=False)
        pipe = nlp.get_pipe(NAME)
        candidates, logits = pipe.logits([doc], [get_mentions(doc)])
        wrong = candidates.mentions[candidates.pairs[:, 0], 0] == 5
        legal = candidates.pair_legal()[wrong]
        scores.append(float(pipe.probabilities(candidates, logits)[wrong][legal].max()))
    assert scores[1] < 0.05 < scores[0]


@pytest.mark.parametrize(
    "config,message",
    [
        ({"predicted_share": 0.5}, "predicted_share is 0.5, but there is no predicted_key"),
        ({"predicted_key": KEY, "predicted_share": 1.5}, "predicted_share is 1.5, expected a"),
        ({"predicted_match": "near"}, "predicted_match is 'near', expected one of exact, overlap"),
        ({"target": "all"}, "target is 'all', expected one of mention, any"),
    ],
)
def test_settings_out_of_range(config, message):
    with pytest.raises(ValueError, match=f"'{NAME}'.*{message}"):
        make_nlp(**config)
