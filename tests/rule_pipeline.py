"""A pipeline of rules, for tests of what comes after prediction."""

from typing import List

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_bioie.annotation import Mention, set_mentions, set_relations
from spacy_bioie.tokenization import EnglishTokenizer_v1

LABELS = {"butyrate": "chemical", "mice": "animal", "gut": "anatomical location"}
CONCEPTS = {"butyrate": "CHEBI:17968", "mice": "NCIT:C14238"}


@Language.component("find_by_rules")
def find_by_rules(doc: Doc) -> Doc:
    """Mark the words of LABELS, and relate the first chemical to the first animal."""
    mentions: List[Mention] = [
        Mention(t.i, t.i + 1, LABELS[t.lower_], kb_id=CONCEPTS.get(t.lower_, ""), score=0.5)
        for t in doc
        if t.lower_ in LABELS
    ]
    mentions = set_mentions(doc, "sc", mentions)
    heads = [m.id for m in mentions if m.label == "chemical"]
    tails = [m.id for m in mentions if m.label == "animal"]
    rows = [(heads[0], "located in", tails[0], 0.75)] if heads and tails else []
    set_relations(doc, "sc", rows)
    return doc


def make_rule_pipeline() -> Language:
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    nlp.add_pipe("find_by_rules")
    return nlp
