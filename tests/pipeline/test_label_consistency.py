"""The component label_consistency: mentions of one name in a document get one label."""

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    set_mentions,
    set_relations,
    set_tier,
)
from spacy_bioie.pipeline.label_consistency import LabelConsistency
from spacy_bioie.pipeline.linker_reranking import after_rules
from spacy_bioie.training.ensembling import join_spans

NAME = "label_consistency"
TEXT = "Low mood (LM) and gut flora. LM in mice, low-mood in rats and the LM score."


@pytest.fixture
def rules(nlp):
    """Abbreviations and the component, before anything is learned."""
    nlp.add_pipe("abbreviations")
    nlp.add_pipe(NAME)
    return nlp


def make_doc(nlp, rows, text=TEXT, key="sc"):
    """A document with the mentions (text, which of its places, label)."""
    doc = nlp.make_doc(text)
    if nlp.has_pipe("abbreviations"):
        doc = nlp.get_pipe("abbreviations")(doc)
    mentions = []
    for name, place, label in rows:
        start = -1
        for _ in range(place):
            start = text.index(name, start + 1)
        span = doc.char_span(start, start + len(name), alignment_mode="expand")
        mentions.append(Mention(span.start, span.end, label))
    set_mentions(doc, key, mentions)
    return doc


def labels(doc, key="sc"):
    return [m.label for m in get_mentions(doc, key)]


def learn(nlp, *documents):
    docs = [make_doc(nlp, rows, text) for text, rows in documents]
    nlp.get_pipe(NAME).initialize(lambda: [Example(doc, doc) for doc in docs], nlp=nlp)


def test_first_mention_decides(rules):
    rows = [("low-mood", 1, "score"), ("Low mood", 1, "disease"), ("gut flora", 1, "microbiome")]
    doc = rules.get_pipe(NAME)(make_doc(rules, rows))
    assert labels(doc) == ["disease", "disease", "microbiome"]


def test_short_forms_go_with_their_long_forms(rules):
    rows = [("Low mood", 1, "disease"), ("LM", 2, "animal"), ("LM score", 1, "score")]
    doc = make_doc(rules, rows)
    assert labels(rules.get_pipe(NAME)(doc)) == ["disease", "disease", "score"]
    # which nothing but the component before tells
    rules.remove_pipe("abbreviations")
    doc = make_doc(rules, rows)
    assert labels(rules.get_pipe(NAME)(doc)) == ["disease", "animal", "score"]


def test_training_decides_where_it_agrees(rules):
    known = "mice, Mice and mice; flora, flora; rats"
    rows = [("mice", 1, "animal"), ("Mice", 1, "animal"), ("mice", 2, "human")]
    rows += [("flora", 1, "microbiome"), ("flora", 2, "bacteria"), ("rats", 1, "animal")]
    learn(rules, (known, rows), ("LM", [("LM", 1, "score"), ("LM", 1, "score")]))
    found = [("mice", 1, "human"), ("rats", 1, "human"), ("LM", 2, "animal")]
    found += [("Low mood", 1, "disease")]
    component = rules.get_pipe(NAME)
    # two thirds of three are too few, one mention is too few; of a long form that is not known the
    # short form decides
    assert labels(component(make_doc(rules, found))) == ["human", "human", "score", "score"]
    component.cfg["min_share"] = 0.6
    assert labels(component(make_doc(rules, found)))[0] == "animal"
    component.cfg["min_mentions"] = 1
    assert labels(component(make_doc(rules, found)))[1] == "animal"
    component.cfg["min_share"] = 1.01
    assert labels(component(make_doc(rules, found))) == ["human", "human", "disease", "disease"]


def test_known_long_form_decides_before_the_short_form(rules):
    elsewhere = [("LM", i, "score") for i in (1, 2, 3)]
    learn(rules, ("LM LM LM", elsewhere), ("low mood, low mood", [("low mood", 1, "disease")] * 2))
    doc = make_doc(rules, [("Low mood", 1, "animal"), ("LM", 2, "animal")])
    assert labels(rules.get_pipe(NAME)(doc)) == ["disease", "disease"]


