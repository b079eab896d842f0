"""JSON as the standard has it: repeated keys and NaN, which Python's reader accepts, are found."""

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple, Union

from .errors import FormatError

_KINDS = {dict: "an object", list: "a list", str: "a string", int: "an integer"}


class Repeated(dict):
    """An object in which a key occurs more than once: the first value of each, all in ``rows``."""

    rows: List[Tuple[str, Any]]

    @property
    def twice(self) -> str:
        """The first key that occurs again."""
        keys = [key for key, _ in self.rows]
        return next(key for key in keys if keys.count(key) > 1)


def parse_json(text: str, file: Union[str, Path], record: str = "") -> Any:
    """Parse a JSON text; objects with a repeated key come as ``Repeated``.

    Raises FormatError, with line and column, for what is no JSON.
    """

    def pairs(rows: List[Tuple[str, Any]]) -> Dict[str, Any]:
        values = dict(rows)
        if len(values) == len(rows):
            return values
        repeated = Repeated(reversed(rows))
        repeated.rows = rows
        return repeated

    def constant(name: str) -> Any:
        raise FormatError(file, record, "", f"not valid JSON: it has no {name}")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise FormatError(
            file,
            record,
            "",
            f"not valid JSON, line {error.lineno} column {error.colno}: {error.msg}",
        ) from None
    except RecursionError:
        raise FormatError(file, record, "", "not valid: JSON nested too deeply") from None
    except FormatError:
        raise
    except ValueError as error:  # an integer of more digits than Python reads
        raise FormatError(file, record, "", f"not valid: {error}") from None


def read_utf8(path: Union[str, Path]) -> str:
    """Read a UTF-8 text file, with any line ends and without a byte order mark.

    Raises FormatError for other bytes, OSError for a file that cannot be read.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            path, "", "", f"expected UTF-8 text, byte {error.start}: {error.reason}"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def kind_name(value: Any) -> str:
    """How errors call the kind of a JSON value: "a string", "null", ..."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return "an object"
    return _KINDS.get(type(value), "a number")


class RecordReader:
    """Reads the fields of one record; every error names the file, the record and the field."""

    def __init__(self, file: Union[str, Path], record: str) -> None:
        self.file = file
        self.record = record

    def error(self, field: str, problem: str) -> FormatError:
        """Make the error of a field; the caller raises it."""
        return FormatError(self.file, self.record, field, problem)

    def object(self, value: Any, field: str) -> Dict[str, Any]:
        """Check that a value is an object without repeated keys."""
        if not isinstance(value, dict):
            raise self.error(field, f"expected an object, found {kind_name(value)}")
        if isinstance(value, Repeated):
            raise self.error(
                join_field(field, value.twice), "expected the key once, it occurs again"
            )
        return value

    def get(self, value: Dict[str, Any], field: str, key: str, kind: type) -> Any:
        """Read ``value[key]``, of the kind dict, list, str or int."""
        field = join_field(field, key)
        if key not in value:
            raise self.error(field, f"missing: expected {_KINDS[kind]}")
        found = value[key]
        if not isinstance(found, kind) or isinstance(found, bool):
            raise self.error(field, f"expected {_KINDS[kind]}, found {kind_name(found)}")
        if kind is str:
            self.encodable(field, found)
        return found

    def encodable(self, field: str, value: Any) -> None:
        """Check that the strings of a value are whole characters."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        try:
            text.encode("utf8")
        except UnicodeEncodeError as error:
            raise self.error(
                field,
                f"character {error.start} is half of a surrogate pair: expected whole characters",
            ) from None


def join_field(field: str, key: str) -> str:
    """The path of a field inside another one."""
    return f"{field}.{key}" if field else key
