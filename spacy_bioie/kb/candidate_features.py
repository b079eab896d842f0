"""Candidates as rows of numbers: what a reranker learns from."""

from typing import TYPE_CHECKING

import numpy

from .hit_details import DETAILS
from .linking import CandidatePairs

if TYPE_CHECKING:
    from .knowledge_base import FaissKnowledgeBase

# Columns that are also given less the greatest value among the candidates of the mention
_RELATIVE = ("similarity", "lexical", "semantic")
FEATURES = (
    *DETAILS,
    "similarity",
    "evidence",
    "log_count",
    "log_label_count",
    "label_known",
    "label_match",
    "best_evidence",
    *(f"{name}_behind_best" for name in _RELATIVE),
    "no_link",
)


def candidate_features(
    kb: "FaissKnowledgeBase", pairs: CandidatePairs, label_rows: numpy.ndarray
) -> numpy.ndarray:
    """The columns ``FEATURES`` of candidates and of "no link": float32, (pairs + mentions, 30).

    The last rows are one for each mention, the choice of no link: the column ``no_link`` is 1
    there, and the others hold the greatest value among the candidates of the mention, at least 0.

    pairs: with details, see ``LinkingSettings``. label_rows: of each mention, int64, (mentions,).
    """
    assert pairs.details is not None
    n_pairs, n = len(pairs.mentions), len(label_rows)
    out = numpy.zeros((n_pairs + n, len(FEATURES)), dtype="float32")
    columns = {name: out[:n_pairs, i] for i, name in enumerate(FEATURES)}
    for i, name in enumerate(DETAILS):
        columns[name][:] = pairs.details[:, i]
    columns["similarity"][:] = pairs.similarity
    columns["evidence"][:] = pairs.evidence
    columns["log_count"][:] = pairs.log_count
    labels = label_rows[pairs.mentions]
    columns["log_label_count"][:] = _log_label_counts(kb, pairs.concepts, labels)
    n_labels, keys = max(len(kb.tables.labels), 1), kb.tables.label_keys
    first = numpy.searchsorted(keys, pairs.concepts * n_labels)
    known = numpy.searchsorted(keys, (pairs.concepts + 1) * n_labels) > first
    columns["label_known"][:] = known
    columns["label_match"][:] = known & (labels >= 0) & ~pairs.label_mismatch
    columns["best_evidence"][:] = _greatest(pairs.evidence, pairs.mentions, n)[pairs.mentions]
    for name in _RELATIVE:
        best = _greatest(columns[name], pairs.mentions, n)
        columns[f"{name}_behind_best"][:] = columns[name] - best[pairs.mentions]
    numpy.maximum.at(out[n_pairs:], pairs.mentions, out[:n_pairs])
    out[n_pairs:, FEATURES.index("no_link")] = 1.0
    return out


def _log_label_counts(
    kb: "FaissKnowledgeBase", concepts: numpy.ndarray, labels: numpy.ndarray
) -> numpy.ndarray:
    """log(1 + training mentions of the concept that have this label): float64."""
    tables = kb.tables
    n = max(len(tables.labels), 1)
    asked = numpy.flatnonzero(numpy.isin(tables.evidence.values, concepts))
    keys, place = numpy.unique(
        tables.evidence.values[asked].astype("int64") * n + tables.evidence_labels[asked],
        return_inverse=True,
    )
    counts = numpy.append(numpy.bincount(place, weights=tables.evidence_counts[asked]), 0.0)
    at = numpy.searchsorted(keys, concepts * n + labels)
    found = (numpy.append(keys, -1)[at] == concepts * n + labels) & (labels >= 0)
    return numpy.log1p(numpy.where(found, counts[at], 0.0))


def _greatest(values: numpy.ndarray, groups: numpy.ndarray, n: int) -> numpy.ndarray:
    out = numpy.full((n,), -numpy.inf, dtype="float64")
    numpy.maximum.at(out, groups, values)
    return out
