"""What the reranker of the component faiss_entity_linker learns from."""

import numpy
import pytest
from spacy.language import Language
from spacy.training import Example

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from spacy_bioie.kb import Concept, build_knowledge_base
from spacy_bioie.kb.candidate_features import FEATURES
from spacy_bioie.models import candidate_reranker
from spacy_bioie.models.candidate_reranker import is_fitted
from spacy_bioie.pipeline import linker_reranking
from spacy_bioie.pipeline.linker_reranking import (
    after_rules,
)
from tests.kb.builders import training_names
from tests.linking_pipeline import candidates, links
from tests.reranking_pipeline import (
    CONCEPTS,
    NAME,
    NEW_STEMS,
    STEMS,
    make_examples,
    make_nlp,
    old_scores,
    start,
    unlinked,
)

pytestmark = pytest.mark.usefixtures("few_mentions_are_enough")


def test_it_learns_from_votes():
    """Names like this one mean the gene: no label says so, and no training mention of the name."""
    nlp = make_nlp(n_search=20)
    linker = nlp.get_pipe(NAME)
    concepts = [Concept(c.concept_id, c.name) for c in CONCEPTS]
    mentions = [
        (f"{word} {stem} cell{end}", "x", f"GENE:{stem}")
        for stem in STEMS + NEW_STEMS
        for word in ("old", "odd", "old, odd")
        for end in ("", "s")
    ]
    names = training_names(*mentions)
    linker.set_kb(lambda vocab: build_knowledge_base(concepts, vocab=vocab, mentions=names)[0])
    docs = []
    for stem in STEMS:
        doc = nlp.make_doc(f"odder {stem} cell")
        set_mentions(doc, "sc", [Mention(0, 3, "x", kb_id=f"GENE:{stem}")])
        docs.append(doc)
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    assert is_fitted(linker.reranker)
    texts = [f"{stem} cell" for stem in NEW_STEMS]
    new = [nlp.make_doc(text) for text in texts]
    for doc in new:
        set_mentions(doc, "sc", [Mention(0, len(doc), "x")])
    assert [row[0][0] for row in linker.kb.search(texts)] == [f"CELL:{s}" for s in NEW_STEMS]
    assert links(nlp.pipe(new)) == [[f"GENE:{stem}"] for stem in NEW_STEMS]


@pytest.mark.parametrize("links", [True, False])
def test_too_few_links_do_not_fit_it(links, monkeypatch):
    # there are 16 links, none of which counts where documents have mentions only
    monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 17 if links else 1)
    nlp = make_nlp(no_link=True)
    with pytest.warns(UserWarning, match="no_link is true, but there is no reranker that has been"):
        linker = start(nlp, make_examples(nlp, links=links))
    assert not is_fitted(linker.reranker)
    assert candidates(nlp.pipe(unlinked(nlp))) == old_scores(nlp)
    if links:
        monkeypatch.setattr(linker_reranking, "MIN_MENTIONS", 16)
        assert is_fitted(start(nlp).reranker)


def test_documents_are_looked_up_without_what_they_say(monkeypatch):
    """A name of one document alone is new to the reranker, one of two documents is not."""
    seen = {}

    def spy(model, features, groups, gold, **settings):
        seen.update(features=features, groups=groups, gold=gold)

    monkeypatch.setattr(candidate_reranker, "fit_reranker", spy)
    columns = [FEATURES.index(name) for name in ("evidence", "log_equal", "log_label_count")]

    def said(stems):
        nlp = make_nlp()
        examples = make_examples(nlp, stems)
        mentions = [
            (eg.reference[m.start : m.end].text, m.label, m.kb_id)
            for eg in examples
            for m in get_mentions(eg.reference)
        ]
        linker = start(nlp, examples, mentions)
        assert linker.kb.training_mentions(f"GENE:{stems[0]}") > 0
        assert (numpy.diff(seen["groups"]) >= 0).all()
        assert seen["groups"].tolist()[-1] == 2 * len(stems) - 1
        # each mention has one right row, a candidate or the choice of no link
        right = numpy.bincount(seen["groups"], weights=seen["gold"])
        assert right.tolist() == [1] * 2 * len(stems)
        return (seen["features"][seen["gold"]][:, columns] > 0).any(axis=0).tolist()

    assert said(STEMS) == [False, False, False]
    # five folds of one document each
    assert said(STEMS[:4] + STEMS[:1]) == [True, True, True]


@Language.component("uppercase_note")
def uppercase_note(doc):
    doc.user_data["note"] = doc.text.upper()
    return doc


@Language.component("reader_of_mentions", requires=["doc.spans"])
def reader_of_mentions(doc):
    raise AssertionError("a component that needs mentions was run")


def test_rules_before_it_are_run_on_copies():
    nlp = make_nlp()
    nlp.add_pipe("uppercase_note", first=True)
    nlp.add_pipe("tagger", first=True)
    # these would raise an error: what they need is not there
    nlp.add_pipe("span_merger", before=NAME)
    nlp.add_pipe("reader_of_mentions", before=NAME)
    nlp.add_pipe("reader_of_mentions", name="after", last=True)
    examples = make_examples(nlp, STEMS[:2])
    found = after_rules(examples, nlp, NAME)
    assert [eg.predicted.user_data["note"] for eg in found] == [eg.text.upper() for eg in examples]
    assert all(eg.reference is old.reference for eg, old in zip(found, examples, strict=True))
    for eg in examples:
        assert "note" not in eg.predicted.user_data and not eg.predicted.spans
    found = after_rules(examples, None, NAME)
    assert all("note" not in eg.predicted.user_data for eg in found)


def test_it_learns_with_abbreviations_expanded(monkeypatch):
    seen = []
    find = linker_reranking.find_mention_candidates

    def spy(kb, docs, *args, **kwargs):
        seen.extend(docs)
        return find(kb, docs, *args, **kwargs)

    monkeypatch.setattr(linker_reranking, "find_mention_candidates", spy)
    # names of the knowledge base or nothing: the short form alone finds no concept
    nlp = make_nlp(n_search=0)
    nlp.add_pipe("abbreviations", first=True)
    examples = []
    for stem in STEMS:
        doc = nlp.make_doc(f"{stem} cell ( {stem[0].upper()}C ) and {stem[0].upper()}C again")
        set_mentions(doc, "sc", [Mention(6, 7, "cell", kb_id=f"CELL:{stem}")])
        examples.append(Example(nlp.make_doc(doc.text), doc))
    linker = start(nlp, examples)
    assert is_fitted(linker.reranker)
    assert len(seen) == len(STEMS) and all(doc._.abbreviations for doc in seen)
    for eg in examples:
        assert not eg.predicted._.abbreviations and not eg.predicted.user_data
    nlp = make_nlp(n_search=0)
    assert not is_fitted(start(nlp, examples).reranker)
