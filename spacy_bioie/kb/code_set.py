"""A closed set of codes with the terms for each, such as the ICD-10 codes of a task."""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Tuple, Union

from .concepts import Concept, join_concepts
from .sources import read_concepts


class CodeSet:
    """Codes in the order of their table; ``concepts`` has one Concept for each.

    No dataclass: spaCy would hand it to components as a dict.
    """

    def __init__(self, concepts: Iterable[Concept]):
        """Join the concepts of one code, wherever they stand."""
        rows: Dict[str, List[Concept]] = {}
        for concept in concepts:
            rows.setdefault(concept.concept_id, []).append(concept)
        self.concepts = tuple(join_concepts(found) for found in rows.values())

    @property
    def codes(self) -> List[str]:
        return [concept.concept_id for concept in self.concepts]

    def terms(self) -> List[Tuple[str, str]]:
        """The distinct (term, code): descriptions and synonyms."""
        return [(name, concept.concept_id) for concept in self.concepts for name in concept.names]


def load_code_set(path: Union[str, Path]) -> CodeSet:
    """Read a table of codes: ``spacy_bioie.CodeSet.v1`` of the registry ``misc``.

    path: a .json file with one object, from each code to its description or a list of them; a
        .txt file with a code in each line; or whatever ``read_concepts`` reads, among others .csv
        and .tsv with a header ("code", "description") and .jsonl ("id", "name", "synonyms"). A
        code may have several rows.

    Raises FileNotFoundError where the file is absent, ValueError that names it, and the line or
    the code, where it is of another form or holds no code.
    """
    path = Path(path)
    readers = {".json": _read_json, ".txt": _read_list}
    if path.suffix.lower() in readers and not path.is_file():
        raise FileNotFoundError(f"No such table of codes: '{path}'.")
    codes = CodeSet(readers.get(path.suffix.lower(), read_concepts)(path))
    if not codes.concepts:
        raise ValueError(f"'{path}': the table holds no code.")
    return codes


def _read_json(path: Path) -> Iterator[Concept]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # of JSON and of UTF-8
        raise ValueError(f"'{path}' is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(
            f"'{path}': expected an object of codes and their descriptions, got a "
            f"{type(data).__name__}."
        )
    for code, value in data.items():
        given = [value] if isinstance(value, str) else value
        if not code.strip() or not (
            isinstance(given, list) and all(isinstance(text, str) for text in given)
        ):
            raise ValueError(
                f"'{path}', code '{code}': expected a description or a list of descriptions, got "
                f"{str(value)[:40]!r}."
            )
        names = dict.fromkeys(text.strip() for text in given if text.strip())
        yield Concept(code.strip(), next(iter(names), ""), tuple(names)[1:])


def _read_list(path: Path) -> Iterator[Concept]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}': expected UTF-8, but {error}.") from None
    for number, line in enumerate(lines, start=1):
        if len(line.split()) > 1:
            raise ValueError(
                f"'{path}', line {number}: expected one code, got {line[:40]!r}. Tables of codes "
                "with descriptions are .csv, .tsv, .jsonl or .json files."
            )
        if line.strip():
            yield Concept(line.strip())
