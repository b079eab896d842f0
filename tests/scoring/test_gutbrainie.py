import pytest

from spacy_bioie.scoring.gutbrainie import LABELS, PREDICATES, evaluate, read_items

from .builders import entities, entity, relation

# measured with the official 2025 script on the 40 documents of dev
PUBLISHED = [
    ("baseline-ner", "ner", "official-2025", "micro_p", 0.7561),
    ("baseline-ner", "ner", "official-2025", "micro_r", 0.8272),
    ("baseline-ner", "ner", "official-2025", "micro_f", 0.7901),
    ("baseline-ner", "ner", "official-2025", "macro_p", 0.6627),
    ("baseline-ner", "ner", "official-2025", "macro_r", 0.7473),
    ("baseline-ner", "ner", "official-2025", "macro_f", 0.6917),
    ("baseline-bt", "bt", "official-2025", "micro_p", 0.6585),
    ("baseline-bt", "bt", "official-2025", "micro_r", 0.4909),
    ("baseline-bt", "bt", "official-2025", "micro_f", 0.5625),
    ("baseline-bt", "bt", "official-2025", "macro_f", 0.4404),
    ("baseline-tt", "tt", "official-2025", "micro_f", 0.5482),
    ("baseline-tt", "tt", "official-2025", "macro_f", 0.4270),
    ("baseline-tm", "tm", "official-2025", "micro_f", 0.3531),
    ("baseline-tm", "tm", "official-2025", "macro_f", 0.2111),
    ("gut-instincts-ner", "ner", "official-2025", "micro_f", 0.8514),
    ("gut-instincts-ner", "ner", "official-2025", "macro_f", 0.7660),
    ("gut-instincts-single", "ner", "official-2025", "micro_f", 0.8362),
    ("gut-instincts-single", "ner", "official-2025", "macro_f", 0.7256),
    ("gut-instincts-tt", "tt", "official-2025", "micro_p", 0.6489),
    ("gut-instincts-tt", "tt", "official-2025", "micro_r", 0.7957),
    ("gut-instincts-tt", "tt", "official-2025", "micro_f", 0.7148),
    ("gut-instincts-tt", "tt", "official-2025", "macro_f", 0.5672),
    ("gut-instincts-tm", "tm", "official-2025", "micro_f", 0.4996),
    ("gut-instincts-tm", "tm", "official-2025", "macro_f", 0.3895),
    ("gut-instincts-tt", "bt", "official-2025", "micro_f", 0.7287),
    ("gut-instincts-tm", "bt", "official-2025", "micro_f", 0.7347),
    ("gut-instincts-tm", "tt", "official-2025", "micro_f", 0.7205),
    ("gut-instincts-tt", "tt", "strict", "micro_f", 0.6816),
    ("gut-instincts-tm", "tm", "strict", "micro_f", 0.4844),
]


@pytest.mark.parametrize("peer, task, rules, figure, expected", PUBLISHED)
def test_published_figures(dev, peers, peer, task, rules, figure, expected):
    report = evaluate(dev, peers[peer], task, rules)
    assert round(report.averages[figure], 4) == expected


@pytest.mark.parametrize("peer, ignored", [("gut-instincts-tt", 25), ("gut-instincts-tm", 39)])
def test_published_numbers_of_ignored_predictions(dev, peers, peer, ignored):
    assert evaluate(dev, peers[peer], peer[-2:]).ignored_predictions == ignored


@pytest.mark.parametrize("task, items", [("bt", 220), ("tt", 230), ("tm", 560), ("c-re", 450)])
def test_gold_items_of_dev_are_sets(dev, task, items):
    total = evaluate(dev, {}, task).total
    assert total.false_negatives == items


@pytest.mark.parametrize("rules", ["official-2025", "official-2026", "strict"])
@pytest.mark.parametrize("task", ["ner", "nerd", "bt", "tt", "tm", "m-re", "c-re"])
def test_gold_against_itself_is_perfect(dev, task, rules):
    averages = evaluate(dev, dev, task, rules).averages
    assert all(value == pytest.approx(1.0) for value in averages.values())


def test_labels_and_predicates():
    assert (len(LABELS), len(PREDICATES)) == (13, 17)


def test_text_has_to_agree():
    gold = entities(entity(0, 3, "rats", "animal"))
    report = evaluate(gold, entities(entity(0, 3, "Rats", "animal")), "ner")
    assert (report.total.true_positives, report.total.false_positives) == (0, 1)


def test_missing_document_loses_recall_only():
    gold = {**entities(entity(0, 3)), "2": {"entities": [entity(5, 9)]}}
    report = evaluate(gold, entities(entity(0, 3)), "ner", "strict")
    assert report.averages["micro_p"] == pytest.approx(1.0)
    assert report.averages["micro_r"] == pytest.approx(0.5)
    assert report.missing_documents == ["2"]


