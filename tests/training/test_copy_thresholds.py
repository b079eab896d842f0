"""What was tuned on held-out documents, for a pipeline that was trained on them as well."""

import pytest
import spacy

from spacy_bioie.models.span_head import TEMPERATURE, temperature_of
from spacy_bioie.training.copy_thresholds import chosen_settings, copy_thresholds

from ..relation_pipeline import NAME, initialize
from ..relation_pipeline import make_nlp as make_relation_nlp
from ..span_pipeline import make_examples, make_nlp, scores_of

SPANS = "nested_spancat"


@pytest.fixture
def tuned():
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp))
    nlp.get_pipe(SPANS).cfg.update(threshold=0.25, thresholds={"DDF": 0.5})
    nlp.get_pipe(SPANS).model.attrs[TEMPERATURE] = 2.0
    nlp.meta["performance"] = {"spans_sc_f": 0.5}
    return nlp


@pytest.fixture
def refitted():
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


def test_mentions(tuned, refitted):
    found = copy_thresholds(tuned, refitted)
    expected = {"threshold": 0.25, "thresholds": {"DDF": 0.5}, TEMPERATURE: 2.0}
    assert found == {SPANS: expected}
    pipe = refitted.get_pipe(SPANS)
    assert pipe.cfg["threshold"] == 0.25 and pipe.cfg["thresholds"] == {"DDF": 0.5}
    assert temperature_of(pipe.model) == 2.0
    assert refitted.meta["performance"] == {"spans_sc_f": 0.5}
    # the tuned one keeps its own
    pipe.cfg["thresholds"]["DDF"] = 1.0
    assert tuned.get_pipe(SPANS).cfg["thresholds"] == {"DDF": 0.5}


def test_relations_and_links():
    pipelines = []
    for _ in range(2):
        nlp = make_relation_nlp()
        initialize(nlp)
        nlp.add_pipe("faiss_entity_linker")
        pipelines.append(nlp)
    tuned, refitted = pipelines
    tuned.get_pipe(NAME).cfg.update(threshold=0.2, thresholds={"located in": 0.3}, temperature=1.5)
    tuned.get_pipe("faiss_entity_linker").cfg["threshold"] = 0.4
    copy_thresholds(tuned, refitted)
    for name in (NAME, "faiss_entity_linker"):
        assert refitted.get_pipe(name).cfg == tuned.get_pipe(name).cfg
    assert refitted.get_pipe("faiss_entity_linker").cfg["temperature"] == 0.05


def test_saved(tuned, refitted, tmp_path):
    copy_thresholds(tuned, refitted)
    refitted.to_disk(tmp_path)
    final = spacy.load(tmp_path)
    assert final.meta["performance"] == {"spans_sc_f": 0.5}
    text = make_examples(final)[0].text
    # both were made with one seed, so that they differed in what was copied alone
    assert scores_of(final(text)) == pytest.approx(scores_of(tuned(text)))


def test_what_does_not_fit(tuned, refitted):
    tuned.get_pipe(SPANS).cfg["labels"].append("gene")
    with pytest.raises(ValueError, match=r"'nested_spancat': expected the labels .*'gene'"):
        copy_thresholds(tuned, refitted)
    with pytest.raises(ValueError, match="'gene'"):
        chosen_settings(tuned, refitted)
    del tuned.get_pipe(SPANS).cfg["labels"][-1]
    with pytest.raises(ValueError, match=r"expected a NestedSpanCategorizer .*, got none"):
        copy_thresholds(spacy.blank("en"), refitted)
    other = spacy.blank("en")
    other.add_pipe("sentencizer", name=SPANS)
    with pytest.raises(ValueError, match="got a Sentencizer"):
        copy_thresholds(other, refitted)
    with pytest.raises(ValueError, match="finds mentions, links, codes or relations"):
        copy_thresholds(tuned, spacy.blank("en"))
    assert refitted.get_pipe(SPANS).cfg["threshold"] == 0.0
    # what is in the held-out documents alone takes the common threshold
    refitted.get_pipe(SPANS).cfg["labels"].append("gene")
    assert copy_thresholds(tuned, refitted)[SPANS]["threshold"] == 0.25


def test_codes():
    pipelines = [spacy.blank("en") for _ in range(2)]
    tuned, refitted = (nlp.add_pipe("code_linker") for nlp in pipelines)
    tuned.cfg.update(threshold=0.3, temperature=1.5)
    copy_thresholds(*pipelines)
    assert (refitted.cfg["threshold"], refitted.cfg["temperature"]) == (0.3, 1.5)
