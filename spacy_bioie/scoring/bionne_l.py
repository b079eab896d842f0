"""BioNNE-L's figures: Acc@1, Acc@5 and MRR of up to five ranked concepts of each gold mention.

Mentions are given, so that only their concepts are scored. A mention's rank is that of its gold
concept among the submission's up to five distinct ones; where the concept is not there, or nothing
was submitted for the mention, it counts as wrong and its reciprocal rank is 0. ``CUILESS`` is an
answer like any other: it is right where the gold mention has no concept. The figures of all gold
mentions stand beside those of the mentions that have a concept (``linked``).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from ..formats.bionne_writing import COLUMNS, MAX_RANK, NO_CONCEPT, SUBMISSION_COLUMNS
from ..formats.errors import FormatError
from ..formats.strict_json import read_utf8
from .bootstrap import Difference, Interval, document_weights
from .files import check_resamples, write_json
from .links import score_candidates

FIGURES = ("acc1", "acc5", "mrr")
_SPANS = re.compile(r"[0-9]+-[0-9]+(?:,[0-9]+-[0-9]+)*")

MentionKey = tuple[str, tuple[tuple[int, int], ...]]  # document, parts in the order of the text


class GoldMention(NamedTuple):
    """What the corpus says of a mention; ``concept`` is ``CUILESS`` where it has none."""

    label: str
    concept: str


class Submission(NamedTuple):
    """Ranks of the concepts of mentions, from 1, and how many rows repeat a concept."""

    ranks: dict[MentionKey, dict[str, int]]
    duplicates: int


def score_ranked(
    gold_ids: Sequence[str], ranked: Sequence[Sequence[str]]
) -> dict[str, float | None]:
    """``acc1``, ``acc5`` and ``mrr`` of ranked concept ids, one list for each gold id.

    Only the first five distinct ids of a list count. An id for mentions without a concept, such as
    ``CUILESS``, counts like any other; mentions whose gold id is "" are left out. All None where
    nothing is left. Raises ValueError where the two arguments differ in length.
    """
    lists = [[(i, 0.0) for i in list(dict.fromkeys(ids))[:MAX_RANK]] for ids in ranked]
    figures = score_candidates(gold_ids, lists, prefix="x")
    return {name: figures[f"x_{name}"] for name in FIGURES}


def evaluate_bionne_files(
    gold: str | Path,
    pred: str | Path,
    *,
    compare: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Score a submission against the corpus's table, both .tsv (see ``formats.bionne``).

    With ``resamples`` above 0 the figures get 95 % confidence intervals over documents.
    ``compare`` names a second submission for a paired comparison.

    Returns (and writes to ``output``, complete or not at all) plain JSON values: ``task``, the
    files, ``documents``, ``mentions``, ``acc1``, ``acc5`` and ``mrr`` of all gold mentions, the
    same with ``mentions`` of groups (``linked``, ``cuiless`` and each type in ``per_type``),
    ``missing_mentions`` (gold ones without a row), ``extra_mentions`` (not in gold, left out),
    ``duplicate_predictions`` (rows that repeat a concept; its first rank counts), ``intervals``
    and ``comparison``. Raises FormatError naming file, line and column, ValueError, OSError.
    """
    check_resamples(resamples, compare)
    mentions = read_gold(gold)
    given = read_submission(pred)
    values = mention_values(mentions, given.ranks)
    labels = numpy.asarray([mention.label for mention in mentions.values()])
    linked = numpy.asarray([mention.concept != NO_CONCEPT for mention in mentions.values()])
    documents, owners = numpy.unique([key[0] for key in mentions], return_inverse=True)
    out: dict[str, Any] = {
        "task": "bionne-l",
        "gold": str(gold),
        "predictions": str(pred),
        "resamples": resamples,
        "seed": seed,
        "documents": len(documents),
        **_means(values),
        "linked": _means(values[linked]),
        "cuiless": _means(values[~linked]),
        "per_type": {label: _means(values[labels == label]) for label in sorted({*labels})},
        "missing_mentions": sum(key not in given.ranks for key in mentions),
        "extra_mentions": sum(key not in mentions for key in given.ranks),
        "duplicate_predictions": given.duplicates,
    }
    if resamples:
        weights = document_weights(len(documents), resamples, seed)[:, owners]
        drawn = _resample(values, weights)
        out["intervals"] = {
            name: vars(Interval(out[name], *_borders(drawn[:, i])))
            for i, name in enumerate(FIGURES)
        }
        if compare is not None:
            other = read_submission(compare)
            rival = mention_values(mentions, other.ranks)
            out["comparison"] = {
                "predictions": str(compare),
                "report": _means(rival),
                "differences": _differences(values, rival, drawn - _resample(rival, weights)),
            }
    if output is not None:
        write_json(output, out)
    return out


