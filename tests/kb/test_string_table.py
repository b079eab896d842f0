import numpy
import pytest

from spacy_bioie.kb.string_table import StringTable

STRINGS = sorted(["", "alpha", "β-synuclein", "😀", "alphabet", "\ud800"])


def test_strings_come_back():
    table = StringTable.from_strings(STRINGS)
    assert list(table) == STRINGS
    assert table.take(numpy.asarray([2, 0])) == [STRINGS[2], STRINGS[0]]
    assert list(StringTable.from_arrays("x", table.to_arrays("x"))) == STRINGS


def test_find_in_sorted_strings():
    table = StringTable.from_strings(STRINGS)
    assert [table.find_sorted(string) for string in STRINGS] == list(range(len(STRINGS)))
    assert table.find_sorted("alph") == table.find_sorted("zzz\U0010ffff") == -1


def test_empty_table():
    table = StringTable.from_strings([])
    assert len(table) == 0 and table.find_sorted("x") == -1
    with pytest.raises(IndexError):
        table[0]
