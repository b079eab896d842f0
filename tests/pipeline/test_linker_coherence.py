"""One concept for the mentions of one text, by the component faiss_entity_linker."""

import numpy

from spacy_bioie.annotation import Mention, get_mentions, set_mentions
from tests.linking_pipeline import candidates, links, make_nlp, pipe, start

MARKS = "depression one , depression two , depression three ."


def coherent_nlp(monkeypatch, by_place, coherence=True, **settings):
    """A linker whose contexts say what is written here, for each mention the cosine with C1, C3."""
    settings = {"coherence": coherence, "n_search": 0, **settings}
    nlp = make_nlp(context_weight=1.0, prior_weight=0.0, **settings)
    start(nlp)
    kb = nlp.get_pipe("faiss_entity_linker").kb

    def stub(model, kb_, docs, mentions, pairs, component):
        rows = [by_place[mention.start] for row in mentions for mention in row]
        columns = {kb.tables.concept_row("C1"): 0, kb.tables.concept_row("C3"): 1}
        found = zip(pairs.mentions.tolist(), pairs.concepts.tolist(), strict=True)
        return numpy.asarray([rows[i][columns[concept]] for i, concept in found])

    monkeypatch.setattr("spacy_bioie.pipeline.faiss_entity_linker.context_cosines", stub)
    return nlp


def marked(nlp, labels=("thing",) * 3):
    doc = nlp.make_doc(MARKS)
    places = [token.i for token in doc if token.text == "depression"]
    set_mentions(
        doc, "sc", [Mention(i, i + 1, label) for i, label in zip(places, labels, strict=True)]
    )
    return doc


SURE, UNSURE, OPPOSED = (0.9, -0.9), (0.50, 0.51), (0.0, 1.0)


def test_mentions_of_one_text_get_one_concept_unless_contexts_disagree(monkeypatch):
    contexts = {0: SURE, 3: UNSURE, 6: OPPOSED}
    nlp = coherent_nlp(monkeypatch, contexts)
    (found,) = candidates([nlp(marked(nlp))])
    assert [row[0][0] for row in found] == ["C1", "C1", "C3"]
    assert all(row == sorted(row, key=lambda pair: -pair[1]) for row in found)
    assert all(0 <= score <= 1 for row in found for _, score in row)
    # mentions of another label or another document have no part in it
    assert links([nlp(marked(nlp, ("thing", "other", "more")))]) == [["C1", "C3", "C3"]]
    separate = [marked(nlp) for _ in range(3)]
    for doc, mention in zip(separate, get_mentions(separate[0]), strict=True):
        set_mentions(doc, "sc", [mention])
    assert links(pipe(nlp, separate)) == [["C1"], ["C3"], ["C3"]]
    without = coherent_nlp(monkeypatch, contexts, coherence=False)
    assert links([without(marked(without))]) == [["C1", "C3", "C3"]]


def test_coherence_margin_says_what_disagreement_is(monkeypatch):
    contexts = {0: SURE, 3: SURE, 6: OPPOSED}
    for margin, last in ((0.0, "C3"), (1.0, "C1")):
        nlp = coherent_nlp(monkeypatch, contexts, coherence_margin=margin)
        assert links([nlp(marked(nlp))]) == [["C1", "C1", last]]


def test_without_context_coherence_changes_nothing():
    found = []
    for coherence in (True, False):
        nlp = make_nlp(context_weight=0.0, coherence=coherence)
        start(nlp)
        found.append(candidates([nlp(marked(nlp))]))
    assert found[0] == found[1] and found[0][0][0]