@pytest.mark.parametrize("rules", ["official-2025", "official-2026", "strict"])
def test_extra_document_is_left_out_and_named(rules):
    pred = {**entities(entity(0, 3)), "2": {"entities": [entity(5, 9), "not even a record"]}}
    report = evaluate(entities(entity(0, 3)), pred, "ner", rules)
    assert report.averages["micro_p"] == pytest.approx(1.0)
    assert report.extra_documents == ["2"]


def test_nerd_needs_the_same_uri():
    gold = entities(entity(0, 3, uri="a:1"), entity(5, 9, uri="a:2"))
    report = evaluate(gold, entities(entity(0, 3, uri="a:1"), entity(5, 9, uri="A:2")), "nerd")
    assert report.averages["micro_f"] == pytest.approx(0.5)


FULL = relation("a", "DDF", "target", "b", "human", subject_uri="u:1", object_uri="u:2")
TWIN = relation("c", "DDF", "target", "b", "human", subject_uri="u:1", object_uri="u:2")


@pytest.mark.parametrize("task, items", [("bt", 1), ("tt", 1), ("tm", 2), ("m-re", 2), ("c-re", 1)])
def test_relation_tasks_are_derived_from_relations(task, items):
    document = {"1": {"entities": [], "relations": [FULL, TWIN, FULL]}}
    assert len(read_items(document, task)["1"]) == items


def test_gold_prefers_relations_and_predictions_their_own_list():
    document = {"1": {"relations": [FULL], "ternary_tag_based_relations": []}}
    assert len(read_items(document, "tt", gold=True)["1"]) == 1
    assert len(read_items(document, "tt")["1"]) == 0


def test_gold_of_derived_lists_only():
    gold = {"1": {"ternary_mention_based_relations": [FULL, TWIN]}}
    assert evaluate(gold, gold, "tm", "strict").total.true_positives == 2
    assert evaluate(gold, gold, "bt", "strict").total.true_positives == 1


def test_submitted_duplicates_stay_in_2025():
    record = {"subject_label": "DDF", "object_label": "human"}
    pred = {"1": {"binary_tag_based_relations": [record, record]}}
    report = evaluate({"1": {"relations": [FULL]}}, pred, "bt")
    assert report.averages["micro_r"] == pytest.approx(2.0)
    assert report.duplicate_predictions == 1


def test_per_class_figures():
    gold = entities(entity(0, 3, "a", "DDF"), entity(5, 9, "b", "drug"))
    pred = entities(entity(0, 3, "a", "DDF"), entity(5, 9, "b", "food"))
    strict = evaluate(gold, pred, "ner", "strict")
    assert list(strict.per_class) == ["DDF", "drug", "food"]
    assert strict.per_class["food"].false_positives == 1
    assert list(evaluate(gold, pred, "ner").per_class) == ["DDF", "drug"]
    assert strict.to_dict()["per_class"]["DDF"]["f1"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "document, message",
    [
        ([], r"run\.json: PMID 7: expected an object, found a list"),
        ({"metadata": {}}, r"run\.json: PMID 7: expected the field 'entities'.*found 'metadata'"),
        ({"entities": "x"}, r"PMID 7: field 'entities': expected a list, found a string"),
        ({"entities": [3]}, r"PMID 7: entities\[0\]: expected an object, found a whole number"),
        (
            {"entities": [entity(0, 1), {"start_idx": 1}]},
            r"run\.json: PMID 7: entities\[1\]: field 'end_idx' is missing",
        ),
        (
            {"entities": [entity("0", 1)]},
            r"PMID 7: entities\[0\]: field 'start_idx': expected a whole number, found a string",
        ),
        (
            {"entities": [entity(0, 1, None)]},
            r"entities\[0\]: field 'text_span': expected a string, found null",
        ),
        (
            {"entities": [entity(0, 1, label="ddf")]},
            r"run\.json: PMID 7: entities\[0\]: field 'label': 'ddf' is not one of anatomical",
        ),
        (
            {"entities": [entity(0, 1, location="body")]},
            r"entities\[0\]: field 'location': 'body' is not one of title, abstract",
        ),
    ],
)
def test_errors_name_input_pmid_and_field(document, message):
    gold = {"7": {"entities": [entity(0, 1)]}}
    with pytest.raises(ValueError, match=message):
        evaluate(gold, {"7": document}, "ner", pred_name="run.json")


def test_errors_of_relations():
    gold = {"7": {"relations": [FULL]}}
    wrong = {"7": {"mention_level_relations": [{**FULL, "predicate": "targets"}]}}
    with pytest.raises(ValueError, match=r"mention_level_relations\[0\]: field 'predicate': 'tar"):
        evaluate(gold, wrong, "m-re")
    with pytest.raises(
        ValueError, match=r"PMID 7: expected the field 'concept_level_relations' or"
    ):
        evaluate(gold, {"7": {"entities": []}}, "c-re")
    with pytest.raises(ValueError, match=r"true\.json: PMID 7: expected the field 'entities'"):
        evaluate(gold, {}, "ner", gold_name="true.json")


def test_other_labels_on_request():
    gold = entities(entity(0, 1, label="CHEM"))
    assert evaluate(gold, gold, "ner", check_labels=False).total.true_positives == 1
