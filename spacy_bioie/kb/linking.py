"""Which concepts a mention may name: dictionary, search, and the score that joins the evidence."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence, Tuple

import numpy

from ..annotation import Candidates
from .hit_details import hit_details
from .ragged import RaggedRows

if TYPE_CHECKING:
    from .knowledge_base import FaissKnowledgeBase

# The most that a name without training evidence can score
NAME_CEILING = 0.9
# Of a mention and a name that are not equal, but have the same key (``fold_name``)
FOLDED_SIMILARITY = 0.99
# The most that a search gives another name: compressed vectors can have products above 1
SEARCHED_CEILING = 0.9999
# A concept seen n times in n training mentions of a name has the evidence n / (n + 0.5)
EVIDENCE_SMOOTHING = 0.5


@dataclass(frozen=True)
class LinkingSettings:
    """How candidates are found and weighed.

    n_search: names that the search returns for a mention; 0 asks the dictionary alone.
    dictionary: whether equal normalised names, names that differ in number, Greek letters or
        Roman numerals where there is no equal one, and training evidence count; without them
        only the similarity of name vectors does.
    prior_weight: of log(1 + training mentions of the concept).
    label_weight: taken off where the labels of a concept are known and the mention's is another.
    context_weight: of the cosine of the mention in its context and the concept.
    details: whether the pairs get what a reranker reads, see ``hit_details``.
    label_types: which concepts a label allows, see ``keep_types``.
    """

    n_search: int = 32
    dictionary: bool = True
    prior_weight: float = 0.01
    label_weight: float = 0.1
    context_weight: float = 0.0
    details: bool = False
    label_types: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of a mention and a candidate concept, sorted by mention, then by row of concept.

    mentions, concepts: int64, (pairs,). similarity: of the nearest name, float64, 1 for an equal
    name. evidence: from training mentions of the same label and name (or, for a name that is not
    known, those with its key), float64 in [0, 1).
    label_mismatch: bool. log_count: log(1 + training mentions of the concept), float64.
    details: float32, (pairs, 19), where ``LinkingSettings.details`` asks for them.
    """

    mentions: numpy.ndarray
    concepts: numpy.ndarray
    similarity: numpy.ndarray
    evidence: numpy.ndarray
    label_mismatch: numpy.ndarray
    log_count: numpy.ndarray
    details: Optional[numpy.ndarray] = None

    def select(self, rows: numpy.ndarray) -> "CandidatePairs":
        """Some of the pairs, by their rows."""
        chosen = {name: v[rows] for name, v in vars(self).items() if v is not None}
        return replace(self, **chosen)


def find_candidates(
    kb: "FaissKnowledgeBase",
    names: Sequence[str],
    labels: Sequence[str],
    settings: LinkingSettings,
    meanings: Optional[numpy.ndarray] = None,
) -> CandidatePairs:
    """Find the candidates of mentions, given by normalised names and entity labels.

    Each distinct name is searched once, all of them in one call.

    meanings: vectors that stand for those of the name encoder where a name is not known, (names,
        context_dims), of any length. Then each name is searched by itself.
    """
    tables = kb.tables
    asked = numpy.asarray([i for i, name in enumerate(names) if name], dtype="int64")
    if meanings is None:
        distinct = sorted({name for name in names if name})
        place = {name: i for i, name in enumerate(distinct)}
        of_name = numpy.asarray([place[name] for name in names if name], dtype="int64")
    else:
        distinct = [name for name in names if name]
        meanings, of_name = meanings[asked], numpy.arange(len(asked))
    name_rows = tables.name_rows(distinct)
    queries = _query_vectors(kb, distinct, name_rows, settings, meanings)
    # A name that ``without_mentions`` has left without a concept is as good as unknown
    offsets = tables.name_concepts.offsets
    name_rows = numpy.where(offsets[name_rows + 1] > offsets[name_rows], name_rows, -1)
    entries = _dictionary_entries(kb, distinct, name_rows, settings)
    hits = _named_hits(kb, queries, name_rows, entries, settings)
    found = _concepts_of_hits(kb, hits)
    which, positions = found.rows.positions(of_name)
    mentions = asked[which]
    concepts = found.rows.values[positions].astype("int64")
    label_rows = tables.label_rows(labels)
    evidence = numpy.zeros((len(mentions),), dtype="float64")
    if settings.dictionary and len(mentions):
        n = len(tables.concept_ids)
        keys, shares = _evidence(kb, asked, of_name, entries, label_rows)
        evidence[numpy.searchsorted(mentions * n + concepts, keys)] = shares
    details = None
    if settings.details:
        details = hit_details(
            kb, hits, distinct, queries, asked, of_name, label_rows, (mentions, concepts)
        )
    return CandidatePairs(
        mentions=mentions,
        concepts=concepts,
        similarity=found.similarity[positions],
        evidence=evidence,
        label_mismatch=tables.label_mismatch(concepts, label_rows[mentions]),
        log_count=numpy.log1p(tables.concept_counts[concepts].astype("float64")),
        details=details,
    )


