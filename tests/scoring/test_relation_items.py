"""Candidate pairs as items: the search agrees with the scores."""

import numpy
import pytest

from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.relation_decoding import eligible
from spacy_bioie.models.relation_schema import RelationSchema
from spacy_bioie.scoring.relation_items import LEVELS, end_items, relation_items
from spacy_bioie.scoring.relations import score_relation_sets

SCHEMA = RelationSchema([["A", "p", "B"], ["A", "q", "B"], ["B", "p", "B"], ["B", "q", "A"]])
# text, label: texts repeat within and across documents
MENTIONS = [
    [("a", "A"), ("b", "B"), ("b", "B"), ("c", "B"), ("a", "B")],
    [],
    [("b", "B"), ("a", "A"), ("a", "A")],
]


def key(document, head, predicate, tail):
    h, t = MENTIONS[document][head], MENTIONS[document][tail]
    return (h[0], h[1], predicate, t[0], t[1], head, head + 1, tail, tail + 1)


GOLD = [
    {key(0, 0, "p", 1), key(0, 0, "p", 2), key(0, 1, "p", 3), key(0, 2, "q", 0)},
    # text and predicate that no candidate has
    {("x", "A", "other", "y", "B", 0, 1, 2, 3)},
    {key(2, 1, "q", 0)},
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("one_per_pair", [True, False])
def test_same_figures_as_the_scorer(level, one_per_pair):
    tables = [
        numpy.asarray([[i, i + 1, "AB".index(label)] for i, (_, label) in enumerate(document)])
        .reshape((-1, 3))
        .astype("int64")
        for document in MENTIONS
    ]
    candidates = pair_candidates(tables, SCHEMA)
    rng = numpy.random.default_rng(0)
    probabilities = rng.random((len(candidates.pairs), 2)).astype("float32")
    allowed = eligible(candidates, probabilities, one_per_pair)
    items = relation_items(
        level, candidates, probabilities, allowed, SCHEMA.predicates, MENTIONS, GOLD
    )
    assert len(items.keys) == allowed.sum()
    assert items.doc_gold.sum() == items.n_gold and len(items.doc_gold) == len(GOLD)
    assert set(items.documents.tolist()) <= {0, 2}
    for document in (0, 1, 2):
        keys = {
            {"bt": (k[1], k[4]), "tt": (k[1], k[2], k[4]), "tm": k[:5]}[level]
            for k in GOLD[document]
        }
        assert items.doc_gold[document] == len(keys)
        assert len(set(items.keys[items.hits & (items.documents == document)])) <= len(keys)
    for threshold in (0.0, 0.3, 0.6, 0.9):
        kept = items.scores >= threshold
        predicted = [set(), set(), set()]
        for row, predicate in zip(
            *numpy.nonzero(allowed & (probabilities >= threshold)), strict=True
        ):
            head, tail = candidates.pairs[row]
            document = candidates.mention_docs[head]
            first = candidates.mention_starts[document]
            name = SCHEMA.predicates[predicate]
            predicted[document].add(key(document, head - first, name, tail - first))
        figure = score_relation_sets(GOLD, predicted, "rel")[f"rel_{level}_micro_f"]
        hits = len(set(items.keys[kept & items.hits].tolist()))
        n = len(set(items.keys[kept].tolist()))
        assert 2 * hits / (n + items.n_gold) == pytest.approx(figure)


def test_unknown_level():
    candidates = pair_candidates([], SCHEMA)
    with pytest.raises(ValueError, match="Unknown metric 'm': expected one of bt, tt, tm"):
        relation_items("m", candidates, numpy.zeros((0, 2)), numpy.zeros((0, 2)), [], [], [])


def test_mentions_with_several_concepts_or_none():
    tables = [numpy.asarray([[0, 1, 0], [1, 2, 1], [2, 3, 1]])]
    schema = RelationSchema([["A", "p", "B"], ["A", "q", "B"]])
    candidates = pair_candidates(tables, schema)  # pairs (0, 1) and (0, 2)
    probabilities = numpy.asarray([[0.9, 0.2], [0.6, 0.7]], dtype="float32")
    concepts = [[["C1", "C2"], ["C3", "C4"], []]]
    gold = [{("C2", "p", "C3"), ("C3", "q", "C1"), ("C9", "p", "C1")}]
    arguments = (candidates, probabilities, numpy.ones((2, 2), dtype=bool), ["p", "q"], concepts)
    items = end_items(*arguments, gold)
    assert items.scores.tolist() == pytest.approx([0.9] * 4 + [0.2] * 4)
    assert items.groups.tolist() == [0] * 4 + [1] * 4
    assert len(set(items.keys.tolist())) == 8 and items.n_gold == 3
    assert items.hits.tolist() == [False, False, True, False] + [False] * 4
    unordered = end_items(*arguments, gold, symmetric=["q"])
    assert unordered.hits.tolist() == [False, False, True, False, True, False, False, False]
    assert end_items(*arguments, gold, symmetric=["*"]).doc_gold.tolist() == [3]
