"""Raw texts that a pipeline labels, and what is learned from them."""

import json
import os
import threading

import pytest
import spacy
from spacy.language import Language
from spacy.training import Corpus

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    get_tier,
    set_mentions,
    set_relations,
)
from spacy_bioie.formats import FormatError, read_docbin
from spacy_bioie.tokenization import EnglishTokenizer_v1
from spacy_bioie.training.ensembling import join_spans
from spacy_bioie.training.pseudo_labels import PROVENANCE_KEY, Confidence, write_pseudo_labels

from ..rule_pipeline import LABELS
from ..span_pipeline import make_nlp

SCORES = {"butyrate": 0.9, "mice": 0.5, "gut": 0.3}
TEXTS = [
    ("1", "Butyrate", "Butyrate alone."),  # .9 .9
    ("2", "Butyrate of mice", "Nothing else."),  # .9 .5
    ("3", "Gut of mice", "Butyrate."),  # .3 .5 .9
    ("4", "Nothing", "at all."),
    ("5", "Gut", "Of the gut."),  # .3 .3
]


@Language.component("find_with_scores")
def find_with_scores(doc):
    """The words of SCORES; the first mention influences all others."""
    words = [(t, SCORES[t.lower_]) for t in doc if t.lower_ in SCORES]
    found = [Mention(t.i, t.i + 1, LABELS[t.lower_], kb_id="C1", score=score) for t, score in words]
    found = set_mentions(doc, "sc", found)
    rows = [(found[0].id, "influence", m.id, m.score) for m in found[1:]]
    set_relations(doc, "sc", rows)
    return doc


def make_labeller(component="find_with_scores"):
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    nlp.meta["name"], nlp.meta["version"] = "labeller", "1.2.3"
    nlp.add_pipe(component)
    return nlp


@pytest.fixture
def texts(tmp_path):
    rows = [{"pmid": i, "title": title, "abstract": abstract} for i, title, abstract in TEXTS]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    return path


def label(texts, nlp=None, **settings):
    """The counts, and the documents by id."""
    nlp = nlp or make_labeller()
    output = (texts if not isinstance(texts, list) else texts[0]).with_name("out.spacy")
    confidence = {
        key: settings.pop(key) for key in list(settings) if key in Confidence.__annotations__
    }
    counts = write_pseudo_labels(
        nlp, texts, output, confidence=Confidence(**confidence), **settings
    )
    docs = list(read_docbin(output, nlp.vocab))
    return counts, {doc.user_data["bioie_meta"]["id"]: doc for doc in docs}


def labels_of(docs):
    return {i: [m.label for m in get_mentions(doc)] for i, doc in docs.items()}


def test_what_is_written(texts):
    counts, docs = label(texts)
    assert list(docs) == ["1", "2", "3", "5"] and counts.empty == 1
    assert (counts.read, counts.written, counts.mentions, counts.relations) == (5, 4, 9, 5)
    assert counts.by_label == {"chemical": 4, "animal": 2, "anatomical location": 3}
    doc = docs["2"]
    assert get_tier(doc) == doc._.tier == "pseudo"
    expected = {"pipeline": "en_labeller 1.2.3", "min_score": 0.0, "unsure": "documents"}
    assert doc.user_data[PROVENANCE_KEY].items() >= expected.items()
    first, second = get_mentions(doc)
    assert (first.kb_id, second.score) == ("C1", pytest.approx(0.5))
    assert get_relation_rows(doc) == [("T1", "influence", "T2", 0.5)]
    assert [section.name for section in doc._.sections] == ["title", "abstract"]


def test_filters(texts):
    counts, docs = label(texts, min_score=0.4)
    assert list(docs) == ["1", "2"] and (counts.unsure, counts.unsure_mentions) == (2, 0)
    counts, docs = label(texts, min_score=0.4, unsure="spans")
    assert labels_of(docs)["3"] == ["animal", "chemical"] and list(docs) == ["1", "2", "3"]
    assert (counts.unsure, counts.unsure_mentions, counts.empty) == (0, 1, 2)
    # the relation of the mention that was left out went with it
    assert get_relation_rows(docs["3"]) == []
    counts, docs = label(texts, min_score=0.4, unsure="spans", keep_empty=True)
    assert labels_of(docs)["5"] == labels_of(docs)["4"] == [] and counts.written == 5
    counts, docs = label(texts, min_mean=0.6)
    assert list(docs) == ["1", "2"] and (counts.low_mean, counts.empty) == (2, 1)
    counts, docs = label(texts, min_relation=0.8)
    assert (counts.relations, counts.unsure_relations) == (2, 3)
    assert get_relation_rows(docs["2"]) == []


