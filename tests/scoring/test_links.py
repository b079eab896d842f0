import pytest
from spacy import registry
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.scoring.gutbrainie import evaluate
from spacy_bioie.scoring.links import (
    candidate_recall,
    disambiguation_accuracy,
    make_link_scorer,
    score_candidates,
    score_links,
)

from .builders import examples


def example(nlp, gold, pred):
    predicted, reference = (nlp.make_doc("gut bacteria in mice") for _ in range(2))
    for doc, mentions in ((reference, gold), (predicted, pred)):
        if mentions is not None:
            set_mentions(doc, "sc", [Mention(s, e, label, kb_id=i) for s, e, label, i in mentions])
    return Example(predicted, reference)


def test_candidates():
    ranked = [[("a", 0.9), ("b", 0.5)], [("a", 0.9), ("b", 0.5)], [], [("c", 1.0)]]
    scores = score_candidates(["a", "b", "a", ""], ranked)
    assert scores == {
        "nel_gold_acc1": pytest.approx(1 / 3),
        "nel_gold_acc5": pytest.approx(2 / 3),
        "nel_gold_mrr": pytest.approx(0.5),
    }


def test_best_of_several_gold_concepts_counts():
    ranked = [[("I10", 0.9), ("I50", 0.5)], [("I50", 0.9)], [("I20", 1.0), ("c|DEL|657|5", 0.9)]]
    scores = score_candidates(["I50|I10", "I10|I20", "c|DEL|657|5"], ranked)
    assert scores["nel_gold_acc1"] == pytest.approx(1 / 3)
    assert scores["nel_gold_acc5"] == pytest.approx(2 / 3)


def test_only_five_candidates_count_for_accuracy_at_five():
    ranked = [[(name, 0.0) for name in "abcdef"]]
    assert score_candidates(["e"], ranked)["nel_gold_acc5"] == 1.0
    scores = score_candidates(["f"], ranked, prefix="x")
    assert (scores["x_acc5"], scores["x_mrr"]) == (0.0, pytest.approx(1 / 6))


def test_repeated_candidates_take_one_rank():
    scores = score_candidates(["b"], [[("a", 0.9), ("a", 0.8), ("b", 0.7)]])
    assert scores["nel_gold_mrr"] == 0.5


def test_candidates_without_gold_links():
    assert set(score_candidates(["", ""], [[("a", 1.0)], []]).values()) == {None}
    assert set(score_candidates([], []).values()) == {None}


def test_candidates_of_unequal_length():
    with pytest.raises(ValueError, match="2 gold ids and 1 lists"):
        score_candidates(["a", "b"], [[]])


SETS = [
    [("a", 0.9), ("b", 0.5)],
    [(name, 0.0) for name in "ccdefgh"],
    [("x", 1.0)],
    [],
]


def test_recall_of_candidates():
    recall = candidate_recall(["b", "h", "y", ""], SETS, sizes=(5, 1))
    # h is the sixth distinct candidate
    assert recall == {
        "candidates_recall1": 0.0,
        "candidates_recall5": pytest.approx(1 / 3),
        "candidates_recall": pytest.approx(2 / 3),
    }
    assert set(candidate_recall(["", ""], [[], []]).values()) == {None}
    with pytest.raises(ValueError, match="candidate_recall got 1 gold ids and 0 lists"):
        candidate_recall(["a"], [])


def test_disambiguation_apart_from_recall():
    gold = ["b", "h", "y", "z"]
    assert disambiguation_accuracy(gold, SETS) == 0.0
    chosen = [[("b", 1.0)], [("c", 1.0)], [("y", 1.0)], [("z", 1.0)]]
    # y and z were no candidates: that the choice has them does not count
    assert disambiguation_accuracy(gold, SETS, chosen) == 0.5
    assert disambiguation_accuracy(["y"], [[("x", 1.0)]]) is None
    with pytest.raises(ValueError, match="disambiguation_accuracy got 4 gold ids and 1 lists"):
        disambiguation_accuracy(gold, SETS, chosen[:1])


def test_linked_mentions(nlp):
    scorer = registry.scorers.get("spacy_bioie.entity_linker_scorer.v1")()
    gold = [(0, 2, "bacteria", "U:1"), (3, 4, "animal", "U:2")]
    pred = [(0, 2, "bacteria", "U:1"), (3, 4, "animal", "U:3")]
    scores = scorer([example(nlp, gold, pred)])
    assert scores["nerd_strict_micro_f"] == pytest.approx(0.5)
    assert scores["nerd_strict_macro_f"] == pytest.approx(0.5)
    assert scores["nerd_2026_micro_f"] == pytest.approx(0.5)
    assert all(isinstance(value, float) for value in scores.values())


def test_mentions_without_a_link_agree(nlp):
    gold = [(0, 2, "bacteria", "U:1"), (3, 4, "animal", "")]
    assert make_link_scorer()([example(nlp, gold, gold)])["nerd_strict_micro_f"] == pytest.approx(1)


def test_only_strict_rules_take_another_id_of_a_concept_for_it(nlp):
    gold = [(0, 2, "bacteria", "OLD:1"), (3, 4, "animal", "U:2")]
    pred = [(0, 2, "bacteria", "U:1"), (3, 4, "animal", "U:2")]
    main_ids = {"OLD:1": "U:1"}
    for scores in (
        score_links([example(nlp, gold, pred)], main_id=lambda i: main_ids.get(i, i)),
        make_link_scorer()([example(nlp, gold, pred)], main_id=lambda i: main_ids.get(i, i)),
    ):
        for figure in ("micro_p", "micro_r", "micro_f", "macro_f"):
            assert scores[f"nerd_strict_{figure}"] == pytest.approx(1.0)
        for figure in ("micro_f", "macro_f"):
            assert scores[f"nerd_2026_{figure}"] == pytest.approx(0.5)


def test_corpus_without_links(nlp):
    spans = [(0, 2, "bacteria", "")]
    linked = [(0, 2, "bacteria", "U:1")]
    scorer = make_link_scorer()
    assert set(scorer([example(nlp, spans, linked)]).values()) == {None}
    assert set(scorer([example(nlp, None, linked), example(nlp, [], linked)]).values()) == {None}
    # a document with spans only says nothing about links
    scores = scorer([example(nlp, linked, linked), example(nlp, spans, linked)])
    assert scores["nerd_strict_micro_f"] == pytest.approx(1.0)
    assert scorer([example(nlp, linked, None)])["nerd_strict_micro_f"] == 0.0


def test_same_figures_as_from_files(nlp, dev):
    pred = {}
    for i, (pmid, document) in enumerate(dev.items()):
        records = [dict(record) for record in document["entities"]]
        for j, record in enumerate(records):
            if (i + j) % 4 == 0:
                record["uri"] = "http://example.org/other"
        pred[pmid] = {"entities": records[i % 3 :]}
    scores = make_link_scorer()(examples(nlp, dev, pred))
    for rules in ("official-2026", "strict"):
        averages = evaluate(dev, pred, "nerd", rules).averages
        for figure in ("micro_f", "macro_f"):
            key = f"nerd_{rules.removeprefix('official-')}_{figure}"
            assert scores[key] == pytest.approx(averages[figure], abs=1e-12)
    assert 0.6 < scores["nerd_strict_micro_f"] < 0.8
