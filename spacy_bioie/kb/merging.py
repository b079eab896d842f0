"""Making one set of concepts of several sources."""

import re
from dataclasses import replace
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from .concepts import Concept, join_concepts
from .findings import Findings

# Prefixes under which one vocabulary goes about, with the one that they are compared under
_PREFIXES = {
    "msh": "mesh",
    "mesh_id": "mesh",
    "umls_cui": "umls",
    "cui": "umls",
    "nci": "ncit",
    "nci_thesaurus": "ncit",
    "sctid": "snomedct",
    "snomed": "snomedct",
    "snomed_ct": "snomedct",
    "mim": "omim",
    "orpha": "orphanet",
    "ordo": "orphanet",
    "ncbi": "ncbitaxon",
    "ncbi_taxid": "ncbitaxon",
    "taxon": "ncbitaxon",
}
_SNOMED = re.compile(r"snomedct_us(_[0-9_]+)?")
_IRIS = (
    (re.compile(r"https?://purl\.obolibrary\.org/obo/([A-Za-z]+)_(.+)"), r"\1:\2"),
    (re.compile(r"https?://(?:www\.ncbi|id)\.nlm\.nih\.gov/mesh/(.+)"), r"mesh:\1"),
    (re.compile(r"https?://uts\.nlm\.nih\.gov/uts/umls/concept/(.+)"), r"umls:\1"),
    (re.compile(r"https?://identifiers\.org/([A-Za-z_.]+)[:/](.+)"), r"\1:\2"),
)
# MeSH and UMLS write their own identifiers without a prefix; their lengths never agree
_BARE = (
    (re.compile(r"(D[0-9]{6}|D[0-9]{9}|C[0-9]{6}|C[0-9]{9})"), r"mesh:\1"),
    (re.compile(r"(C[0-9]{7})"), r"umls:\1"),
)


class Merged(NamedTuple):
    """Concepts by id, in the order of reading; the sources of each, one bit a source; how many
    records were read."""

    concepts: Dict[str, Concept]
    sources: Dict[str, int]
    records: int


def merge_by_id(sources: Iterable[Iterable[Concept]], findings: Findings) -> Merged:
    """Join the records of one id, as ``join_concepts`` does; notes ``duplicate_ids``."""
    concepts: Dict[str, Concept] = {}
    origins: Dict[str, int] = {}
    records = 0
    for number, source in enumerate(sources):
        for concept in source:
            records += 1
            known = concepts.get(concept.concept_id)
            if known is None:
                concepts[concept.concept_id] = concept
            else:
                findings.note("duplicate_ids", concept.concept_id)
                concepts[concept.concept_id] = join_concepts([known, concept])
            origins[concept.concept_id] = origins.get(concept.concept_id, 0) | 1 << number
    return Merged(concepts, origins, records)


def merge_by_xref(merged: Merged, findings: Findings) -> Dict[str, Concept]:
    """Join concepts of different sources where one names the id of the other.

    An id, another id or a cross-reference names a concept if it is its id or another id of it,
    compared by ``identifier_key``. The id of the first source stays, the others become other ids.
    Concepts of one source are never joined, since the source holds them apart: where a concept
    names several of one source, none of these is joined with it. Notes ``merged_concepts``, and
    as ``unused_xrefs`` the pairs that are held apart.
    """
    rank = {concept_id: i for i, concept_id in enumerate(merged.concepts)}
    pairs = sorted(_distinct_pairs(merged, findings), key=lambda pair: [rank[i] for i in pair])
    group: Dict[str, str] = {}
    members: Dict[str, List[str]] = {}
    held: Dict[str, int] = {}
    for one, other in pairs:
        pair = {group.setdefault(concept_id, concept_id) for concept_id in (one, other)}
        if len(pair) == 1:
            continue
        first, second = sorted(pair, key=rank.__getitem__)
        for concept_id in pair:
            members.setdefault(concept_id, [concept_id])
            held.setdefault(concept_id, merged.sources[concept_id])
        if held[first] & held[second]:
            findings.note("unused_xrefs", one, other)
            continue
        findings.note("merged_concepts", second, first)
        held[first] |= held.pop(second)
        members[first] += members.pop(second)
        group.update((member, first) for member in members[first])
    out = {i: concept for i, concept in merged.concepts.items() if group.get(i, i) == i}
    for first, joined in members.items():
        if len(joined) > 1:
            out[first] = join_under_first([merged.concepts[concept_id] for concept_id in joined])
    return out


def identifier_key(identifier: str) -> str:
    """A form under which identifiers of one thing agree: prefix in lower case, then the code.

    Known IRIs become prefixes; prefixes of one vocabulary, such as MSH and MESH, become one.
    """
    is_iri = identifier.startswith("http")
    for form, short in _IRIS if is_iri else _BARE:
        found = form.fullmatch(identifier)
        if found:
            identifier = found.expand(short)
            break
    else:
        if is_iri:
            return identifier
    prefix, mark, code = identifier.partition(":")
    if not mark:
        return identifier
    prefix = prefix.casefold().replace(" ", "_").replace("-", "_")
    prefix = _SNOMED.sub("snomedct", prefix)
    return f"{_PREFIXES.get(prefix, prefix)}:{code.strip()}"


def join_under_first(concepts: Sequence[Concept]) -> Concept:
    """One concept of several; the ids of all but the first become other ids of it."""
    joined = join_concepts(concepts)
    others = [concept.concept_id for concept in concepts[1:]]
    alt_ids = dict.fromkeys((*joined.alt_ids, *others))
    alt_ids.pop(joined.concept_id, None)
    keys = {identifier_key(i) for i in (joined.concept_id, *alt_ids)}
    xrefs = tuple(xref for xref in joined.xrefs if identifier_key(xref) not in keys)
    return replace(joined, alt_ids=tuple(alt_ids), xrefs=xrefs)


def _distinct_pairs(merged: Merged, findings: Findings) -> Iterator[Tuple[str, str]]:
    """Pairs of concepts of different sources that have no other partner in each other's sources.

    The concept that was read first stands first. Pairs with other partners are noted.
    """
    rank = {concept_id: i for i, concept_id in enumerate(merged.concepts)}
    neighbours = _neighbours(merged)
    several = {i: _several(others, merged.sources) for i, others in neighbours.items()}
    for one, others in neighbours.items():
        for other in others:
            if rank[one] > rank[other]:
                continue
            if several[one] & merged.sources[other] or several[other] & merged.sources[one]:
                findings.note("unused_xrefs", one, other)
            else:
                yield one, other


def _several(concept_ids: Iterable[str], sources: Dict[str, int]) -> int:
    """The sources of which there are at least two of these concepts."""
    seen = several = 0
    for concept_id in concept_ids:
        several |= seen & sources[concept_id]
        seen |= sources[concept_id]
    return several


def _neighbours(merged: Merged) -> Dict[str, Dict[str, None]]:
    """For each concept the concepts of other sources that it names or that name it."""
    named: Dict[str, List[str]] = {}
    for concept in merged.concepts.values():
        for key in {identifier_key(i) for i in (concept.concept_id, *concept.alt_ids)}:
            named.setdefault(key, []).append(concept.concept_id)
    neighbours: Dict[str, Dict[str, None]] = {}
    for concept in merged.concepts.values():
        one = concept.concept_id
        for identifier in (one, *concept.alt_ids, *concept.xrefs):
            for other in named.get(identifier_key(identifier), ()):
                if not merged.sources[one] & merged.sources[other]:
                    neighbours.setdefault(one, {})[other] = None
                    neighbours.setdefault(other, {})[one] = None
    return neighbours
