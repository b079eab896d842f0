import random
from dataclasses import replace

import numpy
import pytest

from spacy_bioie.kb import Concept
from spacy_bioie.kb.linking import (
    FOLDED_SIMILARITY,
    NAME_CEILING,
    LinkingSettings,
    find_candidates,
    hard_negatives,
    merge_mentions,
    rank_candidates,
    score_pairs,
)

from .builders import CONCEPTS, ids, make_kb

EVIDENCE = [("Depression", "DDF", "C1")] * 3 + [("depression", "place", "C3")]


def test_training_mentions_of_name_and_label_decide():
    kb = make_kb(mentions=EVIDENCE)
    disease, place = kb.search(["DEPRESSION", "depression"], ["DDF", "place"])
    assert ids(disease)[:2] == ["C1", "C3"] and ids(place)[:2] == ["C3", "C1"]
    assert disease[0][1] > NAME_CEILING > disease[1][1]
    assert disease[0][1] > place[0][1]  # three mentions say more than one


def test_evidence_outweighs_an_equal_name_of_a_frequent_concept():
    mentions = [("Depression", "DDF", "C1")] * 500 + [("terrain", "DDF", "C3")]
    mentions += [("melancholia", "DDF", "C3")]
    (found,) = make_kb(mentions=mentions).search(["melancholia"], ["DDF"])
    assert ids(found)[:2] == ["C3", "C1"]


def test_labels_break_ties_between_concepts_of_one_name():
    kb = make_kb()  # no training mentions: types are labels
    disease, place, unknown = kb.search(["depression"] * 3, ["DDF", "place", "event"])
    assert ids(disease)[:2] == ["C1", "C3"]
    assert ids(place)[:2] == ["C3", "C1"]
    assert unknown[0][1] == unknown[1][1] == pytest.approx(NAME_CEILING)


def test_frequency_breaks_ties():
    mentions = [("hollow", "DDF", "C3"), ("low mood", "DDF", "C1"), ("hollows", "DDF", "C3")]
    (found,) = make_kb(mentions=mentions).search(["depression"], ["DDF"])
    assert ids(found)[:2] == ["C3", "C1"]


def test_ties_do_not_depend_on_the_order_of_storage():
    concepts = [Concept(f"Z{i}", "same name", (f"other {i}",)) for i in range(20)]
    expected = None
    for seed in range(3):
        random.Random(seed).shuffle(concepts)
        found = make_kb(concepts).search(["same name", "same names"], top_k=20)
        expected = expected or found
        assert found == expected
    assert ids(expected[0]) == sorted(ids(expected[0]))


def test_dictionary_alone_and_search_alone():
    kb = make_kb(mentions=EVIDENCE)
    dictionary = LinkingSettings(n_search=0)
    assert [
        ids(found) for found in kb.search(["gut-microbiota", "gut microbio"], settings=dictionary)
    ] == [["C2"], []]
    search = LinkingSettings(dictionary=False, prior_weight=0, label_weight=0)
    disease, place = kb.search(["depression"] * 2, ["DDF", "place"], settings=search)
    assert disease == place and ids(disease)[:2] == ["C1", "C3"]


def test_no_product_of_a_compressed_index_ties_with_an_equal_name():
    kb = make_kb([Concept("A", "alpha"), Concept("B", "beta"), Concept("C", "gamma")])
    rows = kb.tables.name_rows(["alpha", "beta", "gamma"])
    products = numpy.asarray([0.97, 1.0026, 0.98], "float32")
    kb.search_vectors = lambda queries, k: (
        numpy.tile(products, (len(queries), 1)),
        numpy.tile(rows, (len(queries), 1)),
    )
    (found,) = kb.search(["beta"])
    assert found == [("B", NAME_CEILING), ("C", 0.882), ("A", 0.873)]
    (found,) = kb.search(["alpha"])
    assert ids(found) == ["A", "B", "C"] and found[0][1] == NAME_CEILING > found[1][1] > 0.8999
    (alone,) = kb.search(["beta"], settings=LinkingSettings(dictionary=False))
    assert alone[0] == ("B", NAME_CEILING)