def test_documents_are_chosen(texts):
    counts, docs = label([texts, texts], exclude_documents=["1"], tier="silver_2")
    assert list(docs) == ["2", "3", "5"] and {get_tier(doc) for doc in docs.values()} == {
        "silver_2"
    }
    assert (counts.read, counts.excluded, counts.repeated) == (10, 2, 4)
    counts, docs = label(texts, limit=2)
    assert list(docs) == ["1", "2"]


def test_texts_are_read_one_after_the_other(texts):
    path = texts.with_name("pipe.jsonl")
    os.mkfifo(path)
    seen, first_done = [], threading.Event()

    def write():
        # the rest is written only when the first batch has been labelled
        with path.open("w", encoding="utf8", buffering=1) as file:
            lines = texts.read_text(encoding="utf8").split("\n")
            file.write("\n".join(lines[:2]) + "\n" + " " * 2**17 + "\n")
            seen.append(first_done.wait(timeout=30))
            file.write("\n".join(lines[2:]))

    nlp = make_labeller()
    Language.component("tell", func=lambda doc: (first_done.set(), doc)[1])
    nlp.add_pipe("tell")
    thread = threading.Thread(target=write)
    thread.start()
    counts, _ = label(path, nlp, batch_size=1)
    thread.join()
    assert seen == [True] and counts.written == 4


def test_several_processes_write_the_same(texts):
    expected = labels_of(label(texts)[1])
    assert labels_of(label(texts, n_process=2, batch_size=2)[1]) == expected


def test_pipelines_vote(texts):
    rules = spacy.blank("en")
    rules.tokenizer = EnglishTokenizer_v1()(rules)
    patterns = [{"label": "chemical", "pattern": [{"LOWER": "butyrate"}]}]
    rules.add_pipe("span_ruler", config={"spans_key": "sc"}).add_patterns(patterns)
    others = [spacy.blank("en") for _ in range(2)]
    for nlp, word in zip(others, ("butyrate", "nothing"), strict=True):
        nlp.tokenizer = EnglishTokenizer_v1()(nlp)
        pattern = [{"label": "chemical", "pattern": [{"LOWER": word}]}]
        nlp.add_pipe("span_ruler", config={"spans_key": "sc"}).add_patterns(pattern)
    nlp = join_spans([rules, *others], merge="vote")
    counts, docs = label(texts, nlp, min_score=0.5)
    assert list(docs) == ["1", "2", "3"] and counts.by_label == {"chemical": 4}
    assert list(docs["1"].spans) == ["sc"]  # no traces of the members


def test_another_pipeline_learns_from_them(texts):
    label(texts)
    nlp = make_nlp(tier_weights={"pseudo": 0.5})
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    examples = list(Corpus(texts.with_name("out.spacy"))(nlp))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    doc = nlp("Butyrate of mice\nNothing else.")
    assert [(s.text, s.label_) for s in doc.spans["sc"]] == [
        ("Butyrate", "chemical"),
        ("mice", "animal"),
    ]


def test_nothing_is_written_after_an_error(texts, tmp_path):
    output = tmp_path / "out.spacy"
    with texts.open("a", encoding="utf8") as file:
        file.write('\n{"title": 1}')
    with pytest.raises(FormatError, match="texts.jsonl: line 6: title"):
        write_pseudo_labels(make_labeller(), texts, output)
    with pytest.raises(ValueError, match="out.spacy: of 1 documents none is left"):
        (tmp_path / "one.jsonl").write_text('{"text": "x"}', encoding="utf8")
        write_pseudo_labels(make_labeller(), tmp_path / "one.jsonl", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.jsonl", "texts.jsonl"]


def test_settings(texts, tmp_path):
    for settings, message in (
        ({"unsure": "drop"}, "unsure is 'drop', expected one of spans, documents"),
        ({"min_mean": 1.5}, "min_mean is 1.5, expected a probability"),
    ):
        with pytest.raises(ValueError, match=message):
            Confidence(**settings)
    with pytest.raises(ValueError, match="tier is empty"):
        write_pseudo_labels(make_labeller(), texts, tmp_path / "out.spacy", tier="")
    rules = spacy.blank("en")
    pattern = [{"label": "chemical", "pattern": [{"LOWER": "butyrate"}]}]
    rules.add_pipe("span_ruler", config={"spans_key": "sc"}).add_patterns(pattern)
    with pytest.raises(ValueError, match="'Butyrate.*have no scores to filter by"):
        label(texts, rules, min_score=0.5)
    assert label(texts, rules)[0].written == 3