def merge_mentions(pairs: CandidatePairs, owners: numpy.ndarray) -> CandidatePairs:
    """Join the candidates of several names of one mention.

    A concept that more than one of the names gives keeps its greatest similarity. Evidence is
    that of the mention's first name that has any: what training mentions with the text as written
    say goes before what those with its long form say.

    pairs: of names, as ``find_candidates`` gives them. owners: for each name its mention, int64,
        (names,); names of one mention were asked for with one label.
    """
    named = numpy.flatnonzero(
        numpy.bincount(pairs.mentions, weights=pairs.evidence, minlength=len(owners))
    )
    leading = numpy.full((owners.max(initial=-1) + 1,), len(owners))
    numpy.minimum.at(leading, owners[named], named)
    mentions = owners[pairs.mentions]
    evidence = numpy.where(pairs.mentions == leading[mentions], pairs.evidence, 0.0)
    order = numpy.lexsort((pairs.concepts, mentions))
    keys = mentions[order] * (pairs.concepts.max(initial=-1) + 1) + pairs.concepts[order]
    _, starts = numpy.unique(keys, return_index=True)
    first = order[starts]

    def greatest(values: numpy.ndarray) -> numpy.ndarray:
        return numpy.maximum.reduceat(values[order], starts) if len(starts) else values

    return CandidatePairs(
        mentions=mentions[first],
        concepts=pairs.concepts[first],
        similarity=greatest(pairs.similarity),
        evidence=greatest(evidence),
        label_mismatch=pairs.label_mismatch[first],
        log_count=pairs.log_count[first],
        details=None if pairs.details is None else greatest(pairs.details),
    )


def score_pairs(
    kb: "FaissKnowledgeBase",
    pairs: CandidatePairs,
    settings: LinkingSettings,
    context: Optional[numpy.ndarray] = None,
) -> numpy.ndarray:
    """Score candidates: float64 in [0, 1], shape (pairs,).

    The score of the name is s = 0.9 * max(0, similarity - label_weight * mismatch +
    prior_weight * log_count + context_weight * context) / (1 + prior_weight * greatest log_count +
    context_weight). Training evidence e joins it as 1 - (1 - s) * (1 - e), the rule by which
    spaCy's ``entity_linker`` joins prior and similarity: a name without evidence stays below 0.9,
    one whose training mentions with this label always had the same concept comes close to 1.

    context: cosines of shape (pairs,), needed where ``context_weight`` is not 0.
    """
    raw = pairs.similarity - settings.label_weight * pairs.label_mismatch
    raw = raw + settings.prior_weight * pairs.log_count
    if settings.context_weight:
        if context is None:
            raise ValueError("context_weight is not 0, but no cosines with the context are given.")
        raw = raw + settings.context_weight * context
    greatest = 1 + settings.prior_weight * kb.tables.max_log_count + settings.context_weight
    named = NAME_CEILING * numpy.clip(raw / greatest, 0, 1)
    return 1 - (1 - named) * (1 - pairs.evidence)


