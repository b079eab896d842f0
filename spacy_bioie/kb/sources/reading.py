"""One call for the sources of all forms."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from ..concepts import Concept
from ..findings import Findings
from .filters import Filters
from .jsonl import read_jsonl
from .mesh_ascii import NEW_RECORD, read_mesh_ascii
from .mesh_xml import RECORDS, read_mesh_xml
from .ontologies import read_obo, read_owl
from .source import GZIP_ERRORS, Source, damaged
from .tables import read_header, read_table
from .umls_rrf import find_files, read_rrf


class Form(NamedTuple):
    """How a form is read, and the names of the filters that it can apply."""

    read: Callable[[Source], Iterator[Concept]]
    filters: Tuple[str, ...]


FORMS: Dict[str, Form] = {
    "jsonl": Form(read_jsonl, ("semantic_types",)),
    "table": Form(read_table, ("languages", "vocabularies", "semantic_types", "keep_suppressed")),
    "obo": Form(read_obo, ("semantic_types", "keep_suppressed")),
    "owl": Form(read_owl, ("semantic_types", "keep_suppressed")),
    "rrf": Form(read_rrf, ("languages", "vocabularies", "semantic_types", "keep_suppressed")),
    "mesh-xml": Form(read_mesh_xml, ("semantic_types",)),
    "mesh-ascii": Form(read_mesh_ascii, ("semantic_types",)),
}
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "table",
    ".tsv": "table",
    ".obo": "obo",
    ".owl": "owl",
    ".rrf": "rrf",
}


def read_concepts(
    path: Union[str, Path],
    form: Optional[str] = None,
    filters: Optional[Filters] = None,
    *,
    findings: Optional[Findings] = None,
    on_read: Optional[Callable[[int], Any]] = None,
) -> Iterator[Concept]:
    """Read the concepts of a source, one after another, without holding it in memory.

    path: a file, gzipped or not, or the folder of a UMLS release.
    form: one of ``FORMS``; by default told by suffix or content.
    filters: what is wanted of the source.
    findings: where ``empty_names`` and what is ``left_out`` are counted.
    on_read: called with each number of bytes that was read of the files of ``source_files``.

    Raises FileNotFoundError where there is no such file. ValueError where the form is not known or
    cannot apply a filter, where there is no concept or none passes the filters, and, with file,
    line or record, and field, where the source is not of the form. ImportError where a package for
    the form is absent.
    """
    path = Path(path)
    form = check_form(path, form)
    filters = filters or Filters()
    unknown = [name for name in filters.active if name not in FORMS[form].filters]
    if unknown:
        raise ValueError(
            f"'{path}': the form '{form}' cannot be filtered by {', '.join(unknown)}. Filters of "
            f"this form: {list(FORMS[form].filters)}."
        )
    return _read(Source(path, filters, findings, on_read), form)


def check_form(path: Union[str, Path], form: Optional[str] = None) -> str:
    """The form of a source: the one given, or else the one that suffix or content tells.

    Raises FileNotFoundError and ValueError as ``read_concepts`` does.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"No such file of concepts: '{path}'.")
    if form is not None and form not in FORMS:
        raise ValueError(f"The form is '{form}': expected one of {list(FORMS)}.")
    form = form or _guess_form(path)
    if form == "rrf":
        find_files(path)
    elif path.is_dir():
        raise ValueError(f"'{path}' is a folder: expected a file of the form '{form}'.")
    return form


def source_files(path: Union[str, Path], form: str) -> List[Path]:
    """The files that are read for a source."""
    return list(find_files(Path(path)).values()) if form == "rrf" else [Path(path)]


def _read(source: Source, form: str) -> Iterator[Concept]:
    passed = False
    left_out = source.findings.counts["left_out"]
    for concept in FORMS[form].read(source):
        # the rows of a release also give the names of types, so that it filters itself
        if form != "rrf" and not source.filters.keep_types(concept.types):
            source.findings.note("left_out", concept.concept_id, concept.name)
            continue
        passed = True
        yield concept
    if not passed and source.filters.active:
        raise ValueError(f"'{source.path}': no concept passes the filters {source.filters}.")
    if not passed:
        left_out = source.findings.counts["left_out"] - left_out
        said = f", {left_out} are suppressed or obsolete" if left_out else ""
        raise ValueError(f"'{source.path}': no concept{said}. Expected at least one.")


def _guess_form(path: Path) -> str:
    if path.is_dir():
        return "rrf"
    name = path.name.lower().removesuffix(".gz")
    by_suffix = _SUFFIXES.get(Path(name).suffix)
    if by_suffix:
        return by_suffix
    try:
        with Source(path).open() as file:
            head = file.read(4096).decode("utf-8-sig", errors="replace").lstrip()
    except GZIP_ERRORS as error:
        raise damaged(path, "", error) from None
    if head.startswith("{"):
        return "jsonl"
    if head.startswith(NEW_RECORD):
        return "mesh-ascii"
    if head.startswith("<") and any(f"<{root}" in head for root in RECORDS):
        return "mesh-xml"
    if head.startswith("<") and ("<rdf:RDF" in head or "<Ontology" in head):
        return "owl"
    if head.startswith("format-version:") or "\n[Term]\n" in head:
        return "obo"
    if read_header(head.partition("\n")[0]):
        return "table"
    raise ValueError(
        f"'{path}': neither suffix nor content tells the form. Expected one of {list(FORMS)}."
    )
