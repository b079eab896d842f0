"""Building a knowledge base from concepts and from the mentions of a training corpus."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Tuple, Union

import numpy
from spacy.vocab import Vocab

from ..annotation import SPANS_KEY
from .concepts import Concept, merge_concepts, read_concepts
from .index import NameIndex
from .knowledge_base import FaissKnowledgeBase
from .lexical import LexicalVectorizer
from .name_encoders import NameEncoder, NoNameEncoder
from .name_vectors import NameVectorizer
from .tables import KnowledgeTables
from .training_names import TrainingNames, read_training_names

DUPLICATES = ("merge", "error")


@dataclass(frozen=True)
class BuildReport:
    """What went into a knowledge base.

    concepts, names: in it (names are distinct normalised names). records: read from the sources.
    duplicate_ids: records merged into an earlier one of the same id. nameless_concepts: kept, but
    no search finds them. ambiguous_names: names of more than one concept. training_mentions:
    counted; unlinked_mentions: left out, they have no concept id or no text. training_names: names
    that only training mentions give; training_concepts: concepts that only they know.
    """

    concepts: int
    names: int
    records: int
    duplicate_ids: int
    nameless_concepts: int
    ambiguous_names: int
    training_mentions: int
    unlinked_mentions: int
    training_names: int
    training_concepts: int

    def to_dict(self) -> Dict[str, int]:
        return asdict(self)


def build_knowledge_base(
    sources: Iterable[Union[str, Path, Concept]],
    *,
    vocab: Optional[Vocab] = None,
    mentions: Union[TrainingNames, Iterable[Union[str, Path]]] = (),
    spans_key: str = SPANS_KEY,
    name_encoder: Optional[NameEncoder] = None,
    index: str = "Flat",
    search_parameters: str = "",
    lexical_weight: float = 0.5,
    semantic_weight: float = 0.5,
    lexical_dims: int = 256,
    duplicates: str = "merge",
    progress: bool = False,
) -> Tuple[FaissKnowledgeBase, BuildReport]:
    """Build a knowledge base. Nothing is saved: call ``to_disk`` on the result.

    sources: files of concepts, see ``read_concepts``, or Concept objects.
    vocab: of the pipeline that uses it; a new one by default.
    mentions: corpora (.spacy) whose linked mentions ``doc.spans[spans_key]`` become names too,
        counted for each name, label and concept: they decide between concepts of one name. Their
        concepts that no source has are added, named by the mention.
    name_encoder: gives the semantic part of name vectors; none by default.
    index, search_parameters: see ``NameIndex.build``.
    lexical_weight, semantic_weight, lexical_dims: see ``NameVectorizer``. A part without weight
        is left out.
    duplicates: an id that occurs again is merged with its earlier record ("merge") or refused
        ("error").
    progress: show progress bars.

    Raises ValueError and FileNotFoundError as the functions above, and ValueError where an id
    occurs again and ``duplicates`` is "error".
    """
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates is {duplicates!r}: expected one of {list(DUPLICATES)}.")
    records = list(_read_all(sources, progress))
    concepts, repeated = merge_concepts(records)
    if repeated and duplicates == "error":
        raise ValueError(
            f"{len(repeated)} concept ids occur more than once, the first is '{repeated[0]}': "
            "expected distinct ids. Duplicates are merged with duplicates='merge'."
        )
    if not isinstance(mentions, TrainingNames):
        mentions = read_training_names(mentions, spans_key)
    mentions = _main_ids(mentions, concepts)
    merged = len(concepts)
    added = mentions.new_concepts(concept.concept_id for concept in concepts)
    concepts = sorted([*concepts, *added], key=lambda concept: concept.concept_id)
    tables = KnowledgeTables.build(concepts, mentions.counts, {c.concept_id for c in added})
    names = list(tables.names)
    encoder: NameEncoder = NoNameEncoder()
    if name_encoder is not None and semantic_weight != 0:
        encoder = name_encoder
    vectorizer = NameVectorizer(
        LexicalVectorizer.fit(names, lexical_dims if lexical_weight != 0 else 0),
        encoder,
        lexical_weight=lexical_weight,
        semantic_weight=semantic_weight,
    )
    name_index = None
    if names:
        vectors = vectorizer.vectors(names, progress)
        name_index = NameIndex.build(vectors, index, search_parameters)
    kb = FaissKnowledgeBase(vocab or Vocab(), tables, vectorizer, name_index)
    return kb, _report(tables, len(records), merged, mentions)


def _read_all(sources: Iterable[Union[str, Path, Concept]], progress: bool) -> Iterator[Concept]:
    for source in sources:
        if isinstance(source, Concept):
            yield source
            continue
        found: Iterable[Concept] = read_concepts(source)
        if progress:
            from tqdm import tqdm

            found = tqdm(found, desc=f"Reading {Path(source).name}", unit="concept")
        yield from found


def _main_ids(mentions: TrainingNames, concepts: List[Concept]) -> TrainingNames:
    """The same mentions, with the id of a concept where they have another id of it."""
    ids = {concept.concept_id for concept in concepts}
    main: Dict[str, str] = {}
    for concept in concepts:
        for other in concept.alt_ids:
            if other not in ids:
                main.setdefault(other, concept.concept_id)
    if not any(concept_id in main for concept_id in mentions.texts):
        return mentions
    out = TrainingNames(unlinked=mentions.unlinked)
    for (name, label, concept_id), count in mentions.counts.items():
        out.counts[(name, label, main.get(concept_id, concept_id))] += count
    for concept_id, texts in mentions.texts.items():
        out.texts.setdefault(main.get(concept_id, concept_id), Counter()).update(texts)
    return out


def _report(
    tables: KnowledgeTables, records: int, merged: int, mentions: TrainingNames
) -> BuildReport:
    offsets = tables.name_concepts.offsets
    official = numpy.zeros((len(tables.names),), dtype="bool")
    owner = numpy.repeat(numpy.arange(len(tables.names)), numpy.diff(offsets))
    official[owner[tables.official]] = True
    return BuildReport(
        concepts=len(tables.concept_ids),
        names=len(tables.names),
        records=records,
        duplicate_ids=records - merged,
        nameless_concepts=int((numpy.diff(tables.concept_names.offsets) == 0).sum()),
        ambiguous_names=int((numpy.diff(offsets) > 1).sum()),
        training_mentions=sum(mentions.counts.values()),
        unlinked_mentions=mentions.unlinked,
        training_names=int((~official).sum()),
        training_concepts=len(tables.concept_ids) - merged,
    )