def mention_values(
    gold: Mapping[MentionKey, GoldMention], ranks: Mapping[MentionKey, Mapping[str, int]]
) -> numpy.ndarray:
    """Hit at 1, hit at 5 and reciprocal rank of each gold mention: float64, (mentions, 3)."""
    found = [ranks.get(key, {}).get(mention.concept, numpy.inf) for key, mention in gold.items()]
    rank = numpy.asarray(found, dtype="float64")
    return numpy.stack([rank <= 1, rank <= MAX_RANK, 1.0 / rank], axis=-1).astype("float64")


def read_gold(path: str | Path) -> dict[MentionKey, GoldMention]:
    """Read the corpus's table. Raises FormatError, OSError; the texts are not needed."""
    mentions: dict[MentionKey, GoldMention] = {}
    for number, fields in _rows(Path(path), COLUMNS):
        key = _key(Path(path), number, fields[0], fields[3])
        if key in mentions:
            raise FormatError(
                path,
                f"line {number} ({fields[0]})",
                "spans",
                f"found {fields[3]} again: expected one row for each mention",
            )
        mentions[key] = GoldMention(fields[2], fields[4])
    if not mentions:
        raise FormatError(path, "", "", "found no mention: expected at least one row")
    return mentions


def read_submission(path: str | Path) -> Submission:
    """Read a submission. Raises FormatError, also for a rank that is used twice; OSError."""
    ranked: dict[MentionKey, dict[int, str]] = {}
    for number, fields in _rows(Path(path), SUBMISSION_COLUMNS):
        key = _key(Path(path), number, fields[0], fields[1])
        record = f"line {number} ({fields[0]})"
        if fields[2] not in map(str, range(1, MAX_RANK + 1)):
            problem = f"found {fields[2]!r}: expected a number from 1 to {MAX_RANK}"
            raise FormatError(path, record, "rank", problem)
        concepts = ranked.setdefault(key, {})
        if int(fields[2]) in concepts:
            problem = f"found {fields[2]} again for the mention {fields[1]}: expected each once"
            raise FormatError(path, record, "rank", problem)
        concepts[int(fields[2])] = fields[3]
    ranks: dict[MentionKey, dict[str, int]] = {}
    for key, concepts in ranked.items():
        for rank, concept in sorted(concepts.items()):
            ranks.setdefault(key, {}).setdefault(concept, rank)
    rows = sum(map(len, ranked.values()))
    return Submission(ranks, rows - sum(map(len, ranks.values())))


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    header, *lines = read_utf8(path).splitlines() or [""]
    if tuple(header.split("\t")) != tuple(columns):
        problem = f"found {header[:80]!r}: expected the columns {', '.join(columns)}"
        raise FormatError(path, "line 1", "", problem)
    rows = []
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != len(columns):
            problem = f"found {len(fields)} columns: expected {len(columns)}"
            raise FormatError(path, f"line {number}", "", problem)
        for name, value in zip(columns, fields, strict=True):
            if not value:
                raise FormatError(path, f"line {number}", name, f"found {value!r}: expected a text")
        rows.append((number, fields))
    return rows


def _key(path: Path, number: int, document: str, spans: str) -> MentionKey:
    if not _SPANS.fullmatch(spans):
        problem = f"found {spans!r}: expected START-END, or several with commas between"
        raise FormatError(path, f"line {number} ({document})", "spans", problem)
    parts = [part.split("-") for part in spans.split(",")]
    # the parts of a mention stand in any order
    return document, tuple(sorted((int(start), int(end)) for start, end in parts))


def _means(values: numpy.ndarray) -> dict[str, Any]:
    means = values.mean(axis=0).tolist() if len(values) else [None] * len(FIGURES)
    return {"mentions": len(values), **dict(zip(FIGURES, means, strict=True))}


def _resample(values: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
    """Figures of resamples, (resamples, 3); ``weights`` says how often each mention occurs."""
    return (weights @ values) / weights.sum(axis=1, keepdims=True)


def _borders(drawn: numpy.ndarray) -> tuple[float, float]:
    low, high = numpy.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _differences(a: numpy.ndarray, b: numpy.ndarray, drawn: numpy.ndarray) -> dict[str, Any]:
    rarer = numpy.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p_values = numpy.minimum(2.0 * (rarer + 1) / (len(drawn) + 1), 1.0)
    out = {}
    for i, name in enumerate(FIGURES):
        mine, other = float(a[:, i].mean()), float(b[:, i].mean())
        low, high = _borders(drawn[:, i])
        out[name] = vars(Difference(mine, other, mine - other, low, high, float(p_values[i])))
    return out
