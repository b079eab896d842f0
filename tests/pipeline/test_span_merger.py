import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_mentions, set_mentions, set_relations
from spacy_bioie.pipeline.span_merger import SpanMerger

TEXT = "butyrate of gut bacteria in mice with low mood"
KEYS = ["a", "b", "c"]


def merge(groups, **settings):
    """Merge groups of (start, end, label[, score]); return the same with scores."""
    keys = KEYS[: len(groups)]
    merger = SpanMerger(input_keys=keys, **settings)
    merged = merger.merge(
        [[Mention(*row[:3], score=row[3] if row[3:] else None) for row in rows] for rows in groups]
    )
    return [(m.start, m.end, m.label, round(m.score, 4)) for m in merged]


def places(rows):
    return [row[:3] for row in rows]


A = [(0, 1, "x", 0.9), (2, 4, "x", 0.6), (3, 4, "y", 0.3)]
B = [(2, 4, "x", 0.2), (0, 1, "y", 0.5)]
C = [(2, 4, "x"), (3, 4, "y"), (5, 6, "z")]


def test_union():
    assert merge([A, B, C]) == [
        (0, 1, "x", 0.9),
        (0, 1, "y", 0.5),
        (2, 4, "x", 0.6),
        (3, 4, "y", 0.65),
        (5, 6, "z", 1.0),
    ]


def test_intersection():
    assert merge([A, B, C], method="intersection") == [(2, 4, "x", 0.6)]
    assert merge([A, [], C], method="intersection") == []
    assert merge([A], method="intersection") == merge([A])


def test_vote():
    assert places(merge([A, B, C], method="vote")) == [(2, 4, "x"), (3, 4, "y")]
    assert places(merge([A, B, C], method="vote", min_votes=3)) == [(2, 4, "x")]
    assert merge([A, B, C], method="vote", min_votes=1) == merge([A, B, C])
    # a group has one vote, however often it has the mention
    assert merge([A[:1] * 3, []], method="vote") == []


def test_votes_weighted_by_score():
    assert merge([A, B], weights={"a": 3.0}) == [
        (0, 1, "x", 0.9),
        (0, 1, "y", 0.5),
        (2, 4, "x", 0.5),
        (3, 4, "y", 0.3),
    ]
    weighted = {"weights": {"a": 3.0}, "scores": "all"}
    assert merge([A, B], **weighted) == [
        (0, 1, "x", 0.675),
        (0, 1, "y", 0.125),
        (2, 4, "x", 0.5),
        (3, 4, "y", 0.225),
    ]
    assert places(merge([A, B], min_score=0.45, **weighted)) == [(0, 1, "x"), (2, 4, "x")]
    # what is left out takes no place
    rows = [[(0, 2, "x", 0.3)], [(1, 2, "y", 0.8)]]
    assert places(merge(rows, min_score=0.5, overlap="flat")) == [(1, 2, "y")]


def test_priority():
    a, b = [(0, 2, "x", 0.1), (5, 6, "y", 0.1)], [(1, 3, "x", 0.9), (5, 7, "y", 0.9), (8, 9, "x")]
    assert places(merge([a, b], method="priority")) == [(0, 2, "x"), (5, 6, "y"), (8, 9, "x")]
    assert places(merge([a, b], method="priority", priority={"x": ["b", "a"]})) == [
        (1, 3, "x"),
        (5, 6, "y"),
        (8, 9, "x"),
    ]
    # groups that are not named come last
    assert places(merge([a, b, b], method="priority", priority={"y": ["c"]})) == [
        (0, 2, "x"),
        (5, 7, "y"),
        (8, 9, "x"),
    ]


def test_priority_across_labels():
    """The rank counts, also between labels; within a group mentions may overlap."""
    a, b = [(0, 3, "x"), (1, 2, "y")], [(2, 4, "y")]
    assert places(merge([a, b], method="priority")) == [(0, 3, "x"), (1, 2, "y")]
    # of equal rank: x comes best from a, y from b
    settings = {"method": "priority", "priority": {"y": ["b"]}}
    assert places(merge([a, b], **settings)) == [(0, 3, "x"), (2, 4, "y")]
    # what gave way does not push others out
    rows = [[(0, 2, "x")], [(1, 4, "x")], [(3, 5, "x")]]
    assert places(merge(rows, method="priority")) == [(0, 2, "x"), (3, 5, "x")]


