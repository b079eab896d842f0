import pytest
from spacy import registry
from spacy.training import Example

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    set_concept_rows,
    set_mentions,
    set_relations,
)
from spacy_bioie.scoring.gutbrainie import PREDICATES, evaluate
from spacy_bioie.scoring.relations import (
    make_relation_scorer,
    relation_keys,
    score_relation_sets,
    score_relations,
)

from .builders import examples

TEXT = "mice with colitis and mice without colitis"
MENTIONS = [
    Mention(0, 1, "animal", "A", "U:mouse"),
    Mention(2, 3, "DDF", "B", "U:colitis"),
    Mention(4, 5, "animal", "C", "U:mouse"),
    Mention(6, 7, "DDF", "D", "U:colitis"),
]
GOLD = [("B", "target", "A", 1.0)]


def example(nlp, gold, pred, mentions=MENTIONS, predicted_mentions=None):
    predicted, reference = nlp.make_doc(TEXT), nlp.make_doc(TEXT)
    set_mentions(reference, "sc", mentions)
    set_mentions(predicted, "sc", mentions if predicted_mentions is None else predicted_mentions)
    for doc, rows in ((reference, gold), (predicted, pred)):
        if rows is not None:
            set_relations(doc, "sc", rows)
    return Example(predicted, reference)


def test_is_registered(nlp):
    scorer = registry.scorers.get("spacy_bioie.relation_scorer.v1")()
    scores = scorer([example(nlp, GOLD, GOLD)], labels=("target",))
    assert all(value == pytest.approx(1.0) for value in scores.values())


def test_right_texts_at_wrong_places(nlp):
    scores = make_relation_scorer()([example(nlp, GOLD, [("D", "target", "C", 0.7)])])
    assert scores["rel_pred_tm_micro_f"] == pytest.approx(1.0)
    assert scores["rel_pred_m_micro_f"] == 0.0
    assert scores["rel_pred_c_micro_f"] == pytest.approx(1.0)


def test_twins_count_once_for_texts_and_apart_for_mentions(nlp):
    twice = [("B", "target", "A", 0.9), ("D", "target", "C", 0.7)]
    scores = make_relation_scorer()([example(nlp, GOLD, twice)])
    assert scores["rel_pred_tm_micro_p"] == pytest.approx(1.0)
    assert scores["rel_pred_m_micro_p"] == pytest.approx(0.5)
    assert scores["rel_pred_m_micro_r"] == pytest.approx(1.0)


def test_unknown_class_counts_strictly_only(nlp):
    more = [*GOLD, ("B", "affect", "D", 0.9)]
    scores = make_relation_scorer()([example(nlp, GOLD, more)])
    for level in ("bt", "tt", "tm"):
        assert scores[f"rel_pred_{level}_micro_p"] == pytest.approx(0.5)
        assert scores[f"rel_pred_{level}_2025_micro_f"] == pytest.approx(1.0)
        assert scores[f"rel_pred_{level}_macro_f"] == pytest.approx(1.0)


def test_head_and_tail_are_not_exchanged(nlp):
    scores = make_relation_scorer()([example(nlp, GOLD, [("A", "target", "B", 1.0)])])
    assert scores["rel_pred_bt_micro_f"] == 0.0


def test_nested_twins_do_not_collide(nlp):
    nested = [Mention(0, 1, "animal", "A"), Mention(0, 1, "food", "B"), Mention(2, 3, "DDF", "C")]
    gold, pred = [("A", "is", "C", 1.0)], [("B", "is", "C", 1.0)]
    scores = make_relation_scorer()([example(nlp, gold, pred, nested)])
    assert scores["rel_pred_m_micro_f"] == scores["rel_pred_tm_micro_f"] == 0.0


def test_corpora_without_relations_or_links(nlp):
    scorer = make_relation_scorer()
    assert set(scorer([]).values()) == {None}
    assert set(scorer([example(nlp, None, GOLD)]).values()) == {None}
    unlinked = [Mention(m.start, m.end, m.label, m.id) for m in MENTIONS]
    scores = scorer([example(nlp, GOLD, GOLD, unlinked, MENTIONS)])
    assert scores["rel_pred_tm_micro_f"] == pytest.approx(1.0)
    assert scores["rel_pred_c_micro_f"] is None
    scores = scorer([example(nlp, GOLD, None)])
    assert scores["rel_pred_tm_micro_f"] == scores["rel_pred_m_micro_f"] == 0.0
    # annotated as a document without relations: every prediction is wrong
    scores = scorer([example(nlp, [], GOLD)])
    assert scores["rel_pred_tm_micro_f"] == 0.0


