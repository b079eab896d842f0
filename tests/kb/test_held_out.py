"""A knowledge base less some training mentions is the one made without them."""

from collections import Counter

import numpy
import pytest

from spacy_bioie.kb import Concept
from spacy_bioie.kb.held_out import without_mentions
from spacy_bioie.kb.linking import LinkingSettings, find_candidates

from .builders import AngleEncoder, make_kb, training_names

CONCEPTS = [
    Concept("C1", "Depression", ("depressive disorder",), types=("DDF",)),
    Concept("C2", "gut flora", types=("microbiome",)),
    Concept("C3", "depression", ("hollow",), types=("place", "DDF")),
    Concept("C4", "Escherichia coli", alt_ids=("X4",), types=("bacteria",)),
]
KEPT = [
    ("Depression", "DDF", "C1"),
    ("low mood", "DDF", "C1"),
    ("valley", "place", "C3"),
    ("gut flora", "microbiome", "C2"),
    ("new thing", "bacteria", "U2"),
]
LEFT_OUT = [
    ("Depression", "DDF", "C1"),
    ("Depression", "DDF", "C3"),
    ("low mood", "place", "C1"),  # a label that no other mention gives to this concept
    ("hollows", "DDF", "C3"),  # a name of no other mention; without it the key finds "hollow"
    ("hollow", "DDF", "C3"),  # a name that a source gives, too
    ("E coli", "bacteria", "X4"),
    ("unheard", "microbiome", "U1"),  # a concept of no other mention and no source
    ("new thing", "DDF", "U2"),
]
TEXTS = sorted({text for text, _, _ in KEPT + LEFT_OUT} | {"valleys", "E. coli", "mood low"})
LABELS = ["DDF", "bacteria", "microbiome", "place", "never seen"]


def build(mentions):
    # vectors that do not change with the names that there are
    return make_kb(CONCEPTS, mentions=mentions, name_encoder=AngleEncoder({}), lexical_weight=0.0)


def held_out(mentions, left_out):
    return without_mentions(build(mentions), training_names(*left_out).counts)


def candidates(kb, settings):
    """All that is known of the candidates of each text and label, by the concept's id."""
    asked = [(text.lower(), label) for text in TEXTS for label in LABELS]
    pairs = find_candidates(kb, *zip(*asked, strict=True), settings)
    columns = numpy.column_stack(
        [pairs.similarity, pairs.evidence, pairs.label_mismatch, pairs.log_count, pairs.details]
    )
    ids = kb.tables.concept_ids.take(pairs.concepts)
    return {
        (*asked[mention], concept): row
        for mention, concept, row in zip(
            pairs.mentions.tolist(), ids, columns.round(5).tolist(), strict=True
        )
    }


@pytest.fixture(scope="module")
def expected():
    return build(KEPT)


@pytest.fixture(scope="module")
def found():
    return held_out(KEPT + LEFT_OUT, LEFT_OUT)


@pytest.mark.parametrize("n_search", [0, 100])
@pytest.mark.parametrize("dictionary", [True, False])
def test_candidates_are_those_of_the_rest(found, expected, n_search, dictionary):
    settings = LinkingSettings(n_search=n_search, dictionary=dictionary, details=True)
    assert candidates(found, settings) == candidates(expected, settings)
    everything = candidates(build(KEPT + LEFT_OUT), settings)
    assert not (n_search or dictionary) or everything != candidates(expected, settings)


def test_scores_are_those_of_the_rest(found, expected):
    for label in LABELS:
        labels = [label] * len(TEXTS)
        settings = LinkingSettings(n_search=100)
        one, other = (kb.search(TEXTS, labels, settings=settings) for kb in (found, expected))
        assert one == other and any(one)


def test_counts_and_labels_are_those_of_the_rest(found, expected):
    for concept_id in ("C1", "C2", "C3", "C4", "X4", "U1", "U2"):
        assert found.training_mentions(concept_id) == expected.training_mentions(concept_id)
    assert found.tables.max_log_count == expected.tables.max_log_count
    for concept_id in ("C1", "C2", "C3", "C4", "U2"):
        for label in LABELS:
            known = [
                kb.tables.label_mismatch(
                    numpy.asarray([kb.tables.concept_row(concept_id)]),
                    kb.tables.label_rows([label]),
                )[0]
                for kb in (found, expected)
            ]
            assert known[0] == known[1], (concept_id, label)


def test_labels_go_with_the_last_mention_but_types_stay():
    mentions = [("low", "DDF", "C1"), ("low", "place", "C1"), ("x", "place", "C3")]
    kb = held_out(mentions, mentions[:2])
    rows = kb.tables.label_rows(["DDF", "place"])
    concept = numpy.full((2,), kb.tables.concept_row("C1"))
    # a type of this concept is "DDF", not "place"
    assert kb.tables.label_mismatch(concept, rows).tolist() == [False, True]
    assert kb.training_mentions("C1") == 0


def test_nothing_is_changed_in_the_knowledge_base_itself():
    kb = build(KEPT + LEFT_OUT)
    before = {name: array.copy() for name, array in kb.tables.to_arrays().items()}
    without_mentions(kb, training_names(*LEFT_OUT).counts)
    for name, array in kb.tables.to_arrays().items():
        numpy.testing.assert_array_equal(array, before[name])
    assert kb.training_mentions("C1") == 4


def test_mentions_that_are_not_there():
    """Counts end at 0; names, labels and concepts that are not known are passed over."""
    strange = [("unknown", "DDF", "C1"), ("low mood", "unknown", "C1"), ("low mood", "DDF", "C9")]
    kb = held_out(KEPT, [*strange, *[("Depression", "DDF", "C1")] * 5])
    one = candidates(kb, LinkingSettings(n_search=100, details=True))
    assert one == candidates(build(KEPT[1:]), LinkingSettings(n_search=100, details=True))
    assert held_out([], KEPT).search(["hollow"]) == build([]).search(["hollow"])
    untouched = without_mentions(kb, Counter()).tables.to_arrays()
    for name, array in kb.tables.to_arrays().items():
        numpy.testing.assert_array_equal(array, untouched[name])


def test_device_stays():
    kb = build(KEPT)
    kb.device = "cpu"
    assert without_mentions(kb, Counter()).device == kb.index.device == "cpu"
