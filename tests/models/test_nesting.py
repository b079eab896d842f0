"""Sets of spans that do not cross."""

import numpy
import pytest

from spacy_bioie.models.nesting import select_nested


@pytest.mark.parametrize("n_spans,length,widest", [(300, 60, 8), (60, 400, 12), (40, 12, 12)])
def test_select_nested_is_greedy(n_spans, length, widest):
    generator = numpy.random.default_rng(n_spans)
    for _ in range(5):
        starts = generator.integers(0, length, n_spans)
        ends = starts + generator.integers(1, widest + 1, n_spans)
        ranking = generator.permutation(n_spans)
        taken = []
        for i in ranking.tolist():
            if not any(crosses(starts[i], ends[i], starts[k], ends[k]) for k in taken):
                taken.append(i)
        found = numpy.flatnonzero(select_nested(starts, ends, ranking))
        assert found.tolist() == sorted(taken) and 1 < len(found) < n_spans
    none = numpy.zeros((0,), dtype="int64")
    assert select_nested(none, none, none).shape == (0,)


def crosses(i, j, k, m):
    return i < k < j < m or k < i < m < j
