import pytest

from spacy_bioie.formats import FormatError
from spacy_bioie.formats.strict_json import (
    RecordReader,
    Repeated,
    join_field,
    kind_name,
    parse_json,
    read_utf8,
)


def test_repeated_keys_keep_the_first_value():
    value = parse_json('{"a": 1, "b": {"c": 2, "c": 3}, "a": 4}', "f.json")
    assert isinstance(value, Repeated) and value.twice == "a"
    assert value["a"] == 1 and value.rows[-1] == ("a", 4)
    assert value["b"] == {"c": 2} and value["b"].twice == "c"


@pytest.mark.parametrize("text", ["Infinity", "[-Infinity]", '{"a": NaN}'])
def test_constants_that_json_lacks(text):
    with pytest.raises(FormatError, match="f.json: line 3: not valid JSON: it has no"):
        parse_json(text, "f.json", "line 3")


def test_read_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_utf8(path) == "one\ntwo\nthree\n"


def test_kinds_and_fields():
    assert [kind_name(v) for v in (None, False, {}, [], "", 1, 1.5)] == [
        "null",
        "false",
        "an object",
        "a list",
        "a string",
        "an integer",
        "a number",
    ]
    assert join_field("", "a") == "a" and join_field("a", "b") == "a.b"
    with pytest.raises(FormatError, match="f: r: a.b: missing: expected a list"):
        RecordReader("f", "r").get({}, "a", "b", list)
