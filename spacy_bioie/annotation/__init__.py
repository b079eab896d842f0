"""What a Doc carries: sections, mentions with links, relations."""

from spacy.tokens import Doc, Span

from .mentions import (
    SPANS_KEY,
    Candidates,
    Mention,
    MentionTable,
    ensure_span_ids,
    get_kb_ents,
    get_mentions,
    gold_mentions,
    mention_characters,
    mention_table,
    mention_texts,
    set_mentions,
    token_borders,
)
from .relations import (
    ConceptRelation,
    Relation,
    RelationRow,
    get_concept_relations,
    get_relation_rows,
    get_relations,
    gold_relation_rows,
    relations_key,
    set_relation_values,
    set_relations,
)
from .sections import (
    Section,
    find_sections,
    get_sections,
    join_sections,
    section_offsets,
    section_token_ranges,
    set_sections,
)

META_KEY = "bioie_meta"  # doc.user_data: plain values a corpus gives about a document

__all__ = [
    "META_KEY",
    "SPANS_KEY",
    "Candidates",
    "ConceptRelation",
    "Mention",
    "MentionTable",
    "Relation",
    "RelationRow",
    "Section",
    "ensure_span_ids",
    "find_sections",
    "get_concept_relations",
    "get_kb_ents",
    "get_mentions",
    "get_relation_rows",
    "get_relations",
    "get_sections",
    "gold_mentions",
    "gold_relation_rows",
    "join_sections",
    "mention_characters",
    "mention_table",
    "mention_texts",
    "relations_key",
    "section_offsets",
    "section_token_ranges",
    "set_mentions",
    "set_relation_values",
    "set_relations",
    "set_sections",
    "token_borders",
]

# force: another plugin may have registered the same name before, and a reload registers again
Doc.set_extension("sections", getter=get_sections, setter=set_sections, force=True)
Doc.set_extension("relations", getter=get_relations, setter=set_relation_values, force=True)
Doc.set_extension("concept_relations", getter=get_concept_relations, force=True)
Span.set_extension("kb_ents", getter=get_kb_ents, force=True)
