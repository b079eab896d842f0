"""A knowledge base of concepts that is searched by name with faiss."""

import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy
import srsly
from spacy.kb import Candidate, KnowledgeBase
from spacy.tokens import Span
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab

from ..annotation import Candidates
from . import storage
from .concepts import Concept
from .index import NameIndex, check_device
from .lexical import LexicalVectorizer, normalise_rows
from .linking import LinkingSettings, find_candidates, rank_candidates, score_pairs
from .name_encoders import NoNameEncoder, load_name_encoder
from .name_vectors import NameVectorizer
from .normalisation import normalise_name
from .ragged import RaggedRows
from .tables import KnowledgeTables
from .type_filter import keep_types

INDEX_FILE = "names.faiss"
ARRAYS_FOLDER = "tables"
ENCODER_FOLDER = "encoder"
_IDF = "lexical.idf"
_POSITIONS = "index.positions"  # only of an index that was updated, see NameIndex


class FaissKnowledgeBase(KnowledgeBase):
    """Concepts, a dictionary of their normalised names, and a faiss index over name vectors.

    It is built by ``build_knowledge_base``, changed by ``update_knowledge_base``, and saved as a
    folder, from which arrays and index are memory-mapped. ``FaissKnowledgeBase(vocab)`` is one
    without concepts, to be filled by ``from_disk`` or ``from_bytes``. Concepts stay as they are
    while a pipeline trains.

    vocab: its strings get the ids of candidates.
    tables: concepts and names.
    vectorizer: turns normalised names into vectors.
    index: over the vectors of ``tables.names``; None if there are no names.
    """

    def __init__(
        self,
        vocab: Vocab,
        tables: Optional[KnowledgeTables] = None,
        vectorizer: Optional[NameVectorizer] = None,
        index: Optional[NameIndex] = None,
    ):
        if tables is None:
            tables = KnowledgeTables.build([], {})
        if vectorizer is None:
            vectorizer = NameVectorizer(LexicalVectorizer.fit([]), NoNameEncoder())
        self._device = "auto"
        self._set(vocab, tables, vectorizer, index)

    def _set(
        self,
        vocab: Vocab,
        tables: KnowledgeTables,
        vectorizer: NameVectorizer,
        index: Optional[NameIndex],
    ) -> None:
        indexed = (len(index), index.dims) if index is not None else (0, vectorizer.dims)
        if indexed != (len(tables.names), vectorizer.dims):
            raise ValueError(
                f"The index holds {indexed[0]} vectors of width {indexed[1]}: expected one for "
                f"each of the {len(tables.names)} names, of width {vectorizer.dims}."
            )
        # entity_vector_length is read-only: only the constructor of the base class sets it
        super().__init__(vocab, vectorizer.dims)
        self.tables = tables
        self.vectorizer = vectorizer
        self.index = index
        self.device = self._device

    def __len__(self) -> int:
        """The number of concepts."""
        return len(self.tables.concept_ids)

    def __contains__(self, concept_id: object) -> bool:
        return isinstance(concept_id, str) and self.tables.concept_row(concept_id) >= 0

    def __bool__(self) -> bool:
        # a knowledge base without concepts still is one
        return True

    def is_empty(self) -> bool:
        """Whether there is no concept."""
        return len(self) == 0

    @property
    def device(self) -> str:
        """Where names are searched, ``auto`` or another one of ``NameIndex``. It is not saved."""
        return self._device

    @device.setter
    def device(self, device: str) -> None:
        self._device = check_device(device)
        if self.index is not None:
            self.index.device = device

    @property
    def context_dims(self) -> int:
        """The width of ``concept_vectors``."""
        columns = self.vectorizer.context_slice
        return columns.stop - columns.start

    def concept(self, concept_id: str) -> Concept:
        """The concept of an id, or of another id of it. Raises KeyError where there is none."""
        row = self.tables.concept_row(concept_id)
        if row < 0:
            raise KeyError(f"The knowledge base has no concept '{concept_id}'.")
        return self.tables.concept(row)

    def main_id(self, concept_id: str) -> str:
        """The id that a concept has as a candidate; an id that is not known stays as it is."""
        row = self.tables.concept_row(concept_id)
        return self.tables.concept_ids[row] if row >= 0 else concept_id

    def training_mentions(self, concept_id: str) -> int:
        """How many training mentions a concept has; 0 for one that is not known."""
        row = self.tables.concept_row(concept_id)
        return int(self.tables.concept_counts[row]) if row >= 0 else 0

    def search(
        self,
        texts: Sequence[str],
        labels: Optional[Sequence[str]] = None,
        *,
        top_k: int = 5,
        settings: Optional[LinkingSettings] = None,
    ) -> List[Candidates]:
        """The concepts that texts may name, as (concept id, score), best first.

        labels: the entity label of each text, where it is known.
        settings: without a weight for the context, which is not known here.
        """
        settings = settings or LinkingSettings()
        names = [normalise_name(text) for text in texts]
        labels = labels or [""] * len(names)
        pairs = find_candidates(self, names, labels, settings)
        pairs = keep_types(self, pairs, labels, settings.label_types)
        scores = score_pairs(self, pairs, settings)
        return rank_candidates(self, pairs, scores, len(names), top_k)

    def query_vectors(
        self,
        names: Sequence[str],
        name_rows: Optional[numpy.ndarray] = None,
        meanings: Optional[numpy.ndarray] = None,
    ) -> numpy.ndarray:
        """Vectors of distinct normalised names: float32, (names, entity_vector_length).

        name_rows: their rows where they are known, -1 elsewhere. Names of the knowledge base are
        not encoded again if the index keeps vectors as they are.
        meanings: vectors for the semantic part of names that are not known, float32, (names,
        context_dims), of any length. With them the name encoder is not asked, and names may be
        repeated.
        """
        if name_rows is None or self.index is None:
            name_rows = numpy.full((len(names),), -1, dtype="int64")
        if meanings is not None:
            out = self.vectorizer.vectors_of_meanings(names, meanings)
            known = name_rows >= 0
            if self.index is not None:
                out[known] = self.index.vectors(name_rows[known])
            return out
        if self.index is None or not self.index.is_exact:
            return self.vectorizer.cached_vectors(names)
        out = numpy.empty((len(names), self.vectorizer.dims), dtype="float32")
        known = name_rows >= 0
        out[known] = self.index.vectors(name_rows[known])
        new = numpy.nonzero(~known)[0]
        out[new] = self.vectorizer.cached_vectors([names[int(i)] for i in new])
        return out

    def search_vectors(self, queries: numpy.ndarray, k: int) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """The k nearest names: inner products and rows, as ``NameIndex.search`` gives them."""
        if self.index is None:
            n = len(queries)
            return numpy.zeros((n, 0), dtype="float32"), numpy.zeros((n, 0), dtype="int64")
        return self.index.search(queries, k)

    def concept_vectors(self, rows: numpy.ndarray) -> numpy.ndarray:
        """What contexts are compared with: float32, (concepts, context_dims), of length 1.

        It is the mean over a concept's names of the semantic part of their vectors, or of the
        lexical part where there is no name encoder; zeros for a concept without names.
        """
        return self._mean_vectors(rows, self.vectorizer.context_slice)

    def get_vector(self, entity: str) -> numpy.ndarray:
        """The mean of the name vectors of a concept, of length 1 (zeros without names or concept).

        RETURNS: float32, (entity_vector_length,).
        """
        row = self.tables.concept_row(entity)
        if row < 0:
            return numpy.zeros((self.entity_vector_length,), dtype="float32")
        return self._mean_vectors(numpy.asarray([row]), slice(0, self.vectorizer.dims))[0]

    def get_candidates(self, mention: Span) -> Iterable[Candidate]:
        """The candidates of a span, best first, with the score of its text as prior probability."""
        return next(iter(self.get_candidates_batch([mention])))

    def get_candidates_batch(self, mentions: Iterable[Span]) -> Iterable[Iterable[Candidate]]:
        """The candidates of several spans, found in one search.

        The score of text and label, see ``score_pairs``, stands as prior probability; the sum of
        those of a span can exceed 1.
        """
        spans = list(mentions)
        found = self.search([span.text for span in spans], [span.label_ for span in spans])
        strings = self.vocab.strings
        out = []
        for span, candidates in zip(spans, found, strict=True):
            alias = strings.add(span.text)
            out.append(
                [
                    Candidate(
                        self,
                        entity_hash=strings.add(concept_id),
                        entity_freq=float(
                            self.tables.concept_counts[self.tables.concept_row(concept_id)]
                        ),
                        entity_vector=self.get_vector(concept_id),
                        alias_hash=alias,
                        prior_prob=score,
                    )
                    for concept_id, score in candidates
                ]
            )
        return out

    def _mean_vectors(self, rows: numpy.ndarray, columns: slice) -> numpy.ndarray:
        concept_names: RaggedRows = self.tables.concept_names
        which, positions = concept_names.positions(rows)
        out = numpy.zeros((len(rows), columns.stop - columns.start), dtype="float32")
        if self.index is None or not len(which):
            return out
        names, place = numpy.unique(concept_names.values[positions], return_inverse=True)
        vectors = self.index.vectors(names)[:, columns]
        filled, first = numpy.unique(which, return_index=True)
        out[filled] = numpy.add.reduceat(vectors[place], first, axis=0)
        return normalise_rows(out)

    def to_disk(self, path: Union[str, Path], exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """Save into a folder, which is written beside and renamed.

        Raises ValueError where ``path`` is a file, or a folder of other files.
        """
        storage.write_folder(path, self._settings(), self._write_files)

    def from_disk(
        self,
        path: Union[str, Path],
        exclude: Iterable[str] = SimpleFrozenList(),
        *,
        mmap: bool = True,
        check: str = "auto",
    ) -> "FaissKnowledgeBase":
        """Load from a folder.

        mmap: map tables and index into memory instead of reading them.
        check: of the files, see ``storage.check_files``.

        Raises FileNotFoundError or ValueError, with the name of the file, where the folder is no
        knowledge base or one of its files is missing, damaged or foreign.
        """
        path = Path(path)
        meta = storage.read_meta(path)
        storage.check_files(path, meta, check)
        settings = meta["settings"]
        arrays = storage.read_arrays(path / ARRAYS_FOLDER, mmap=mmap)
        try:
            lexical = LexicalVectorizer(settings["lexical_dims"], arrays.pop(_IDF))
            positions = arrays.pop(_POSITIONS, None)
            tables = KnowledgeTables.from_arrays(arrays)
            encoder = load_name_encoder(settings["name_encoder"], path / ENCODER_FOLDER)
            vectorizer = NameVectorizer(
                lexical,
                encoder,
                lexical_weight=settings["lexical_weight"],
                semantic_weight=settings["semantic_weight"],
            )
        except KeyError as error:
            raise ValueError(
                f"'{path}' is damaged: its tables or settings lack {error}, which knowledge bases "
                "of this version have."
            ) from None
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"'{path / storage.META_FILE}' is damaged: its settings do not fit, {error}"
            ) from None
        index = None
        if len(tables.names):
            if not (path / INDEX_FILE).is_file():
                raise ValueError(f"'{path / INDEX_FILE}' is missing from the knowledge base.")
            index = NameIndex.read(path / INDEX_FILE, mmap=mmap, positions=positions)
        try:
            self._set(self.vocab, tables, vectorizer, index)
        except (TypeError, ValueError) as error:
            raise ValueError(f"'{path}' is damaged: {error}") from None
        return self

    def to_bytes(self, **kwargs: Any) -> bytes:
        """The files of the folder, packed."""
        with tempfile.TemporaryDirectory(prefix="kb-") as folder:
            self.to_disk(Path(folder) / "kb")
            return srsly.msgpack_dumps(storage.pack_folder(Path(folder) / "kb"))

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "FaissKnowledgeBase":
        """Load what ``to_bytes`` gave. Raises ValueError where it is something else."""
        files = srsly.msgpack_loads(bytes_data)
        if not isinstance(files, dict) or storage.META_FILE not in files:
            raise ValueError("Expected the bytes of a FaissKnowledgeBase, got something else.")
        with tempfile.TemporaryDirectory(prefix="kb-") as folder:
            storage.unpack_folder(files, folder)
            return self.from_disk(folder, mmap=False)

    def __reduce__(self) -> Tuple[Any, ...]:
        return _unpickle, (self.vocab, self.to_bytes(), self.device)

    def _settings(self) -> Dict[str, Any]:
        return {
            "concepts": len(self),
            "names": len(self.tables.names),
            "lexical_dims": self.vectorizer.lexical.dims,
            "lexical_weight": self.vectorizer.lexical_weight,
            "semantic_weight": self.vectorizer.semantic_weight,
            "name_encoder": self.vectorizer.encoder.settings(),
        }

    def _write_files(self, folder: Path) -> None:
        arrays = {**self.tables.to_arrays(), _IDF: self.vectorizer.lexical.idf}
        if self.index is not None and self.index.positions is not None:
            arrays[_POSITIONS] = self.index.positions
        storage.write_arrays(folder / ARRAYS_FOLDER, arrays)
        if self.index is not None:
            self.index.write(folder / INDEX_FILE)
        if self.vectorizer.encoder.dims:
            self.vectorizer.encoder.save(folder / ENCODER_FOLDER)


def _unpickle(vocab: Vocab, content: bytes, device: str) -> FaissKnowledgeBase:
    kb = FaissKnowledgeBase(vocab).from_bytes(content)
    kb.device = device
    return kb
