"""Mentions for training documents from pipelines that did not see them."""

import json

import pytest
import spacy
from spacy.tokens import Doc, DocBin
from thinc.api import Config

from spacy_bioie.annotation import (
    Mention,
    get_mentions,
    get_relation_rows,
    set_mentions,
    set_tier,
)
from spacy_bioie.training import cross_fitting
from spacy_bioie.training.cross_fitting import assign_folds, cross_fit

from .. import relation_pipeline  # noqa: F401  (registers mark_words)
from ..pipelines import ARTICLES, make_pipeline, make_reference, training_config


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A config and a corpus in which each article is there twice."""
    folder = tmp_path_factory.mktemp("corpus")
    nlp = make_pipeline("", heads=["nested_spancat"])
    docs = [make_reference(nlp, article) for article in (*ARTICLES, *ARTICLES)]
    for i, doc in enumerate(docs):
        doc.user_data["number"] = i
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "train.spacy")
    config = training_config(
        nlp, str(folder / "train.spacy"), max_steps=6, eval_frequency=3, score_weights={}
    )
    config.to_disk(folder / "spans.cfg")
    return folder / "spans.cfg", folder / "train.spacy"


def read(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def spans(doc, key="sc"):
    return [(m.start, m.end, m.label) for m in get_mentions(doc, key)]


def test_folds():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(f"Text {i % 20}") for i in range(40)]
    for i, doc in enumerate(docs):
        set_tier(doc, "gold" if i % 20 < 8 else "silver")
    folds = assign_folds(docs, 4, seed=3)
    assert folds[:20] == folds[20:]  # equal texts stay together
    for tier, n in ((range(8), 2), (range(8, 20), 3)):
        assert [sum(folds[i] == fold for i in tier) for fold in range(4)] == [n] * 4
    assert assign_folds(docs, 4, seed=3) == folds != assign_folds(docs, 4, seed=4)
    for folds in (1, 21):
        with pytest.raises(ValueError, match=f"{folds} folds of 20 different documents"):
            assign_folds(docs, folds)


def test_each_document_is_labelled_by_a_pipeline_that_did_not_see_it(files, tmp_path, monkeypatch):
    config, corpus = files
    seen, labelled = [], []

    def watch_training(folder, docs, *arguments):
        seen.append({doc.text for doc in docs})
        return trained(folder, docs, *arguments)

    def watch_labels(nlp, docs, *arguments):
        labelled.append({doc.text for doc in docs})
        return find(nlp, docs, *arguments)

    trained, find = cross_fitting._trained, cross_fitting._find_mentions
    monkeypatch.setattr(cross_fitting, "_trained", watch_training)
    monkeypatch.setattr(cross_fitting, "_find_mentions", watch_labels)
    result = cross_fit(config, corpus, tmp_path / "out.spacy", folds=2)
    assert set.union(*labelled) == {article.text for article in ARTICLES}
    assert all(not (own & other) for own, other in zip(seen, labelled, strict=True))
    before, after = read(corpus), read(tmp_path / "out.spacy")
    assert [doc.user_data["number"] for doc in after] == list(range(len(before)))
    for doc, other in zip(before, after, strict=True):
        assert spans(other) == spans(doc) and other.text == doc.text
        assert get_relation_rows(other) == get_relation_rows(doc)
        assert "sc_predicted" in other.spans
    found = [spans(doc, "sc_predicted") for doc in after]
    assert found[: len(ARTICLES)] == found[len(ARTICLES) :]
    assert result["documents"] == len(before) and result["folds"] == 2
    assert result["gold"] == sum(len(spans(doc)) for doc in before)
    assert result["predicted"] == sum(map(len, found)) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.spacy"]


def test_goes_on_where_it_was_broken_off(files, tmp_path, monkeypatch):
    config, corpus = files
    output, work = tmp_path / "out.spacy", tmp_path / "out.spacy.folds"
    train = cross_fitting.train
    calls = []

    def fail_at_the_second(*arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **settings)

    monkeypatch.setattr(cross_fitting, "train", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        cross_fit(config, corpus, output, folds=2)
    assert not output.exists()
    assert {"fold_0.json", "run.json"} <= {path.name for path in work.iterdir()}
    first = json.loads((work / "fold_0.json").read_text(encoding="utf8"))
    for change in ({"folds": 3}, {"seed": 1}, {"overrides": {"training.max_steps": 5}}):
        with pytest.raises(ValueError, match="holds the folds of a run with another"):
            cross_fit(config, corpus, output, **{"folds": 2, **change})
    result = cross_fit(config, corpus, output, folds=2)
    assert result["folds"] == 1 and len(calls) == 3 and not work.exists()
    docs = read(output)
    assigned = assign_folds(docs, 2)
    held_out = [doc for doc, fold in zip(docs, assigned, strict=True) if fold == 0]
    assert [spans(doc, "sc_predicted") for doc in held_out] == [
        [tuple(row[:3]) for row in rows] for rows in first
    ]


def test_mentions_come_back_to_the_tokens_of_the_reference():
    nlp = spacy.blank("en")
    nlp.add_pipe("mark_words")
    reference = Doc(nlp.vocab, words=["Mi", "ce", "and", "ra", "ts"], spaces=[0, 1, 1, 0, 0])
    other = Doc(nlp.vocab, words=["the", "gutless", "gut"])
    rows = cross_fitting._find_mentions(nlp, [reference, other], "sc", False)
    found = [[Mention(*row) for row in json.loads(json.dumps(document))] for document in rows]
    borders = [[(m.start, m.end, m.label) for m in document] for document in found]
    assert borders == [[(0, 2, "animal"), (3, 5, "animal")], [(2, 3, "anatomical location")]]
    set_mentions(reference, "found", found[0], keep_ids=False)
    assert [span.text for span in reference.spans["found"]] == ["Mice", "rats"]


def test_overrides_reach_the_training(files, tmp_path, monkeypatch):
    config, corpus = files
    steps = []
    train = cross_fitting.train

    def watch(nlp, *arguments, **settings):
        steps.append(nlp.config["training"]["max_steps"])
        return train(nlp, *arguments, **settings)

    monkeypatch.setattr(cross_fitting, "train", watch)
    overrides = {"training.max_steps": 1, "training.eval_frequency": 1}
    settings = {"folds": 2, "predicted_key": "found", "overrides": overrides}
    cross_fit(config, corpus, tmp_path / "out.spacy", **settings)
    assert steps == [1, 1]
    assert all("found" in doc.spans for doc in read(tmp_path / "out.spacy"))


def test_errors(files, tmp_path):
    config, corpus = files
    output = tmp_path / "out.spacy"
    with pytest.raises(ValueError, match="predicted_key is 'sc', the key of the gold mentions"):
        cross_fit(config, corpus, output, predicted_key="sc")
    with pytest.raises(ValueError, match="5 folds of 4 different documents"):
        cross_fit(config, corpus, output)
    with pytest.raises(OSError, match="absent"):
        cross_fit(tmp_path / "absent.cfg", corpus, output, folds=2)
    with pytest.raises(OSError, match="absent"):
        cross_fit(config, tmp_path / "absent.spacy", output, folds=2)
    (tmp_path / "wrong.spacy").write_text("no corpus", encoding="utf8")
    with pytest.raises(ValueError, match="wrong.spacy.*expected a complete DocBin"):
        cross_fit(config, tmp_path / "wrong.spacy", output, folds=2)
    other = Config().from_disk(config, interpolate=False)
    del other["corpora"]["train"]["path"]
    other.to_disk(tmp_path / "other.cfg")
    with pytest.raises(ValueError, match=r"\[corpora.train\] has no setting 'path'"):
        cross_fit(tmp_path / "other.cfg", corpus, output, folds=2)
    assert not output.exists() and not (tmp_path / "out.spacy.folds").exists()