def test_names_are_found_in_an_index_that_misses_them():
    kb = make_kb(mentions=EVIDENCE)
    kb.search_vectors = lambda queries, k: (
        numpy.zeros((len(queries), k), "float32"),
        numpy.full((len(queries), k), -1, "int64"),
    )
    assert ids(kb.search(["gut microbiota"])[0]) == ["C2"]


def test_names_with_the_same_key_are_in_the_dictionary():
    concepts = [
        Concept("D1", "type II diabetes", ("NIDDM",)),
        Concept("D2", "TNF alpha"),
        Concept("D3", "hormones"),
        Concept("D4", "hormone"),
    ]
    kb = make_kb(concepts)
    texts = ["Type 2 Diabetes", "TNF-α", "hormones", "hormone's", "type 3 diabetes"]
    found = kb.search(texts, settings=LinkingSettings(n_search=0))
    assert [ids(candidates) for candidates in found] == [["D1"], ["D2"], ["D3"], ["D3", "D4"], []]
    assert found[0][0][1] == pytest.approx(NAME_CEILING * FOLDED_SIMILARITY)
    assert found[2][0][1] == pytest.approx(NAME_CEILING)  # an equal name needs no key
    search = kb.search(texts[:1], settings=LinkingSettings(dictionary=False))
    assert search[0][0][1] < found[0][0][1]


def test_evidence_of_names_with_the_same_key():
    """Counts of all spellings are added up, for the label of the mention alone."""
    mentions = [("hollows", "DDF", "C3")] * 2 + [("hollow", "DDF", "C1"), ("hollow", "DDF", "C3")]
    kb = make_kb(mentions=mentions)
    settings = LinkingSettings()
    pairs = find_candidates(kb, ["hollow's", "hollow's", "hollow"], ["DDF", "x", "DDF"], settings)
    evidence = {
        (mention, kb.tables.concept_ids[concept]): value
        for mention, concept, value in zip(
            pairs.mentions.tolist(), pairs.concepts.tolist(), pairs.evidence.tolist(), strict=True
        )
        if value
    }
    assert evidence == {
        (0, "C3"): pytest.approx(3 / 4.5),
        (0, "C1"): pytest.approx(1 / 4.5),
        (2, "C3"): pytest.approx(1 / 2.5),
        (2, "C1"): pytest.approx(1 / 2.5),
    }


def test_texts_without_a_name():
    kb = make_kb()
    assert kb.search(["", " \n", "<i></i>"]) == [[], [], []]
    assert kb.search([]) == []
    assert len(kb.search(["\x00 😀 -- ?"])) == 1


def test_batch_equals_single():
    kb = make_kb(mentions=EVIDENCE)
    texts = ["Depression", "gut flora", "E. coli", "e coli", "", "depression", "hollows"] * 5
    labels = ["DDF", "microbiome", "bacteria", "x", "DDF", "place", "place"] * 5
    single = [kb.search([text], [label])[0] for text, label in zip(texts, labels, strict=True)]
    assert kb.search(texts, labels) == single


def test_names_of_one_mention_are_merged():
    """Each concept has the best of the scores that the names alone give it."""
    kb = make_kb(mentions=EVIDENCE)
    names = ["depression", "flora", "gut microbiota", "hollow"]
    labels = ["DDF", "microbiome", "DDF", "DDF"]
    settings = LinkingSettings()
    pairs = find_candidates(kb, names, labels, settings)
    merged = merge_mentions(pairs, numpy.asarray([0, 1, 0, 0]))
    found = rank_candidates(kb, merged, score_pairs(kb, merged, settings), 2, 100)
    alone = rank_candidates(kb, pairs, score_pairs(kb, pairs, settings), 4, 100)
    best = {}
    for name in (0, 2, 3):
        for concept_id, score in alone[name]:
            best[concept_id] = max(score, best.get(concept_id, 0.0))
    assert dict(found[0]) == best and len(found[0]) == len(best)
    assert found[1] == alone[1]
    nothing = find_candidates(kb, [""], [""], settings)
    assert len(merge_mentions(nothing, numpy.asarray([0])).mentions) == 0


