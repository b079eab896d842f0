"""What the sample corpus and its knowledge base promise."""

import json

import pytest

from spacy_bioie.annotation.gutbrainie import LABELS, PREDICATES
from spacy_bioie.formats import read_inline
from spacy_bioie.kb import read_concepts

from ..conftest import REPOSITORY


@pytest.fixture(scope="module")
def articles():
    folder = REPOSITORY / "assets" / "sample" / "articles"
    return {split: list(read_inline(folder, split=split)) for split in ("train", "dev")}


@pytest.fixture(scope="module")
def everything(articles):
    return articles["train"] + articles["dev"]


def test_at_least_sixty_articles_in_two_splits(articles, everything):
    assert len(everything) >= 60 and len(articles["dev"]) >= 10
    assert len({article.metadata["abstract"] for article in everything}) == len(everything)


def test_all_labels_and_predicates_occur(everything):
    assert {e.label for article in everything for e in article.entities} == set(LABELS)
    assert {r.predicate for article in everything for r in article.relations} == set(PREDICATES)


def test_relations_are_legal(everything):
    path = REPOSITORY / "assets" / "schemas" / "gutbrainie.json"
    text = json.dumps(json.loads(path.read_text(encoding="utf8")))
    for article in everything:
        for relation in article.relations:
            head = article.entities[relation.subject].label
            tail = article.entities[relation.object].label
            assert json.dumps([head, relation.predicate, tail]) in text, article.pmid


def test_nesting_markup_and_relations_across_sentences(everything):
    nested = markup = across = 0
    for article in everything:
        spans = [(e.location, e.start_idx, e.end_idx) for e in article.entities]
        nested += any(
            a != b and a[0] == b[0] and a[1] <= b[1] and b[2] <= a[2] for a in spans for b in spans
        )
        markup += "<" in article.metadata["title"] + article.metadata["abstract"]
        for relation in article.relations:
            head, tail = article.entities[relation.subject], article.entities[relation.object]
            if head.location == tail.location == "abstract":
                first, last = sorted([head, tail], key=lambda e: e.start_idx)
                between = article.metadata["abstract"][first.end_idx : last.start_idx]
                across += ". " in between
    assert nested >= 5 and markup >= 5 and across >= 20


def test_knowledge_base_has_every_concept_of_the_articles(everything, sample_dir):
    concepts = {c.concept_id: c for c in read_concepts(sample_dir / "concepts.jsonl")}
    assert len(concepts) >= 300
    assert all(c.name and c.types and c.definition for c in concepts.values())
    assert {e.uri for article in everything for e in article.entities} <= set(concepts)
