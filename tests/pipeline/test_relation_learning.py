"""What a relation_extractor learns from: tiers, weights, negatives, distance, priors, losses."""

import numpy
import pytest
import spacy

from spacy_bioie.annotation import get_relation_rows, gold_mentions, set_tier
from spacy_bioie.pipeline.relation_targets import pair_targets, prior_logits

from ..relation_pipeline import NAME, TRAIN, initialize, make_examples, make_nlp, train


def update_once(**config):
    """The loss and the output gradient's norm of one update, and the pipeline."""
    nlp = make_nlp(**config)
    examples = initialize(nlp)
    return nlp, examples


def loss_of(nlp, examples):
    pipe = nlp.get_pipe(NAME)
    docs = [eg.predicted for eg in examples]
    candidates = pipe.candidates(docs, [gold_mentions(eg) for eg in examples])
    logits = pipe.model.predict((docs, candidates))
    return pipe.get_loss(examples, (candidates, logits))


@pytest.mark.parametrize(
    "config,message",
    [
        ({"tier_weights": {"silver": -0.5}}, r"tier_weights\['silver'\] is -0.5"),
        ({"predicate_weights": {"affect": -1}}, r"predicate_weights\['affect'\] is -1"),
        ({"negatives": -1}, "negatives is -1"),
        ({"hard_negatives": -2}, "hard_negatives is -2"),
        ({"max_distance": -1}, "max_distance is -1"),
    ],
)
def test_settings_out_of_range(config, message):
    with pytest.raises(ValueError, match=f"'{NAME}'.*{message}"):
        make_nlp(**config)


def test_weights_of_tiers():
    nlp, examples = update_once(tier_weights={"silver": 0.25, "bronze": 0.0})
    both, _ = loss_of(nlp, examples)
    first, second = (loss_of(nlp, [eg])[0] for eg in examples[:2])
    counts = [len(gold_mentions(eg)) for eg in examples[:2]]
    set_tier(examples[0].reference, "silver")
    mixed, gradient = loss_of(nlp, examples[:2])
    weighted = 0.25 * first * counts[0] + second * counts[1]
    assert mixed == pytest.approx(weighted / (0.25 * counts[0] + counts[1]), rel=1e-5)
    set_tier(examples[0].reference, "bronze")
    alone, _ = loss_of(nlp, examples[:2])
    assert alone == pytest.approx(second, rel=1e-5)
    # no pairs are made of documents that count for nothing
    losses = nlp.update(examples[:1], losses={})
    assert losses[NAME] == 0.0
    assert both > 0


def test_weights_of_predicates():
    nlp, examples = update_once()
    _, plain = loss_of(nlp, examples)
    other, _ = update_once(predicate_weights={"influence": 3.0})
    _, weighted = loss_of(other, examples)
    pipe = nlp.get_pipe(NAME)
    docs = [eg.predicted for eg in examples]
    candidates = pipe.candidates(docs, [gold_mentions(eg) for eg in examples])
    gold = pair_targets(examples, candidates, pipe.schema, "sc")
    influence = numpy.zeros_like(gold)
    influence[:, pipe.labels.index("influence")] = True
    changed = gold & influence
    assert changed.any()
    assert weighted[changed] == pytest.approx(3 * plain[changed], rel=1e-4)
    assert weighted[~changed] == pytest.approx(plain[~changed], rel=1e-4)


def test_sampled_negatives():
    nlp, examples = update_once(negatives=1.0)
    pipe = nlp.get_pipe(NAME)
    docs = [eg.predicted for eg in examples]
    everything = pipe.candidates(docs, [gold_mentions(eg) for eg in examples])
    positive = pair_targets(examples, everything, pipe.schema, "sc").any(axis=1)
    pair_docs = everything.mention_docs[everything.pairs[:, 0]]
    drawn = set()
    for seed in range(6):
        numpy.random.seed(seed)
        some = pipe.learning.sample(examples, everything, pipe.schema, "sc")
        rows = everything.find(some.pairs[:, 0], some.pairs[:, 1])
        assert set(numpy.flatnonzero(positive)) <= set(rows)
        for doc in set(pair_docs):
            n_positive = int((positive & (pair_docs == doc)).sum())
            n_negative = int((~positive & (pair_docs == doc)).sum())
            found = rows[pair_docs[rows] == doc]
            assert (~positive[found]).sum() == min(max(n_positive, 1), n_negative)
        drawn.add(tuple(rows))
        numpy.random.seed(seed)
        again = pipe.learning.sample(examples, everything, pipe.schema, "sc")
        assert numpy.array_equal(again.pairs, some.pairs)
    assert len(drawn) > 1