def test_evidence_of_the_first_name_that_has_any():
    """A short form that training mentions know is not overruled by its more frequent long form."""
    mentions = [("low", "DDF", "C1"), *[("hollow", "DDF", "C3")] * 9]
    kb = make_kb(mentions=mentions)
    settings = LinkingSettings()

    def best(*names):
        pairs = find_candidates(kb, names, ["DDF"] * len(names), settings)
        merged = merge_mentions(pairs, numpy.zeros((len(names),), dtype="int64"))
        return rank_candidates(kb, merged, score_pairs(kb, merged, settings), 1, 1)[0][0]

    assert best("hollow")[0] == "C3" and best("hollow")[1] > best("low")[1] > NAME_CEILING
    assert best("low", "hollow") == best("low") == best("unheard", "low", "hollow")
    assert best("unheard", "hollow") == best("hollow")


def test_what_orders_equal_scores():
    kb = make_kb()
    pairs = find_candidates(kb, ["depression"], ["DDF"], LinkingSettings())
    n = len(pairs.mentions)
    scores, ties = numpy.zeros(n), numpy.arange(n) / n
    by_id = ids(rank_candidates(kb, pairs, scores, 1, n)[0])
    by_ties = ids(rank_candidates(kb, pairs, scores, 1, n, ties)[0])
    assert n > 2 and by_id == sorted(by_id)
    assert by_ties == [kb.tables.concept_ids[int(row)] for row in pairs.concepts[::-1]]
    # scores come first, and ties that differ by less than five decimals tell are none
    scores[0] = 0.5
    assert ids(rank_candidates(kb, pairs, scores, 1, n, ties)[0])[1:] == by_ties[:-1]
    assert ids(rank_candidates(kb, pairs, 0 * scores, 1, n, ties * 1e-7)[0]) == by_id


def test_scores_are_sorted_and_in_range():
    kb = make_kb(mentions=EVIDENCE)
    settings = LinkingSettings(context_weight=0.5)
    pairs = find_candidates(kb, ["depression", "flora"], ["DDF", "microbiome"], settings)
    assert (numpy.diff(pairs.mentions) >= 0).all()
    for context in (numpy.ones, numpy.zeros, lambda shape: -numpy.ones(shape)):
        scores = score_pairs(kb, pairs, settings, context(len(pairs.mentions)))
        assert ((scores >= 0) & (scores <= 1)).all()
        for found in rank_candidates(kb, pairs, scores, 2, 5):
            assert found == sorted(found, key=lambda pair: -pair[1])


def test_context_decides_between_equal_names():
    kb = make_kb()
    settings = LinkingSettings(context_weight=0.5)
    pairs = find_candidates(kb, ["depression"], ["event"], settings)
    for best in (0, 2):
        scores = score_pairs(kb, pairs, settings, 1.0 * (pairs.concepts == best))
        assert rank_candidates(kb, pairs, scores, 1, 1)[0][0][0] == f"C{best + 1}"
    with pytest.raises(ValueError, match="no cosines"):
        score_pairs(kb, pairs, settings)


def test_hard_negatives_are_the_best_wrong_candidates():
    kb = make_kb(mentions=EVIDENCE)
    settings = LinkingSettings()
    pairs = find_candidates(kb, ["depression", "flora", "E. coli"], ["DDF", "x", "y"], settings)
    gold = numpy.asarray([0, -1, 3])
    negatives = hard_negatives(kb, pairs, gold, replace(settings, context_weight=1.0), 1)
    assert len(negatives) == 2 and negatives[0] == 2 and negatives[1] != 3
    assert not len(hard_negatives(kb, pairs, gold, settings, 0))


def test_concepts_without_names_are_never_candidates():
    assert all("C5" not in ids(found) for found in make_kb().search(["depression", "C5"], top_k=10))


def test_all_concepts_of_one_name_stand():
    kb = make_kb([Concept(f"Z{i:02}", "same") for i in range(50)])
    assert len(kb.search(["same"], top_k=100)[0]) == 50
    assert len(kb.search(["same"], top_k=3)[0]) == 3
    assert CONCEPTS  # unchanged by the tests above
