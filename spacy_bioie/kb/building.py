"""Building a knowledge base from sources of concepts and the mentions of a training corpus."""

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Tuple, Union

from spacy.vocab import Vocab

from ..annotation import SPANS_KEY
from .concepts import Concept
from .findings import Findings
from .indexing import index_names
from .knowledge_base import FaissKnowledgeBase
from .lexical import LexicalVectorizer
from .merging import merge_by_id, merge_by_xref
from .name_encoders import NameEncoder, NoNameEncoder
from .name_vectors import NameVectorizer
from .report import BuildReport, make_report
from .sources import FORMS, Filters, check_form, read_concepts, source_files
from .tables import KnowledgeTables
from .training_names import TrainingNames, read_training_names

DUPLICATES = ("merge", "error")


def build_knowledge_base(
    sources: Iterable[Union[str, Path, Concept, Iterable[Concept]]],
    *,
    form: Optional[str] = None,
    filters: Optional[Filters] = None,
    merge_xrefs: bool = False,
    vocab: Optional[Vocab] = None,
    mentions: Union[TrainingNames, Iterable[Union[str, Path]]] = (),
    spans_key: str = SPANS_KEY,
    name_encoder: Optional[NameEncoder] = None,
    index: str = "Flat",
    search_parameters: str = "",
    train_sample: int = 200_000,
    recall_queries: int = 500,
    seed: int = 0,
    lexical_weight: float = 0.5,
    semantic_weight: float = 0.5,
    lexical_dims: int = 256,
    duplicates: str = "merge",
    progress: bool = False,
) -> Tuple[FaissKnowledgeBase, BuildReport]:
    """Build a knowledge base. Nothing is saved: call ``to_disk`` on the result.

    sources: files of concepts, see ``read_concepts``, or Concept objects, alone or as an iterable
        that is one source.
    form: of the files; by default each one's suffix or content tells.
    filters: what is wanted of the files. A filter that the form of a file cannot apply leaves that
        file as it is.
    merge_xrefs: join concepts of different sources that name each other in cross-references, see
        ``merge_by_xref``.
    vocab: of the pipeline that uses it; a new one by default.
    mentions: corpora (.spacy) whose linked mentions ``doc.spans[spans_key]`` become names too,
        counted for each name, label and concept: they decide between concepts of one name. Their
        concepts that no source has are added, named by the mention.
    name_encoder: gives the semantic part of name vectors; none by default.
    index, search_parameters, train_sample: see ``NameIndex.build``. Names are turned into vectors
        and added a few thousand at a time.
    recall_queries, seed: how the recall of an index that is not exact is measured, see
        ``index_names``.
    lexical_weight, semantic_weight, lexical_dims: see ``NameVectorizer``. A part without weight
        is left out.
    duplicates: an id that occurs again is merged with its earlier record ("merge") or refused
        ("error").
    progress: show progress bars.

    Concepts and names are held in memory while their tables are made: what that takes grows with
    their number, and with the length of names and definitions. The index comes after that;
    ``Flat`` takes 4 bytes for each dimension of each name. What is saved is memory-mapped when it
    is loaded.

    Raises ValueError, FileNotFoundError and ImportError as the functions above, and ValueError
    where an id occurs again and ``duplicates`` is "error", or no file's form can apply a filter.
    """
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates is {duplicates!r}: expected one of {list(DUPLICATES)}.")
    findings = Findings()
    merged = merge_by_id(
        open_sources(sources, form, filters or Filters(), findings, progress), findings
    )
    if findings.counts["duplicate_ids"] and duplicates == "error":
        raise ValueError(
            f"{findings.counts['duplicate_ids']} records have the concept id of an earlier one, "
            f"the first is '{findings.examples['duplicate_ids'][0]}': expected distinct ids. "
            "Duplicates are merged with duplicates='merge'."
        )
    by_id = merge_by_xref(merged, findings) if merge_xrefs else merged.concepts
    concepts = sorted(by_id.values(), key=lambda concept: concept.concept_id)
    if not isinstance(mentions, TrainingNames):
        mentions = read_training_names(mentions, spans_key)
    mentions = with_main_ids(mentions, concepts)
    added = mentions.new_concepts(concept.concept_id for concept in concepts)
    concepts = sorted([*concepts, *added], key=lambda concept: concept.concept_id)
    unofficial = {concept.concept_id for concept in added}
    tables = KnowledgeTables.build(concepts, mentions.counts, unofficial)
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
    name_index, recall = None, None
    if names:
        name_index, recall = index_names(
            vectorizer,
            names,
            index,
            search_parameters,
            train_sample=train_sample,
            recall_queries=recall_queries,
            seed=seed,
            progress=progress,
        )
    kb = FaissKnowledgeBase(vocab or Vocab(), tables, vectorizer, name_index)
    report = make_report(concepts, tables, mentions, unofficial, merged.records, findings, recall)
    return kb, report


def open_sources(
    sources: Iterable[Union[str, Path, Concept, Iterable[Concept]]],
    form: Optional[str],
    filters: Filters,
    findings: Findings,
    progress: bool,
) -> Iterator[Iterable[Concept]]:
    """The concepts of each source. All files are looked at before the first is read."""
    sources = list(sources)
    forms = {
        str(source): check_form(source, form)
        for source in sources
        if isinstance(source, (str, Path))
    }
    known = {name for found in forms.values() for name in FORMS[found].filters}
    unknown = [name for name in filters.active if name not in known]
    if unknown:
        raise ValueError(
            f"No source can be filtered by {', '.join(unknown)}: their forms are "
            f"{sorted(set(forms.values()))}."
        )
    for source in sources:
        if isinstance(source, Concept):
            yield [source]
        elif isinstance(source, (str, Path)):
            yield _read(Path(source), forms[str(source)], filters, findings, progress)
        else:
            yield source


def _read(
    path: Path, form: str, filters: Filters, findings: Findings, progress: bool
) -> Iterator[Concept]:
    from tqdm import tqdm

    with tqdm(
        desc=f"Reading {path.name}",
        total=sum(file.stat().st_size for file in source_files(path, form)),
        unit="B",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        yield from read_concepts(
            path, form, filters.only(FORMS[form].filters), findings=findings, on_read=bar.update
        )


def with_main_ids(mentions: TrainingNames, concepts: List[Concept]) -> TrainingNames:
    """The same mentions, with the id of a concept where they have another id of it."""
    ids = {concept.concept_id for concept in concepts}
    main: Dict[str, str] = {}
    for concept in concepts:
        for other in concept.alt_ids:
            if other not in ids:
                main.setdefault(other, concept.concept_id)
    if not any(concept_id in main for _, _, concept_id in mentions.counts):
        return mentions
    out = TrainingNames(unlinked=mentions.unlinked)
    for (name, label, concept_id), count in mentions.counts.items():
        out.counts[(name, label, main.get(concept_id, concept_id))] += count
    for concept_id, texts in mentions.texts.items():
        out.texts.setdefault(main.get(concept_id, concept_id), Counter()).update(texts)
    return out