def test_overlap():
    rows = [[(0, 4, "x", 0.5), (1, 2, "y", 0.7), (3, 6, "x", 0.6), (3, 6, "y", 0.6), (7, 8, "y")]]
    assert places(merge(rows)) == places(rows[0])
    assert places(merge(rows, overlap="flat")) == [(1, 2, "y"), (3, 6, "x"), (7, 8, "y")]
    assert places(merge(rows, overlap="nested")) == [
        (1, 2, "y"),
        (3, 6, "x"),
        (3, 6, "y"),
        (7, 8, "y"),
    ]
    # of equal scores the longer one stays, then the first
    assert places(merge([[(0, 2, "x"), (1, 4, "x"), (3, 5, "x")]], overlap="flat")) == [(1, 4, "x")]
    assert places(merge([[(0, 2, "x"), (1, 3, "x")]], overlap="flat")) == [(0, 2, "x")]
    assert merge([[]], overlap="flat") == merge([[], []], method="priority") == []


def test_scores_over_all_groups():
    assert merge([A, B, C], scores="all") == [
        (0, 1, "x", 0.3),
        (0, 1, "y", 0.1667),
        (2, 4, "x", 0.6),
        (3, 4, "y", 0.4333),
        (5, 6, "z", 0.3333),
    ]
    # scores choose: found once with 0.9, found twice with 0.6
    rows = [[(0, 2, "x", 0.6), (1, 3, "x", 0.9)], [(0, 2, "x", 0.6)]]
    assert places(merge(rows, overlap="flat")) == [(1, 3, "x")]
    assert places(merge(rows, overlap="flat", scores="all")) == [(0, 2, "x")]


def test_links_and_offsets():
    groups = [
        [Mention(0, 1, "x", id="T7", char_offsets=(0, 4)), Mention(2, 3, "x", candidates=[])],
        [Mention(0, 1, "x", candidates=[("D", 0.5)]), Mention(2, 3, "x", candidates=[("E", 0.1)])],
        [Mention(0, 1, "x", kb_id="C", candidates=[("C", 0.9)], char_offsets=(0, 3))],
    ]
    first, second = SpanMerger(input_keys=KEYS).merge(groups)
    assert (first.kb_id, first.candidates, first.char_offsets) == ("C", [("C", 0.9)], (0, 4))
    assert (second.kb_id, second.candidates) == ("", [])


@pytest.fixture
def merged(nlp):
    """Two rulers and their merger, which writes to the group of one of them."""
    for key, words in (("sc", ["butyrate", "mice"]), ("ruler", ["mice", "low mood"])):
        ruler = nlp.add_pipe("span_ruler", name=key, config={"spans_key": key})
        ruler.add_patterns([{"label": "entity", "pattern": word} for word in words])
    nlp.add_pipe("span_merger", config={"scores": "all"})
    return nlp


def spans(doc):
    mentions = get_mentions(doc)
    return [(m.id, doc[m.start : m.end].text, m.label, m.score) for m in mentions]


def test_component(merged):
    doc = merged(TEXT)
    assert spans(doc) == [
        ("T1", "butyrate", "entity", 0.5),
        ("T2", "mice", "entity", 1.0),
        ("T3", "low mood", "entity", 0.5),
    ]
    assert [span.text for span in doc.spans["ruler"]] == ["mice", "low mood"]


def test_batch_equals_single_and_two_processes(merged):
    texts = [TEXT, "", "Nothing.", "mice and mice", " "] * 2
    single = [spans(merged(text)) for text in texts]
    assert list(map(len, single)) == [3, 0, 0, 2, 0] * 2
    assert [spans(doc) for doc in merged.pipe(texts)] == single
    assert [spans(doc) for doc in merged.pipe(texts, n_process=2)] == single


def test_empty_document_needs_no_groups(nlp):
    nlp.add_pipe("span_merger")
    assert list(nlp("").spans["sc"]) == []


