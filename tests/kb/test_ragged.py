import numpy

from spacy_bioie.kb.ragged import RaggedRows, ragged_positions


def test_positions_of_ranges():
    positions = ragged_positions(numpy.asarray([5, 0, 2]), numpy.asarray([2, 0, 3]))
    assert positions.tolist() == [5, 6, 2, 3, 4]
    assert ragged_positions(numpy.asarray([]), numpy.asarray([])).tolist() == []


def test_rows_and_their_values():
    rows = RaggedRows.from_pairs(numpy.asarray([0, 0, 2]), numpy.asarray([7, 8, 9]), 4)
    assert [row.tolist() for row in rows] == [[7, 8], [], [9], []]
    which, positions = rows.positions(numpy.asarray([2, 1, 0, 0]))
    assert which.tolist() == [0, 2, 2, 3, 3]
    assert rows.values[positions].tolist() == [9, 7, 8, 7, 8]
    again = RaggedRows.from_arrays("x", rows.to_arrays("x"))
    assert [row.tolist() for row in again] == [[7, 8], [], [9], []]
