"""Candidate pairs against a plain enumeration."""

import numpy
import pytest

from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.relation_schema import RelationSchema

SCHEMA = RelationSchema(
    [["A", "p", "B"], ["A", "q", "B"], ["B", "p", "B"], ["C", "r", "A"]],
    labels=["A", "B", "C", "D"],
)


def enumerate_pairs(tables):
    pairs, legal, first = [], [], 0
    for table in tables:
        for i, head in enumerate(table):
            for j, tail in enumerate(table):
                if i == j or head[2] < 0 or tail[2] < 0:
                    continue
                allowed = SCHEMA.legal[head[2], tail[2]]
                if allowed.any():
                    pairs.append([first + i, first + j])
                    legal.append(allowed.tolist())
        first += len(table)
    return pairs, legal


def random_tables(seed, n_docs=7):
    rng = numpy.random.default_rng(seed)
    tables = []
    for n in rng.integers(0, 9, n_docs):
        starts = rng.integers(0, 30, n)
        rows = numpy.stack([starts, starts + rng.integers(1, 5, n), rng.integers(-1, 4, n)], axis=1)
        tables.append(rows.astype("int64"))
    return tables


@pytest.mark.parametrize("seed", range(5))
def test_same_as_enumeration(seed):
    tables = random_tables(seed)
    candidates = pair_candidates(tables, SCHEMA)
    pairs, legal = enumerate_pairs(tables)
    assert candidates.pairs.tolist() == pairs
    assert candidates.pair_legal().tolist() == legal
    assert candidates.mentions.tolist() == [row for table in tables for row in table.tolist()]
    docs = [i for i, table in enumerate(tables) for _ in table]
    assert candidates.mention_docs.tolist() == docs
    assert (candidates.n_labels, candidates.n_predicates) == (4, 3)
    # a pair never crosses documents
    assert (
        candidates.mention_docs[candidates.pairs]
        == candidates.mention_docs[candidates.pairs[:, :1]]
    ).all()


def test_nested_mentions_with_equal_borders_are_two():
    table = numpy.asarray([[2, 4, 0], [2, 4, 1], [2, 4, 1]])
    candidates = pair_candidates([table], SCHEMA)
    assert candidates.pairs.tolist() == [[0, 1], [0, 2], [1, 2], [2, 1]]


@pytest.mark.parametrize(
    "tables",
    [
        [],
        [numpy.zeros((0, 3), dtype="int64")] * 3,
        [numpy.asarray([[0, 1, 1]])],
        [numpy.asarray([[0, 1, 3], [1, 2, 3]])],
        [numpy.asarray([[0, 1, -1], [1, 2, -1]])],
    ],
    ids=["no document", "no mention", "one mention", "no legal pair", "unknown labels"],
)
def test_nothing_to_pair(tables):
    candidates = pair_candidates(tables, SCHEMA)
    assert candidates.pairs.shape == (0, 2)
    assert candidates.pair_legal().shape == (0, 3)
    assert candidates.pairs.dtype == candidates.mentions.dtype == numpy.int64
    assert len(candidates.doc_mentions) == len(tables)
    assert candidates.find(numpy.asarray([0]), numpy.asarray([0])).tolist() == [-1]


def test_find():
    candidates = pair_candidates(random_tables(3), SCHEMA)
    n = len(candidates.mentions)
    heads, tails = (grid.ravel() for grid in numpy.mgrid[0:n, 0:n])
    rows = candidates.find(heads, tails)
    pairs = candidates.pairs.tolist()
    expected = [
        pairs.index([h, t]) if [h, t] in pairs else -1 for h, t in zip(heads, tails, strict=True)
    ]
    assert rows.tolist() == expected
    assert (rows >= 0).sum() == len(pairs) > 0


def test_each_mention_is_an_entity_by_default():
    candidates = pair_candidates(random_tables(1), SCHEMA)
    assert candidates.entities.tolist() == list(range(len(candidates.mentions)))
    assert candidates.entities.dtype == numpy.int64
    pairs, rows = candidates.entity_pairs()
    assert pairs.tolist() == candidates.pairs.tolist()
    assert rows.tolist() == list(range(len(pairs)))


@pytest.mark.parametrize("seed", range(3))
def test_entity_pairs(seed):
    tables = random_tables(seed)
    # mentions of one label are one entity, whose numbers have gaps and no order
    own = [table[:, 2] * -7 for table in tables]
    candidates = pair_candidates(tables, SCHEMA, own)
    keys = [(i, int(n)) for i, numbers in enumerate(own) for n in numbers]
    assert candidates.entities.tolist() == [sorted(set(keys)).index(key) for key in keys]
    pairs, rows = candidates.entity_pairs()
    of_mentions = [[candidates.entities[h], candidates.entities[t]] for h, t in candidates.pairs]
    assert pairs[rows].tolist() == of_mentions
    assert pairs.tolist() == sorted(map(list, {tuple(pair) for pair in pairs.tolist()}))
    assert 0 < len(pairs) < len(rows)


def test_no_entity_pairs():
    pairs, rows = pair_candidates([], SCHEMA, []).entity_pairs()
    assert pairs.shape == (0, 2) and rows.shape == (0,)


def test_entities_have_to_fit_the_mentions():
    tables = [numpy.asarray([[0, 1, 0], [1, 2, 1]]), numpy.zeros((0, 3), dtype="int64")]
    with pytest.raises(ValueError, match=r"\[2, 0\] mentions, but entities of \[1, 0\]"):
        pair_candidates(tables, SCHEMA, [numpy.zeros(1), numpy.zeros(0)])