def test_docbin(merged):
    doc = merged(TEXT)
    (stored,) = DocBin(docs=[doc]).get_docs(merged.vocab)
    assert get_mentions(stored) == get_mentions(doc) != []


def test_settings_survive_a_reload(nlp, tmp_path):
    settings = {
        "input_keys": ["b", "a"],
        "output_key": "out",
        "method": "priority",
        "priority": {"biomedical technique": ["a"], "DDF": ["a", "b"]},
        "overlap": "flat",
        "scores": "all",
    }
    nlp.add_pipe("span_merger", config=settings)
    nlp.to_disk(tmp_path / "pipeline")
    for again in (spacy.load(tmp_path / "pipeline"), spacy.blank("en").from_config(nlp.config)):
        merger = again.get_pipe("span_merger")
        assert {name: getattr(merger, name) for name in settings} == settings
        doc = again.make_doc(TEXT)
        set_mentions(doc, "a", [Mention(0, 2, "DDF", score=0.8)])
        set_mentions(doc, "b", [Mention(1, 3, "DDF"), Mention(4, 5, "x")])
        found = [(s.start, s.end, s.label_) for s in merger(doc).spans["out"]]
        assert found == [(0, 2, "DDF"), (4, 5, "x")]
        assert doc.spans["out"].attrs["scores"].tolist() == pytest.approx([0.4, 0.5])


def test_it_is_scored_and_learns_nothing(merged):
    examples = [Example(merged.make_doc(TEXT), merged(TEXT))]
    patterns = {name: merged.get_pipe(name).patterns for name in ("sc", "ruler")}
    for name, rows in patterns.items():
        merged.config["initialize"]["components"][name] = {"patterns": rows}
    merged.initialize(lambda: examples)
    assert merged.update(examples) == {}
    scores = merged.evaluate(examples)
    assert scores["spans_sc_f"] == 1.0 and scores["ner_strict_micro_f"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"input_keys": []}, r"input_keys is \[\], expected distinct keys, at least one"),
        ({"input_keys": ["a", "a"]}, "expected distinct keys"),
        ({"method": "mean"}, "method is 'mean', expected one of .*'priority'"),
        ({"overlap": "none"}, "overlap is 'none', expected one of .*'nested'"),
        ({"scores": "max"}, "scores is 'max', expected one of .*'found'"),
        ({"weights": {"d": 1.0}}, r"weights\['d'\] is 1.0, expected a weight above 0 of one of"),
        ({"weights": {"a": 0.0}}, r"weights\['a'\] is 0.0"),
        ({"min_score": 1.5}, "min_score is 1.5, expected a probability"),
        ({"method": "vote", "min_votes": 3}, "min_votes is 3, expected 1 to 2"),
        ({"method": "vote", "min_votes": 0}, "min_votes is 0, expected 1 to 2"),
        ({"priority": {"DDF": ["sc", "x"]}}, r"priority of 'DDF' is \['sc', 'x'\], expected"),
        ({"priority": {"DDF": ["sc", "sc"]}}, "priority of 'DDF'.*expected distinct keys"),
    ],
)
def test_bad_settings(nlp, settings, message):
    with pytest.raises(ValueError, match=f"Component 'span_merger': .*{message}"):
        nlp.add_pipe("span_merger", config=settings)


def test_missing_group(nlp):
    nlp.add_pipe("span_merger", name="join")
    doc = nlp.make_doc(TEXT)
    set_mentions(doc, "sc", [])
    message = r"Component 'join': .* no group doc.spans\['ruler'\].*Groups there: \['sc'\]"
    with pytest.raises(ValueError, match=message):
        nlp.get_pipe("join")(doc)


def test_relations_are_not_orphaned(merged):
    doc = merged(TEXT)
    set_relations(doc, "sc", [("T1", "located in", "T2", 1.0)])
    with pytest.raises(ValueError, match=r"relations between the mentions of doc.spans\['sc'\]"):
        merged.get_pipe("span_merger")(doc)
    assert [row.head.text for row in doc._.relations] == ["butyrate"]