def rank_candidates(
    kb: "FaissKnowledgeBase",
    pairs: CandidatePairs,
    scores: numpy.ndarray,
    n_mentions: int,
    top_k: int,
    ties: Optional[numpy.ndarray] = None,
) -> List[Candidates]:
    """The best (concept id, score) pairs of each mention, best first.

    Equal scores (to five decimals, so that the order of additions plays no part) are ordered by
    ``ties``, (pairs,), likewise, and then by concept id.
    """
    scores = numpy.round(scores, 5)
    ties = numpy.zeros_like(scores) if ties is None else numpy.round(ties, 5)
    order = numpy.lexsort((pairs.concepts, -ties, -scores, pairs.mentions))
    mentions = pairs.mentions[order]
    first = numpy.searchsorted(mentions, numpy.arange(n_mentions))
    kept = order[numpy.arange(len(order)) - first[mentions] < top_k] if len(order) else order
    ids = kb.tables.concept_ids
    ranked: List[Candidates] = [[] for _ in range(n_mentions)]
    for mention, concept, score in zip(
        pairs.mentions[kept].tolist(),
        pairs.concepts[kept].tolist(),
        scores[kept].tolist(),
        strict=True,
    ):
        ranked[mention].append((ids[concept], score))
    return ranked


def hard_negatives(
    kb: "FaissKnowledgeBase",
    pairs: CandidatePairs,
    gold: numpy.ndarray,
    settings: LinkingSettings,
    n: int,
) -> numpy.ndarray:
    """The n best wrong candidates of each mention, by everything but the context.

    gold: for each mention the row of its concept, int64; -1 for a mention to be left out.
    RETURNS: rows of concepts, int64, of all mentions together; a row may be repeated.
    """
    scores = score_pairs(kb, pairs, replace(settings, context_weight=0.0))
    wrong = (gold[pairs.mentions] >= 0) & (pairs.concepts != gold[pairs.mentions])
    mentions, concepts = pairs.mentions[wrong], pairs.concepts[wrong]
    order = numpy.lexsort((concepts, -numpy.round(scores[wrong], 5), mentions))
    mentions, concepts = mentions[order], concepts[order]
    rank = numpy.arange(len(mentions)) - numpy.searchsorted(mentions, mentions)
    return concepts[rank < n]


@dataclass(frozen=True)
class _NamedConcepts:
    rows: RaggedRows  # for each distinct name the rows of its candidates, ascending
    similarity: numpy.ndarray  # float64, aligned with rows.values


def _dictionary_entries(
    kb: "FaissKnowledgeBase",
    distinct: Sequence[str],
    name_rows: numpy.ndarray,
    settings: LinkingSettings,
) -> RaggedRows:
    """For each name the row of the equal name, or of all names with its key if there is none."""
    if not settings.dictionary:
        return RaggedRows.from_pairs(name_rows[:0], name_rows[:0], len(distinct))
    unknown = numpy.nonzero(name_rows < 0)[0]
    folded = kb.tables.folded_rows([distinct[int(i)] for i in unknown])
    which, positions = folded.positions(numpy.arange(len(unknown)))
    known = numpy.nonzero(name_rows >= 0)[0]
    queries = numpy.concatenate([known, unknown[which]])
    rows = numpy.concatenate([name_rows[known], folded.values[positions]])
    order = numpy.argsort(queries, kind="stable")
    return RaggedRows.from_pairs(queries[order], rows[order], len(distinct))


