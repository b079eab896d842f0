"""Concepts of ontologies: OBO through fastobo, term by term, and OWL through pronto.

Both come with the extra ``ontologies``. pronto holds an ontology in memory while it is read: of an
ontology that is published in both forms, OBO is the better choice.
"""

import warnings
from importlib import import_module
from typing import Any, Iterable, Iterator, List, Tuple

from ..concepts import Concept
from .source import GZIP_ERRORS, Source, damaged

# A BROAD synonym names something more general, for which there mostly is a concept of its own
_SCOPES = {"EXACT", "NARROW", "RELATED"}


def read_obo(source: Source) -> Iterator[Concept]:
    """Read the terms of an OBO file: the type is the namespace.

    Synonyms are the exact, narrow and related ones, parents the terms that it "is_a". Obsolete
    terms are suppressed. Raises ValueError that names file and line where the file is not OBO, and
    ImportError without fastobo.
    """
    fastobo = _import("fastobo")
    term = ""
    try:
        with source.open() as file:
            file.peek(1)  # of a failure of the first read fastobo tells nothing
            # One thread: several would read far ahead
            for frame in fastobo.iter(file, ordered=True, threads=1):
                term = str(frame.id)
                if isinstance(frame, fastobo.term.TermFrame):
                    yield from _kept(source, _obo_term(source, frame))
    except SyntaxError as error:
        raise ValueError(
            f"'{source.path}', line {error.lineno}: {error.msg}, got {(error.text or '')[:80]!r}."
        ) from None
    except GZIP_ERRORS as error:
        raise damaged(source.path, f"term {term}" if term else "", error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"'{source.path}', behind term '{term}': {error}.") from None


def read_owl(source: Source) -> Iterator[Concept]:
    """Read the classes of an OWL file in RDF/XML, as ``read_obo`` reads terms.

    Identifiers under purl.obolibrary.org become short ones (``GO:0008150``), others stay IRIs.
    Imported ontologies are not fetched. Raises ValueError that names the file where it is no OWL,
    and ImportError without pronto.
    """
    from xml.etree import ElementTree

    pronto = _import("pronto")
    try:
        with warnings.catch_warnings():
            # pronto warns of each axiom that it skips; none of them says how a concept is called
            warnings.simplefilter("ignore")
            ontology = pronto.Ontology(str(source.path), import_depth=0, encoding="utf-8")
    except ElementTree.ParseError as error:
        raise ValueError(
            f"'{source.path}', line {error.position[0]}: expected OWL in RDF/XML, but {error}."
        ) from None
    except GZIP_ERRORS as error:
        raise damaged(source.path, "", error) from None
    except (ValueError, TypeError, KeyError, AttributeError, SyntaxError) as error:
        # what pronto raises where an element is not as it expects
        raise ValueError(
            f"'{source.path}': expected an ontology in OWL (RDF/XML), but {error}."
        ) from None
    source.on_read(source.path.stat().st_size)
    for term in ontology.terms():
        concept = _concept(
            source,
            term.id,
            term.name or "",
            sorted((synonym.scope, synonym.description) for synonym in term.synonyms),
            [term.namespace] if term.namespace else [],
            str(term.definition or ""),
            sorted(term.alternate_ids),
            sorted(xref.id for xref in term.xrefs),
            sorted(term.superclasses(distance=1, with_self=False).to_set().ids),
        )
        yield from _kept(source, (concept, term.obsolete))


def _obo_term(source: Source, frame: Any) -> Tuple[Concept, bool]:
    clauses: dict = {}
    for clause in frame:
        clauses.setdefault(clause.raw_tag(), []).append(clause)
    synonyms = [clause.synonym for clause in clauses.get("synonym", ())]
    concept = _concept(
        source,
        str(frame.id),
        clauses["name"][0].name if "name" in clauses else "",
        [(synonym.scope, synonym.desc) for synonym in synonyms],
        [str(clause.namespace) for clause in clauses.get("namespace", ())],
        str(clauses["def"][0].definition) if "def" in clauses else "",
        [str(clause.alt_id) for clause in clauses.get("alt_id", ())],
        [str(clause.xref.id) for clause in clauses.get("xref", ())],
        [str(clause.term) for clause in clauses.get("is_a", ())],
    )
    return concept, any(clause.obsolete for clause in clauses.get("is_obsolete", ()))


def _concept(
    source: Source,
    concept_id: str,
    name: str,
    synonyms: Iterable[Tuple[str, str]],
    types: List[str],
    definition: str,
    alt_ids: List[str],
    xrefs: List[str],
    parents: List[str],
) -> Concept:
    """synonyms: scope and text."""
    name = name.strip()
    kept = []
    for scope, synonym in synonyms:
        synonym = synonym.strip()
        if scope not in _SCOPES:
            source.findings.note("left_out", concept_id, synonym)
        elif source.keep_name(concept_id, synonym):
            kept.append(synonym)
    if not name and kept:
        name = kept[0]
    return Concept(
        concept_id=concept_id,
        name=name,
        synonyms=tuple(synonym for synonym in dict.fromkeys(kept) if synonym != name),
        types=tuple(dict.fromkeys(types)),
        definition=definition.strip(),
        alt_ids=tuple(dict.fromkeys(alt_ids)),
        xrefs=tuple(dict.fromkeys(xrefs)),
        parents=tuple(dict.fromkeys(parents)),
    )


def _kept(source: Source, term: Tuple[Concept, bool]) -> Iterator[Concept]:
    concept, obsolete = term
    if obsolete and not source.filters.keep_suppressed:
        source.findings.note("left_out", concept.concept_id, concept.name)
    else:
        yield concept


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(
            f"Reading ontologies needs the package '{name}': pip install 'spacy-bioie[ontologies]'."
        ) from None
