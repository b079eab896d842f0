"""Adding, removing and merging concepts of a knowledge base; only new names are encoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple, Union

import numpy
from spacy.vocab import Vocab

from ..annotation import SPANS_KEY
from .building import open_sources, with_main_ids
from .concepts import Concept
from .findings import Findings
from .indexing import index_names, vectors_in_parts
from .knowledge_base import FaissKnowledgeBase
from .merging import join_under_first, merge_by_id, merge_by_xref
from .report import UpdateReport, sorted_examples
from .sources import Filters
from .sources.source import Source
from .tables import KnowledgeTables
from .training_names import TrainingNames, read_training_names
from .writing import check_outputs, write_report


def update_knowledge_base(
    kb: FaissKnowledgeBase,
    *,
    add: Iterable[Union[str, Path, Concept, Iterable[Concept]]] = (),
    remove: Union[Path, Iterable[str]] = (),
    merge: Union[Path, Iterable[Tuple[str, str]]] = (),
    mentions: Union[TrainingNames, Iterable[Union[str, Path]]] = (),
    spans_key: str = SPANS_KEY,
    form: Optional[str] = None,
    filters: Optional[Filters] = None,
    merge_xrefs: bool = False,
    progress: bool = False,
) -> Tuple[FaissKnowledgeBase, UpdateReport]:
    """A changed knowledge base. The one that is given stays as it is; nothing is saved.

    Concepts are removed first, then others are added, then pairs are merged, and at last mentions
    join what training mentions have said.

    add: sources of concepts, as ``build_knowledge_base`` takes them. A record whose id is that of
        a known concept is joined with it; to replace a concept, remove it as well.
    remove: ids of concepts, or a file with one id a line. Their training mentions go with them.
    merge: pairs of ids, or a file with two ids a line between them a tab or a comma. The concept
        of the first id stays and gets names, types, cross-references and training mentions of the
        second, whose id becomes another id of it.
    mentions, spans_key: further training mentions, as ``build_knowledge_base`` takes them.
    form, filters: of the files to add, see ``build_knowledge_base``.
    merge_xrefs: join what is added with known concepts, and with each other, by cross-references;
        known concepts are not joined with each other.
    progress: show progress bars.

    Tables are made anew, so that concepts, names and training evidence are what a build from all
    sources would give. Vectors of known names are taken over as the index stores them, see
    ``NameIndex.updated``. What the build learned of its names stays: the weights of n-grams in the
    lexical part (their inverse document frequency), and the training of the index.

    Raises ValueError that names place and id where a concept to remove or to merge is not known,
    and what ``build_knowledge_base`` raises of sources and mentions.
    """
    findings = Findings()
    concepts = {row: kb.tables.concept(row) for row in range(len(kb))}
    of_mentions = _known_from_mentions(kb.tables)
    known = {c.concept_id: c for row, c in concepts.items() if row not in of_mentions}
    trained = {c.concept_id: c for row, c in concepts.items() if row in of_mentions}
    counts = _evidence_counts(kb.tables)
    gone = _removed(remove, kb.tables)
    for concept_id in gone:
        findings.note("removed_concepts", concept_id)
        known.pop(concept_id, None)
        trained.pop(concept_id, None)
    left = {key: count for key, count in counts.items() if key[2] not in gone}

    opened = open_sources(add, form, filters or Filters(), findings, progress)
    merged = merge_by_id([known.values(), *opened], findings)
    added = [i for i in merged.concepts if i not in known and i not in trained]
    for concept_id in added:
        findings.note("added_concepts", concept_id)
    sourced = merge_by_xref(merged, findings) if merge_xrefs else dict(merged.concepts)
    # What a mention made up gives way to what a source says, as in a build
    trained = {i: concept for i, concept in trained.items() if i not in sourced}
    main = _merge_pairs(merge, sourced, trained, findings)
    others = {other for concept in sourced.values() for other in concept.alt_ids}
    trained = {i: concept for i, concept in trained.items() if i not in others}

    if not isinstance(mentions, TrainingNames):
        mentions = read_training_names(mentions, spans_key)
    more = with_main_ids(mentions, [*sourced.values(), *trained.values()])
    for concept in more.new_concepts([*sourced, *trained]):
        findings.note("added_concepts", concept.concept_id)
        added.append(concept.concept_id)
        trained[concept.concept_id] = concept
    by_id = sorted({**sourced, **trained}.items())
    updated = [concept for _, concept in by_id]
    evidence = TrainingNames(counts=more.counts.copy())
    for (name, label, concept_id), count in left.items():
        evidence.counts[(name, label, _follow(main, concept_id))] += count
    evidence = with_main_ids(evidence, updated)
    tables = KnowledgeTables.build(updated, evidence.counts, set(trained))
    result, n_added = _with_tables(kb, tables, progress)
    n_known = len(kb.tables.names)
    return result, UpdateReport(
        concepts=len(result),
        names=len(tables.names),
        records=merged.records - len(known),
        added_concepts=len(added),
        duplicate_ids=findings.counts["duplicate_ids"],
        merged_concepts=findings.counts["merged_concepts"],
        unused_xrefs=findings.counts["unused_xrefs"],
        left_out=findings.counts["left_out"],
        empty_names=findings.counts["empty_names"],
        removed_concepts=len(gone),
        removed_mentions=sum(counts.values()) - sum(left.values()),
        added_mentions=sum(more.counts.values()),
        added_names=n_added,
        removed_names=n_known - (len(tables.names) - n_added),
        unused_vectors=result.index.unused if result.index is not None else 0,
        examples=sorted_examples(findings.examples),
    )


def write_updated_knowledge_base(
    path: Union[str, Path],
    out_dir: Union[str, Path],
    *,
    remove: Optional[Union[str, Path]] = None,
    merge: Optional[Union[str, Path]] = None,
    report: Optional[Union[str, Path]] = None,
    **settings: Any,
) -> UpdateReport:
    """Load a knowledge base, change it, and save it.

    path: its folder. out_dir: folder to write, may be the same; it takes its place when it is
        complete.
    remove, merge: files, see ``update_knowledge_base``.
    report: JSON file for what is returned.
    settings: the other arguments of ``update_knowledge_base``, such as ``add`` and ``mentions``.

    RETURNS: what has changed.
    Raises ValueError and OSError as ``update_knowledge_base`` and ``FaissKnowledgeBase`` do.
    """
    check_outputs(out_dir, report)
    kb = FaissKnowledgeBase(Vocab()).from_disk(path)
    changed, counts = update_knowledge_base(
        kb,
        remove=Path(remove) if remove is not None else (),
        merge=Path(merge) if merge is not None else (),
        **settings,
    )
    changed.to_disk(out_dir)
    if report is not None:
        write_report(Path(report), counts)
    return counts


def _with_tables(
    kb: FaissKnowledgeBase, tables: KnowledgeTables, progress: bool
) -> Tuple[FaissKnowledgeBase, int]:
    """The knowledge base with other tables, and how many of their names it did not have."""
    rows = {name: row for row, name in enumerate(kb.tables.names)}
    names = list(tables.names)
    kept = numpy.asarray([rows.get(name, -1) for name in names], dtype="int64")
    new = [names[row] for row in numpy.nonzero(kept < 0)[0].tolist()]
    index = None
    if names and kb.index is None:
        index, _ = index_names(kb.vectorizer, names, progress=progress)
    elif names and kb.index is not None:
        index = kb.index.updated(kept, vectors_in_parts(kb.vectorizer, new, progress))
    result = FaissKnowledgeBase(kb.vocab, tables, kb.vectorizer, index)
    result.device = kb.device
    return result, len(new)


def _known_from_mentions(tables: KnowledgeTables) -> Set[int]:
    """The rows of concepts that training mentions alone know, and name."""
    pairs = tables.name_concepts.values
    named = numpy.bincount(pairs, minlength=len(tables.concept_ids)) > 0
    named[pairs[tables.official]] = False
    rows = numpy.nonzero(named)[0].tolist()
    return {row for row in rows if tables.concept(row).name}


def _evidence_counts(tables: KnowledgeTables) -> Dict[Tuple[str, str, str], int]:
    evidence = tables.evidence
    of_name = numpy.repeat(numpy.arange(len(evidence)), numpy.diff(evidence.offsets))
    return {
        (tables.names[name], tables.labels[label], tables.concept_ids[concept]): count
        for name, label, concept, count in zip(
            of_name.tolist(),
            tables.evidence_labels.tolist(),
            evidence.values.tolist(),
            tables.evidence_counts.tolist(),
            strict=True,
        )
    }


def _removed(remove: Union[Path, Iterable[str]], tables: KnowledgeTables) -> Dict[str, None]:
    """The ids to remove, each of them that of a concept."""
    if isinstance(remove, Path):
        listed = [(where, cells[0]) for where, cells in _lines(remove, 1)]
    else:
        listed = [(f"Concept {i} to remove", concept_id) for i, concept_id in enumerate(remove)]
    for where, concept_id in listed:
        row = tables.concept_row(concept_id)
        if row < 0:
            raise ValueError(
                f"{where}: expected the id of a concept, the knowledge base has no '{concept_id}'."
            )
        if tables.concept_ids[row] != concept_id:
            raise ValueError(
                f"{where}: expected the id of a concept, '{concept_id}' is another id of "
                f"'{tables.concept_ids[row]}'."
            )
    return {concept_id: None for _, concept_id in listed}


def _merge_pairs(
    merge: Union[Path, Iterable[Tuple[str, str]]],
    sourced: Dict[str, Concept],
    trained: Dict[str, Concept],
    findings: Findings,
) -> Dict[str, str]:
    """Merge pairs in place; a pair may name a concept that an earlier one has merged.

    RETURNS: for each concept that was merged the one that it is part of.
    """
    pairs: Iterable[Tuple[str, List[str]]]
    if isinstance(merge, Path):
        pairs = _lines(merge, 2)
    else:
        pairs = ((f"Pair {i} to merge", list(pair)) for i, pair in enumerate(merge))
    main: Dict[str, str] = {}
    for where, ids in pairs:
        first, second = (_follow(main, concept_id) for concept_id in ids)
        for concept_id in (first, second):
            if concept_id not in sourced and concept_id not in trained:
                raise ValueError(
                    f"{where}: expected the id of a concept, there is no '{concept_id}' after "
                    "removing and adding."
                )
        if first == second:
            raise ValueError(
                f"{where}: expected two concepts, '{ids[0]}' and '{ids[1]}' are one by now."
            )
        findings.note("merged_concepts", second, first)
        main[second] = first
        if first in sourced or second in sourced:
            parts = [
                sourced.pop(i) if i in sourced else _unnamed(trained.pop(i))
                for i in (first, second)
            ]
            sourced[first] = join_under_first(parts)
        else:
            trained[first] = join_under_first([trained.pop(first), trained.pop(second)])
    return main


def _unnamed(concept: Concept) -> Concept:
    """A concept without the name that stands for it where no source gives one."""
    return replace(concept, name="", synonyms=())


def _follow(main: Mapping[str, str], concept_id: str) -> str:
    while concept_id in main:
        concept_id = main[concept_id]
    return concept_id


def _lines(path: Path, n: int) -> Iterator[Tuple[str, List[str]]]:
    """The place and the n cells of each line that is not empty."""
    for number, line in Source(path).lines():
        if not line.strip():
            continue
        where = f"'{path}', line {number}"
        cells = [line] if n == 1 else line.split("\t" if "\t" in line else ",")
        cells = [cell.strip() for cell in cells]
        if len(cells) != n or not all(cells):
            raise ValueError(f"{where}: expected {n} ids, between them a tab or a comma.")
        yield where, cells