def _query_vectors(
    kb: "FaissKnowledgeBase",
    distinct: Sequence[str],
    name_rows: numpy.ndarray,
    settings: LinkingSettings,
    meanings: Optional[numpy.ndarray],
) -> numpy.ndarray:
    """Vectors of names, as far as they are needed: float32, (names, dims)."""
    if len(distinct) and len(kb.tables.names) and (settings.n_search or settings.details):
        return kb.query_vectors(distinct, name_rows, meanings)
    return numpy.zeros((len(distinct), kb.vectorizer.dims), dtype="float32")


def _named_hits(
    kb: "FaissKnowledgeBase",
    queries: numpy.ndarray,
    name_rows: numpy.ndarray,
    entries: RaggedRows,
    settings: LinkingSettings,
) -> Tuple[RaggedRows, numpy.ndarray]:
    """For each name the rows of the names found, each once, and their greatest similarities."""
    n = len(queries)
    which, positions = entries.positions(numpy.arange(n))
    asked, rows = [which], [entries.values[positions].astype("int64")]
    similarity = [numpy.where(name_rows[which] >= 0, 1.0, FOLDED_SIMILARITY)]
    if settings.n_search and n and len(kb.tables.names):
        products, hits = kb.search_vectors(queries, settings.n_search)
        filled = hits >= 0
        asked.append(numpy.nonzero(filled)[0])
        rows.append(hits[filled])
        # -1 is the row of a name that is not known, and of a missing hit, which is dropped
        ceiling = numpy.where(hits == name_rows[:, None], 1.0, SEARCHED_CEILING)
        similarity.append(numpy.minimum(products.astype("float64"), ceiling)[filled])
    return _greatest(
        numpy.concatenate(asked), numpy.concatenate(rows), numpy.concatenate(similarity), n
    )


def _concepts_of_hits(
    kb: "FaissKnowledgeBase", hits: Tuple[RaggedRows, numpy.ndarray]
) -> _NamedConcepts:
    tables = kb.tables
    query, at = hits[0].positions(numpy.arange(len(hits[0])))
    pair, positions = tables.name_concepts.positions(hits[0].values[at])
    concepts = tables.name_concepts.values[positions].astype("int64")
    return _NamedConcepts(*_greatest(query[pair], concepts, hits[1][at][pair], len(hits[0])))


def _greatest(
    queries: numpy.ndarray, rows: numpy.ndarray, values: numpy.ndarray, n: int
) -> Tuple[RaggedRows, numpy.ndarray]:
    """For each of n queries its rows, ascending and each once, with the greatest of its values."""
    order = numpy.lexsort((-values, rows, queries))
    queries, rows, values = queries[order], rows[order], values[order]
    best = numpy.ones((len(queries),), dtype="bool")
    best[1:] = (queries[1:] != queries[:-1]) | (rows[1:] != rows[:-1])
    return RaggedRows.from_pairs(queries[best], rows[best], n), values[best]


def _evidence(
    kb: "FaissKnowledgeBase",
    mentions: numpy.ndarray,
    of_name: numpy.ndarray,
    entries: RaggedRows,
    label_rows: numpy.ndarray,
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Keys mention * concepts + concept, and the evidence of training mentions for these pairs.

    of_name: for each of ``mentions`` the row of its name in ``entries``.
    """
    tables = kb.tables
    which, at = entries.positions(of_name)
    mention = mentions[which]
    which, positions = tables.evidence.positions(entries.values[at])
    mention = mention[which]
    same = tables.evidence_labels[positions] == label_rows[mention]
    mention, positions = mention[same], positions[same]
    keys = mention * len(tables.concept_ids) + tables.evidence.values[positions]
    keys, place = numpy.unique(keys, return_inverse=True)
    counts = numpy.bincount(place, weights=tables.evidence_counts[positions], minlength=len(keys))
    mention = keys // max(len(tables.concept_ids), 1)
    totals = numpy.bincount(mention, weights=counts, minlength=1)
    return keys, counts / (totals[mention] + EVIDENCE_SMOOTHING)