def test_tiers_count_by_their_weight(nlp):
    nlp.add_pipe(NAME, config={"tier_weights": {"silver": 0.4, "bronze": 0.0}})
    docs = []
    for tier, label, n in (("silver", "human", 3), ("gold", "animal", 5), ("bronze", "score", 9)):
        docs.append(make_doc(nlp, [("mice", 1, label)] * n))
        set_tier(docs[-1], tier)
    component = nlp.get_pipe(NAME)
    component.initialize(lambda: [Example(doc, doc) for doc in docs], nlp=nlp)
    assert component.counts == {"mice": {"human": pytest.approx(1.2), "animal": 5.0}}
    assert labels(component(make_doc(nlp, [("mice", 1, "human")]))) == ["animal"]


def test_mentions_on_the_same_tokens_keep_their_labels(rules):
    learn(rules, ("mice mice mice", [("mice", i, "animal") for i in (1, 2, 3)]))
    rows = [("Low mood", 1, "disease"), ("Low mood", 1, "score"), ("LM", 2, "animal")]
    doc = make_doc(rules, [*rows, ("mice", 1, "human")])
    assert labels(rules.get_pipe(NAME)(doc)) == ["disease", "score", "animal", "animal"]
    # the same mention twice has one label
    doc = make_doc(rules, [("Low mood", 1, "disease")] * 2 + [("LM", 2, "animal")])
    assert labels(rules.get_pipe(NAME)(doc)) == ["disease"] * 3


def test_blanks_are_no_name(rules):
    doc = rules.make_doc("a  b  c")
    set_mentions(doc, "sc", [Mention(1, 2, "x"), Mention(3, 4, "y")])
    assert [doc[m.start : m.end].text for m in get_mentions(doc)] == [" ", " "]
    assert labels(rules.get_pipe(NAME)(doc)) == ["x", "y"]
    rules.get_pipe(NAME).initialize(lambda: [Example(doc, doc)], nlp=rules)
    assert rules.get_pipe(NAME).counts == {}


def test_all_else_stays(rules):
    doc = rules.make_doc("mice and mice")
    mentions = [
        Mention(0, 1, "animal", id="T7", kb_id="C", score=0.9, candidates=[("C", 0.5)]),
        Mention(2, 3, "human", id="T2", kb_id="D", score=0.4, char_offsets=(8, 13)),
    ]
    set_mentions(doc, "sc", mentions)
    set_relations(doc, "sc", [("T7", "is like", "T2", 0.5)])
    before, relations = get_mentions(doc), get_relation_rows(doc)
    after = get_mentions(rules.get_pipe(NAME)(doc))
    assert [m.label for m in after] == ["animal", "animal"]
    assert [vars(m) | {"label": ""} for m in after] == [vars(m) | {"label": ""} for m in before]
    assert get_relation_rows(doc) == relations and len(doc._.relations) == 1


def test_ids_that_are_shared_and_attributes_stay(nlp):
    ruler = nlp.add_pipe("span_ruler", config={"spans_key": "sc"})
    patterns = {"mice": "animal", "Mice": "human"}
    ruler.add_patterns([{"label": x, "pattern": w, "id": "M:1"} for w, x in patterns.items()])
    component = nlp.add_pipe(NAME)
    with nlp.select_pipes(disable=[NAME]):
        doc = nlp("Mice and mice")
    doc.spans["sc"].attrs["sources"] = ["a", "b"]
    component(doc)
    assert labels(doc) == ["human", "human"]
    assert [span.id_ for span in doc.spans["sc"]] == ["M:1", "M:1"]
    assert doc.spans["sc"].attrs["sources"] == ["a", "b"] and doc.spans["sc"].name == "sc"


def test_rules_over_gold_mentions_leave_them(rules):
    """A component that learns from gold mentions runs the rules before it, but not this one."""
    rules.add_pipe("faiss_entity_linker")
    doc = make_doc(rules, [("Low mood", 1, "disease"), ("LM", 2, "animal")])
    (example,) = after_rules([Example(doc, doc)], rules, "faiss_entity_linker")
    assert labels(example.predicted) == ["disease", "animal"]
    assert len(example.predicted._.abbreviations) == 3