def test_relations_over_another_group_are_not_scored(nlp):
    assert set(make_relation_scorer("other")([example(nlp, GOLD, GOLD)]).values()) == {None}


def test_keys_of_a_doc(nlp):
    doc = example(nlp, GOLD, GOLD).reference
    assert relation_keys(doc, get_mentions(doc), GOLD) == {
        ("colitis", "DDF", "target", "mice", "animal", 10, 17, 0, 4)
    }
    with pytest.raises(ValueError, match="names a mention that is not among the 4 mentions"):
        relation_keys(doc, get_mentions(doc), [("B", "target", "Z", 1.0)])


def test_sets_under_a_prefix():
    key = ("colitis", "DDF", "target", "mice", "animal", 10, 17, 0, 4)
    scores = score_relation_sets([{key}, set()], [{key}, {key}], "rel_gold")
    assert scores["rel_gold_tm_micro_p"] == pytest.approx(0.5)
    assert scores["rel_gold_m_micro_r"] == pytest.approx(1.0)
    assert "rel_gold_c_micro_f" not in scores
    assert set(score_relation_sets([set()], [set()], "x").values()) == {None}
    with pytest.raises(ValueError, match="got 1 gold and 2 predicted"):
        score_relation_sets([set()], [set(), set()], "x")


def test_same_figures_as_from_files(nlp, dev):
    pred = {}
    for i, (pmid, document) in enumerate(dev.items()):
        records = [dict(record) for record in document["relations"]]
        for j, record in enumerate(records):
            if (i + j) % 5 == 0:
                record["predicate"] = PREDICATES[(i + j) % len(PREDICATES)]
        kept = [record for j, record in enumerate(records) if j % 3]
        pred[pmid] = {"entities": document["entities"], "relations": kept}
    scores = make_relation_scorer()(examples(nlp, dev, pred))
    for level in ("bt", "tt", "tm"):
        strict = evaluate(dev, pred, level, "strict").averages
        official = evaluate(dev, pred, level, "official-2025").averages
        for figure in ("micro_p", "micro_r", "micro_f", "macro_f"):
            value = scores[f"rel_pred_{level}_{figure}"]
            assert value == pytest.approx(strict[figure], abs=1e-12)
        for figure in ("micro_f", "macro_f"):
            value = scores[f"rel_pred_{level}_2025_{figure}"]
            assert value == pytest.approx(official[figure], abs=1e-12)
    for level, task, year in (("tm", "m-re", "2026_"), ("c", "c-re", "2026_"), ("c", "c-re", "")):
        averages = evaluate(dev, pred, task, f"official-{year[:4]}" if year else "strict").averages
        for figure in ("micro_f", "macro_f"):
            value = scores[f"rel_pred_{level}_{year}{figure}"]
            assert value == pytest.approx(averages[figure], abs=1e-12)
    assert 0.3 < scores["rel_pred_tm_micro_f"] < 0.8


def test_relations_that_a_corpus_states_between_concepts(nlp):
    """As in BC5CDR: without labels, over documents whose mentions have no gold relations."""
    text = "aspirin causes ulcers and pain"
    reference, predicted = nlp(text), nlp(text)
    set_concept_rows(reference, [("D1", "CID", "D2"), ("D3", "CID", "D1")])
    spans = [Mention(0, 1, "Chemical", kb_id="D1"), Mention(2, 3, "Disease", kb_id="D2|D3")]
    set_mentions(predicted, "sc", spans)
    set_relations(predicted, "sc", [("T1", "CID", "T2", 0.9)])
    examples = [Example(predicted, reference)]
    scores = score_relations(examples)
    # D1-D2 is right; D1-D3 is not, as it is stated the other way around
    assert scores["rel_pred_c_micro_p"] == pytest.approx(0.5)
    assert scores["rel_pred_c_micro_r"] == pytest.approx(0.5)
    assert scores["rel_pred_tm_micro_f"] is None
    assert score_relations(examples, symmetric=["CID"])["rel_pred_c_micro_f"] == pytest.approx(1)
    assert make_relation_scorer(symmetric=["*"])(examples)["rel_pred_c_micro_f"] == pytest.approx(1)
    assert score_relations(examples, symmetric=["other"])["rel_pred_c_micro_f"] == pytest.approx(
        0.5
    )
