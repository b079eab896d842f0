import pytest
from spacy import registry
from spacy.training import Example

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.scoring.gutbrainie import evaluate
from spacy_bioie.scoring.spans import make_span_scorer, span_items

from .builders import examples

TEXT = "Gut bacteria in mice\nHuman gut bacteria change ."


def example(nlp, gold, pred, key="sc", text=TEXT):
    predicted, reference = nlp.make_doc(text), nlp.make_doc(text)
    for doc, mentions in ((reference, gold), (predicted, pred)):
        if mentions is not None:
            set_mentions(doc, key, [Mention(*mention) for mention in mentions])
    return Example(predicted, reference)


def test_is_registered():
    scorer = registry.scorers.get("spacy_bioie.nested_spancat_scorer.v1")()
    assert scorer([])["spans_sc_f"] is None


def test_nested_mentions(nlp):
    gold = [(0, 2, "bacteria"), (0, 1, "anatomy"), (3, 4, "animal")]
    scores = make_span_scorer()([example(nlp, gold, gold[:2])])
    assert scores["spans_sc_p"] == pytest.approx(1.0)
    assert scores["spans_sc_r"] == pytest.approx(2 / 3)
    assert scores["ner_strict_micro_f"] == pytest.approx(0.8)
    assert scores["ner_strict_macro_f"] == pytest.approx(2 / 3)
    assert set(scores["spans_sc_per_type"]) == {"bacteria", "anatomy", "animal"}
    # of the nested pair the 2026 rules keep the longer prediction
    assert scores["ner_2026_micro_f"] == pytest.approx(0.5)


def test_duplicate_predictions(nlp):
    gold = [(0, 2, "bacteria"), (3, 4, "animal")]
    scores = make_span_scorer()([example(nlp, gold, [gold[0]] * 3)])
    assert scores["spans_sc_f"] == pytest.approx(2 / 3)
    assert scores["ner_strict_micro_f"] == pytest.approx(2 / 3)
    assert scores["ner_2025_micro_f"] == pytest.approx(2 * 1 * 1.5 / 2.5)
    assert scores["ner_2026_micro_f"] == pytest.approx(2 / 3)


def test_unknown_class_counts_strictly_only(nlp):
    scores = make_span_scorer()([example(nlp, [(0, 2, "a")], [(0, 2, "a"), (3, 4, "b")])])
    assert scores["ner_2025_micro_f"] == pytest.approx(1.0)
    assert scores["ner_strict_micro_p"] == pytest.approx(0.5)
    assert scores["spans_sc_p"] == pytest.approx(0.5)


def test_figures_are_none_where_nothing_is_annotated(nlp):
    scores = make_span_scorer()([example(nlp, None, [(0, 2, "a")])])
    assert set(scores.values()) == {None}
    scores = make_span_scorer()([example(nlp, [], [])])
    assert set(scores.values()) == {None}
    scores = make_span_scorer()([example(nlp, [(0, 2, "a")], None)])
    assert scores["ner_strict_micro_f"] == scores["ner_2025_micro_f"] == scores["spans_sc_f"] == 0


def test_documents_without_annotation_are_left_out(nlp):
    both = [example(nlp, [(0, 2, "a")], [(0, 2, "a")]), example(nlp, None, [(0, 2, "a")])]
    scores = make_span_scorer()(iter(both))
    assert scores["ner_strict_micro_p"] == pytest.approx(1.0)
    assert scores["spans_sc_p"] == pytest.approx(1.0)


def test_key_of_the_component_wins(nlp):
    scores = make_span_scorer("sc")(
        [example(nlp, [(0, 2, "a")], [(0, 2, "a")], key="other")], spans_key="other", labels=("a",)
    )
    assert scores["spans_other_f"] == pytest.approx(1.0)
    assert scores["ner_strict_micro_f"] == pytest.approx(1.0)


def test_figures_of_a_pipeline(nlp):
    config = {
        "spans_key": "sc",
        "scorer": {"@scorers": "spacy_bioie.nested_spancat_scorer.v1"},
    }
    ruler = nlp.add_pipe("span_ruler", config=config)
    ruler.add_patterns([{"label": "bacteria", "pattern": "Gut bacteria"}])
    scores = nlp.evaluate([example(nlp, [(0, 2, "bacteria"), (3, 4, "bacteria")], None)])
    assert scores["spans_sc_r"] == pytest.approx(0.5)
    assert scores["ner_2025_micro_f"] == pytest.approx(2 / 3)


def test_items_have_section_offsets_and_exact_characters(nlp):
    doc = nlp.make_doc(TEXT)
    set_mentions(
        doc,
        "sc",
        [
            Mention(0, 2, "bacteria"),
            Mention(5, 6, "human", kb_id="U:1"),
            Mention(3, 4, "animal", char_offsets=(16, 19)),
            Mention(3, 6, "across"),
        ],
    )
    assert span_items(doc, links=True) == [
        (0, 11, "title", "Gut bacteria", "bacteria", ""),
        (0, 4, "abstract", "Human", "human", "U:1"),
        (16, 18, "title", "mic", "animal", ""),
        (16, 25, "", "mice\nHuman", "across", ""),
    ]
    assert span_items(nlp.make_doc("")) == []


@pytest.mark.parametrize("peer", ["baseline-ner", "gut-instincts-ner", "gut-instincts-single"])
def test_same_figures_as_from_files(nlp, dev, peers, peer):
    pred = _with_texts_of(dev, peers[peer])
    scores = make_span_scorer()(examples(nlp, dev, pred))
    for rules in ("official-2025", "official-2026", "strict"):
        averages = evaluate(dev, pred, "ner", rules).averages
        for figure in ("micro_f", "macro_f"):
            key = f"ner_{rules.removeprefix('official-')}_{figure}"
            assert scores[key] == pytest.approx(averages[figure], abs=1e-12), key
    assert scores["spans_sc_f"] == pytest.approx(scores["ner_strict_micro_f"], abs=0.003)


def _with_texts_of(gold, pred):
    # two texts of the baseline differ from the article at their offsets; a Doc cannot say so
    out = {}
    for pmid, document in pred.items():
        sections = gold[pmid]["metadata"]
        out[pmid] = {
            "entities": [
                {**r, "text_span": sections[r["location"]][r["start_idx"] : r["end_idx"] + 1]}
                for r in document["entities"]
            ]
        }
    return out
