"""The choice of no link by the reranker of the component faiss_entity_linker."""

import numpy
import pytest
from spacy.tokens import DocBin

from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.kb.linking import CandidatePairs, LinkingSettings, find_candidates, score_pairs
from spacy_bioie.pipeline.linker_candidates import share_scores
from spacy_bioie.pipeline.linker_reranking import (
    candidate_rows,
    insert_no_link,
    rerank,
)
from spacy_bioie.scoring.link_stages import evaluate_linking
from tests.linking_pipeline import candidates, links
from tests.reranking_pipeline import (
    NAME,
    STEMS,
    expected,
    make_examples,
    make_trained,
    unlinked,
)

pytestmark = pytest.mark.usefixtures("few_mentions_are_enough")


@pytest.fixture(scope="module")
def trained_for_no_link():
    return make_trained(no_link=True, odd=True)


def test_batch_equals_single_and_processes(trained_for_no_link):
    nlp = trained_for_no_link
    docs = candidates(nlp.pipe(unlinked(nlp, odd=True)))
    assert candidates([nlp(doc) for doc in unlinked(nlp, odd=True)]) == docs
    two = nlp.pipe(unlinked(nlp, odd=True), n_process=2, batch_size=4)
    assert candidates(two) == docs


def test_empty_input(fitted, trained_for_no_link):
    for nlp in (fitted, trained_for_no_link):
        linker = nlp.get_pipe(NAME)
        assert linker.predict([]) == [] and list(nlp.pipe([])) == []
        docs = [nlp.make_doc(text) for text in ("", "no group here", "no mention here")]
        set_mentions(docs[2], "sc", [])
        assert links(nlp.pipe(docs)) == [[], [], []]
    # a name of nothing
    doc = fitted.make_doc("\u200b")
    set_mentions(doc, "sc", [Mention(0, 1, "gene")])
    assert candidates([fitted(doc.copy())]) == [[[]]]
    assert candidates([trained_for_no_link(doc.copy())]) == [[[("", 1.0)]]]


def test_no_link_where_no_concept_fits(trained_for_no_link):
    nlp = trained_for_no_link
    docs = list(nlp.pipe(unlinked(nlp, odd=True)))
    assert [row[:2] for row in links(docs)] == expected()
    for doc, row in zip(docs, candidates(docs), strict=True):
        assert doc.spans["sc"][2].kb_id_ == ""
        assert row[2][0][0] == "" and row[2][0][1] > row[2][1][1] and len(row[2]) == 5
        for found in row:
            scores = [score for _, score in found]
            assert scores == sorted(scores, reverse=True)
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    assert candidates(DocBin().from_bytes(data).get_docs(nlp.vocab)) == candidates(docs)
    # without it the best of the concepts is a link all the same
    linker = nlp.get_pipe(NAME)
    linker.cfg["no_link"] = False
    try:
        docs = list(nlp.pipe(unlinked(nlp, odd=True)))
    finally:
        linker.cfg["no_link"] = True
    assert all(all(row) for row in links(docs))
    assert all("" not in dict(found) for row in candidates(docs) for found in row)


def test_scores_take_the_choice_of_no_link(trained_for_no_link):
    nlp = trained_for_no_link
    figures = nlp.evaluate(make_examples(nlp, odd=True))
    assert figures["nel_gold_acc1"] == figures["nel_gold_mrr"] == 1.0
    examples = make_examples(nlp, odd=True)
    for eg, doc in zip(examples, unlinked(nlp, STEMS, odd=True), strict=True):
        eg.predicted = nlp(doc)
    # two mentions without a link agree
    assert nlp.get_pipe(NAME).score(examples)["nerd_strict_micro_f"] == pytest.approx(1.0)
    stages = evaluate_linking(nlp.get_pipe(NAME), examples)
    assert stages["linker_acc1"] == stages["disambiguation_acc1"] == 1.0
    assert stages["search_acc1"] < 1 and stages["mentions"] == 2 * len(STEMS)


def test_mentions_of_one_text_share_the_choice_of_no_link():
    """Two mentions of one text, whose contexts a reranker reads apart; the third is alone."""
    pairs = CandidatePairs(
        numpy.asarray([0, 1, 2]), numpy.asarray([4, 4, 4]), *[numpy.zeros(3)] * 4
    )
    scores, none = numpy.asarray([0.6, 0.3, 0.3]), numpy.asarray([0.4, 0.7, 0.7])
    groups = numpy.asarray([0, 0, 1])
    shared, no_link = share_scores(pairs, scores, groups, 1.0, none)
    numpy.testing.assert_allclose(shared, [0.45, 0.45, 0.3])
    numpy.testing.assert_allclose(no_link, [0.55, 0.55, 0.7])
    shared, no_link = share_scores(pairs, scores, groups, 0.1, none)  # they disagree by more
    numpy.testing.assert_allclose(shared, [0.6, 0.45, 0.3])
    numpy.testing.assert_allclose(no_link, [0.4, 0.55, 0.7])
    shared, no_link = share_scores(pairs, scores, groups, 1.0)
    numpy.testing.assert_allclose(shared, [0.45, 0.45, 0.3])
    assert no_link is None
    nothing = pairs.select(numpy.zeros(0, dtype="int64"))
    shared, no_link = share_scores(nothing, scores[:0], groups, 1.0, none)
    assert len(shared) == 0 and no_link.tolist() == [0.55, 0.55, 0.7]


def test_no_link_is_ranked_by_its_probability():
    ranked = [[("A", 0.5), ("B", 0.2)], [("A", 0.9)], []]
    no_link = numpy.asarray([0.3, 0.1, 1.0])
    assert insert_no_link(ranked, no_link, 5) == [
        [("A", 0.5), ("", 0.3), ("B", 0.2)],
        [("A", 0.9), ("", 0.1)],
        [("", 1.0)],
    ]
    assert insert_no_link(ranked, no_link, 1) == [[("A", 0.5)], [("A", 0.9)], [("", 1.0)]]
    # of equal scores, to five decimals, the concept comes first
    assert insert_no_link([[("A", 0.5)]], numpy.asarray([0.500001]), 5)[0][0][0] == "A"


def test_probabilities_of_candidates_and_no_link_sum_to_one(fitted):
    linker = fitted.get_pipe(NAME)
    names, labels = ["butyrate cells", "", "unheard"], ["gene", "cell", "never seen"]
    pairs = find_candidates(linker.kb, names, labels, LinkingSettings(details=True))
    n = len(pairs.mentions)
    docs = [fitted.make_doc("a name")]
    mentions = [[Mention(0, 2, label) for label in labels]]
    scores = score_pairs(linker.kb, pairs, LinkingSettings())
    rows = candidate_rows(linker.kb, docs, mentions, pairs, scores)
    plain, none = rerank(linker.reranker, rows, None, 0.0)
    context = numpy.random.default_rng(0).uniform(-1, 1, n)
    for found, no_link in (
        (plain, none),
        rerank(linker.reranker, rows, context, 2.0),
    ):
        sums = numpy.bincount(pairs.mentions, weights=found, minlength=3) + no_link
        assert sums.tolist() == pytest.approx([1, 1, 1])
        assert no_link[1] == 1 and 0 < no_link[0] < 1
    # the context takes from all but the candidate that it suits best
    odds = numpy.log(found / no_link[pairs.mentions]) - numpy.log(plain / none[pairs.mentions])
    best = numpy.asarray([context[pairs.mentions == mention].max() for mention in pairs.mentions])
    numpy.testing.assert_allclose(odds, 2 * (context - best), atol=1e-6)