def test_group_is_chosen(nlp):
    nlp.add_pipe(NAME, config={"spans_key": "mine"})
    rows = [("mice", 1, "animal"), ("rats", 1, "animal")]
    doc = make_doc(nlp, rows, key="mine")
    assert labels(nlp.get_pipe(NAME)(doc), "mine") == ["animal", "animal"]
    assert "sc" not in doc.spans


@pytest.mark.parametrize("text", ["", " ", "no mention"])
def test_nothing_to_do(rules, text):
    assert "sc" not in rules(text).spans
    doc = make_doc(rules, [], text)
    assert labels(rules.get_pipe(NAME)(doc)) == []
    rules.get_pipe(NAME).initialize(lambda: [Example(doc, doc)], nlp=rules)
    assert rules.get_pipe(NAME).counts == {}


@pytest.fixture
def pipeline(nlp):
    """A ruler that gives a label to each spelling, and the component, which knows of mice."""
    nlp.add_pipe("abbreviations")
    ruler = nlp.add_pipe("span_ruler", config={"spans_key": "sc"})
    words = {"Low mood": "disease", "LM": "animal", "mice": "human", "low-mood": "score"}
    ruler.add_patterns([{"label": label, "pattern": word} for word, label in words.items()])
    nlp.add_pipe(NAME)
    learn(nlp, ("mice mice", [("mice", 1, "animal"), ("mice", 2, "animal")]))
    return nlp


EXPECTED = ["disease", "disease", "disease", "animal", "disease", "disease"]
TEXTS = [TEXT, "", "LM of mice", TEXT]


def found(docs):
    return [labels(doc) for doc in docs]


def test_batch_equals_single_and_processes(pipeline):
    single = [pipeline(text) for text in TEXTS]
    assert found(single) == [EXPECTED, [], ["animal", "animal"], EXPECTED]
    assert found(pipeline.pipe(TEXTS, batch_size=3)) == found(single)
    assert found(pipeline.pipe(TEXTS, n_process=2)) == found(single)
    stored = DocBin(docs=single, store_user_data=True).to_bytes()
    assert found(DocBin().from_bytes(stored).get_docs(pipeline.vocab)) == found(single)


def test_stands_behind_the_vote_of_an_ensemble(pipeline, tmp_path):
    pipeline.to_disk(tmp_path)
    joined = join_spans([pipeline, spacy.load(tmp_path)])
    assert joined.pipe_names[-3:] == ["span_ruler", "span_vote", NAME]
    assert found(joined.pipe(TEXTS)) == [EXPECTED, [], ["animal", "animal"], EXPECTED]


def test_saved_and_loaded(pipeline, tmp_path):
    pipeline.get_pipe(NAME).cfg["min_mentions"] = 1
    before = pipeline.get_pipe(NAME)
    pipeline.to_disk(tmp_path)
    blank = spacy.blank("en").from_config(pipeline.config)
    assert blank.get_pipe(NAME).counts == {}
    for other in (spacy.load(tmp_path), blank.from_bytes(pipeline.to_bytes())):
        after = other.get_pipe(NAME)
        assert (after.cfg, after.counts) == (before.cfg, {"mice": {"animal": 2}})
        assert found(other.pipe(TEXTS)) == found(pipeline.pipe(TEXTS))


def test_wrong_settings():
    with pytest.raises(ValueError, match="'x': min_mentions is 0, expected more than 0"):
        LabelConsistency("x", min_mentions=0)
    with pytest.raises(ValueError, match=r"'x': tier_weights\['gold'\] is -1, expected 0 or more"):
        LabelConsistency("x", tier_weights={"gold": -1})
    with pytest.raises(ValueError, match=r"'x': min_share is 0.5, expected more than half"):
        LabelConsistency("x", min_share=0.5)
    with pytest.raises(TypeError, match="LabelConsistency.initialize"):
        LabelConsistency("x").initialize(None)