@pytest.mark.parametrize(
    "config",
    [
        {"loss": {"@misc": "spacy_bioie.PairSoftmax.v1"}},
        {"loss": {"@misc": "spacy_bioie.AdaptiveThreshold.v1"}},
        {"negatives": 2.0},
        {"hard_negatives": 2.0},
        {"use_priors": True},
    ],
    ids=lambda config: next(iter(config)) + str(next(iter(config.values())))[-25:-2],
)
def test_every_way_to_learn_overfits_and_reloads(config, tmp_path):
    nlp = make_nlp(**config)
    examples = initialize(nlp)
    train(nlp, examples, 120)
    texts = [text for text, _ in TRAIN]
    docs = list(nlp.pipe(texts))
    expected = [{row[:3] for row in get_relation_rows(eg.reference)} for eg in examples]
    assert [{row[:3] for row in get_relation_rows(doc)} for doc in docs] == expected
    nlp.to_disk(tmp_path)
    again = list(spacy.load(tmp_path).pipe(texts))
    for doc, other in zip(docs, again, strict=True):
        scores = [row[3] for row in get_relation_rows(doc)]
        assert scores == pytest.approx([row[3] for row in get_relation_rows(other)], abs=1e-5)


def test_distance():
    nlp, examples = update_once(max_distance=12)
    pipe = nlp.get_pipe(NAME)
    doc = examples[0].predicted  # Butyrate and anxiety\nButyrate of mice reduces anxiety in rats.
    mentions = gold_mentions(examples[0])
    near = pipe.candidates([doc], [mentions])
    pairs = {tuple(doc[near.mentions[row, 0]].i for row in pair) for pair in near.pairs}
    # "Butyrate" and "anxiety" of the title are 5 characters apart, its end and "mice" 20 or more
    assert (0, 2) in pairs
    assert not any(abs(head - tail) > 5 for head, tail in pairs)
    pipe.cfg["max_distance"] = None
    assert len(pipe.candidates([doc], [mentions]).pairs) > len(near.pairs)


def test_priors_by_hand():
    nlp, examples = update_once()
    pipe = nlp.get_pipe(NAME)
    schema = pipe.schema
    table = prior_logits(examples, schema, "sc", smoothing=0.5)
    assert (table[~schema.legal] == 0).all()
    docs = [eg.predicted for eg in examples]
    candidates = pipe.candidates(docs, [gold_mentions(eg) for eg in examples])
    gold = pair_targets(examples, candidates, schema, "sc")
    legal = candidates.pair_legal()
    mean = (gold.sum() + 0.5) / (legal.sum() + 1.0)
    triple = ("chemical", "influence", "DDF")
    head, tail = schema.labels.index(triple[0]), schema.labels.index(triple[2])
    predicate = schema.predicates.index(triple[1])
    labels = candidates.mentions[candidates.pairs, 2]
    rows = (labels[:, 0] == head) & (labels[:, 1] == tail)
    rate = (gold[rows, predicate].sum() + 0.5 * mean) / (rows.sum() + 0.5)
    assert table[head, tail, predicate] == pytest.approx(numpy.log(rate / (1 - rate)), rel=1e-4)


def test_calibration_changes_scores_but_no_decision_at_half(tmp_path):
    nlp = make_nlp()
    examples = initialize(nlp)
    train(nlp, examples, 15)
    pipe = nlp.get_pipe(NAME)
    before = [get_relation_rows(nlp(text)) for text, _ in TRAIN]
    held_out = make_examples(nlp)
    found = pipe.calibrate(held_out)
    assert found["temperature"] == pipe.cfg["temperature"] != 1.0
    assert 0.0 <= found["ece_after"] <= found["ece_before"] <= 1.0
    after = [get_relation_rows(nlp(text)) for text, _ in TRAIN]
    assert sum(map(len, before)) > 0
    for rows, others in zip(before, after, strict=True):
        # what is more probable than not stays so
        assert [row[:3] for row in rows] == [row[:3] for row in others]
        order = numpy.argsort([row[3] for row in rows], kind="stable")
        assert numpy.all(numpy.diff([others[i][3] for i in order]) >= -1e-6)
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe(NAME).cfg == pipe.cfg
    with pytest.raises(ValueError, match="no reference holds a relation"):
        pipe.calibrate(held_out[3:])
