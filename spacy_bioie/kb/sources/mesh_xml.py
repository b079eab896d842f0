"""Concepts of MeSH from the XML files of its descriptors and of its supplementary concepts.

Elements as in https://www.nlm.nih.gov/mesh/xml_data_elements.html. One record is one concept: the
terms of all "concepts" inside a record are its names, since articles are indexed with the record.
"""

from typing import TYPE_CHECKING, Iterator, Tuple

from ..concepts import Concept
from .mesh_registry import registry_xref
from .source import GZIP_ERRORS, Source, damaged

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Root element -> record, and the paths of identifier and name in it
RECORDS = {
    "DescriptorRecordSet": ("DescriptorRecord", "DescriptorUI", "DescriptorName/String"),
    "SupplementalRecordSet": (
        "SupplementalRecord",
        "SupplementalRecordUI",
        "SupplementalRecordName/String",
    ),
}
_CONCEPTS = "ConceptList/Concept"
_PREFERRED = f"{_CONCEPTS}[@PreferredConceptYN='Y']"


def read_mesh_xml(source: Source) -> Iterator[Concept]:
    """Read the records: types are TUIs and tree numbers, cross-references the registry numbers.

    The definition is the scope note of the preferred concept. Raises ValueError that names file,
    record and element where the XML is malformed, of another root, or lacks an identifier or name.
    """
    from xml.etree import ElementTree

    count = 0
    try:
        with source.open() as file:
            events = ElementTree.iterparse(file, events=("start", "end"))
            _, root = next(events)
            if root.tag not in RECORDS:
                raise ValueError(
                    f"'{source.path}': expected MeSH XML with the root {' or '.join(RECORDS)}, got "
                    f"{root.tag}."
                )
            record, id_path, name_path = RECORDS[root.tag]
            for event, element in events:
                if event == "end" and element.tag == record:
                    count += 1
                    yield _concept(source, element, count, (id_path, name_path))
                    root.clear()  # or the tree of the whole file would grow
    except ElementTree.ParseError as error:
        raise ValueError(
            f"'{source.path}', line {error.position[0]}: expected MeSH XML, but {error} (after "
            f"{count} records)."
        ) from None
    except GZIP_ERRORS as error:
        raise damaged(source.path, f"record {count}", error) from None


def _concept(source: Source, record: "Element", number: int, paths: Tuple[str, str]) -> Concept:
    where = f"'{source.path}', record {number}"
    id_path, name_path = paths
    concept_id = _text(record, id_path)
    if not concept_id:
        raise ValueError(f"{where}, element {id_path}: expected an identifier, got nothing.")
    name = _text(record, name_path)
    if not name:
        raise ValueError(f"{where} ({concept_id}), element {name_path}: expected a name.")
    terms = (_squeezed(term) for term in record.findall(f"{_CONCEPTS}/TermList/Term/String"))
    names = dict.fromkeys(term for term in terms if source.keep_name(concept_id, term))
    types = [
        *record.findall(f"{_CONCEPTS}/SemanticTypeList/SemanticType/SemanticTypeUI"),
        *record.findall("TreeNumberList/TreeNumber"),
    ]
    numbers = (
        registry_xref(_squeezed(number))
        for concept in record.findall(_PREFERRED)
        for number in concept.iter("RegistryNumber")
    )
    return Concept(
        concept_id=concept_id,
        name=name,
        synonyms=tuple(term for term in names if term != name),
        types=tuple(dict.fromkeys(_squeezed(kind) for kind in types)),
        definition=_text(record, f"{_PREFERRED}/ScopeNote"),
        xrefs=tuple(dict.fromkeys(number for number in numbers if number)),
    )


def _text(record: "Element", path: str) -> str:
    found = record.find(path)
    return "" if found is None else _squeezed(found)


def _squeezed(element: "Element") -> str:
    return " ".join((element.text or "").split())
