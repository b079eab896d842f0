"""What a Doc carries: sections, mentions with links, relations, a quality tier."""

from spacy.tokens import Doc, Span

from .abbreviations import (
    Abbreviation,
    expand_abbreviations,
    get_abbreviation_rows,
    get_abbreviations,
    get_long_form,
    set_abbreviations,
)
from .codes import (
    CodeEvidence,
    DocumentCode,
    code_evidence,
    codes_key,
    document_codes,
    get_codes,
    set_codes,
)
from .concept_relations import (
    ConceptRelation,
    ConceptRow,
    concept_ids,
    concept_relation_keys,
    distribute_concept_relations,
    get_concept_relations,
    get_concept_rows,
    set_concept_rows,
    states_concept_relations,
)
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
    mention_entities,
    mention_table,
    mention_texts,
    set_mentions,
    token_borders,
)
from .relations import (
    Relation,
    RelationRow,
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
from .tiers import get_tier, set_tier

META_KEY = "bioie_meta"  # doc.user_data: plain values a corpus gives about a document

__all__ = [
    "META_KEY",
    "SPANS_KEY",
    "Abbreviation",
    "Candidates",
    "CodeEvidence",
    "ConceptRelation",
    "ConceptRow",
    "DocumentCode",
    "Mention",
    "MentionTable",
    "Relation",
    "RelationRow",
    "Section",
    "code_evidence",
    "codes_key",
    "concept_ids",
    "concept_relation_keys",
    "distribute_concept_relations",
    "document_codes",
    "ensure_span_ids",
    "expand_abbreviations",
    "find_sections",
    "get_abbreviation_rows",
    "get_abbreviations",
    "get_codes",
    "get_concept_relations",
    "get_concept_rows",
    "get_kb_ents",
    "get_long_form",
    "get_mentions",
    "get_relation_rows",
    "get_relations",
    "get_sections",
    "get_tier",
    "gold_mentions",
    "gold_relation_rows",
    "join_sections",
    "mention_characters",
    "mention_entities",
    "mention_table",
    "mention_texts",
    "relations_key",
    "section_offsets",
    "section_token_ranges",
    "set_abbreviations",
    "set_codes",
    "set_concept_rows",
    "set_mentions",
    "set_relation_values",
    "set_relations",
    "set_sections",
    "set_tier",
    "states_concept_relations",
    "token_borders",
]

# force: another plugin may have registered the same name before, and a reload registers again
Doc.set_extension("sections", getter=get_sections, setter=set_sections, force=True)
Doc.set_extension("relations", getter=get_relations, setter=set_relation_values, force=True)
Doc.set_extension("concept_relations", getter=get_concept_relations, force=True)
Doc.set_extension("codes", getter=get_codes, setter=set_codes, force=True)
Doc.set_extension("tier", getter=get_tier, setter=set_tier, force=True)
Doc.set_extension("abbreviations", getter=get_abbreviations, force=True)
Span.set_extension("long_form", getter=get_long_form, force=True)
Span.set_extension("kb_ents", getter=get_kb_ents, force=True)
