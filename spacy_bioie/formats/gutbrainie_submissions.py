"""Write GutBrainIE's JSON: annotation files of 2025 and 2026, and the submission files.

What derives from the relations (pairs and triples of labels, of texts, of concepts) is written
as the set it is, in the order in which its items first occur.
"""

import json
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

from spacy.tokens import Doc

from ..annotation import SPANS_KEY
from .articles import Article, Entity, doc_to_article
from .atomic import write_texts
from .errors import FormatError

Row = Dict[str, Any]

# year -> file stem -> task; the stem begins with the organisers' name of the subtask
SUBTASKS: Dict[int, Dict[str, str]] = {
    2025: {
        "T61_ner": "ner",
        "T621_binary_tag": "bt",
        "T622_ternary_tag": "tt",
        "T623_ternary_mention": "tm",
    },
    2026: {
        "T611_ner": "ner",
        "T612_nerd": "nerd",
        "T621_mention_level": "m-re",
        "T622_concept_level": "c-re",
    },
}
_LISTS = {
    "bt": "binary_tag_based_relations",
    "tt": "ternary_tag_based_relations",
    "tm": "ternary_mention_based_relations",
    "m-re": "mention_level_relations",
    "c-re": "concept_level_relations",
}
_DERIVED = {2025: ("bt", "tt", "tm"), 2026: ("m-re", "c-re")}


def derived_relations(article: Article, task: str) -> List[Row]:
    """The distinct relations of an article at the level of ``task``: bt, tt, tm, m-re or c-re.

    Concept-level relations (c-re) leave out entities without a concept.
    """
    rows: Dict[Tuple[str, ...], Row] = {}
    for relation in article.relations:
        subject = article.entities[relation.subject]
        target = article.entities[relation.object]
        row: Row = {}
        if task in ("tm", "m-re"):
            row["subject_text_span"] = subject.text_span
        elif task == "c-re":
            if not (subject.uri and target.uri):
                continue
            row["subject_uri"] = subject.uri
        row["subject_label"] = subject.label
        if task != "bt":
            row["predicate"] = relation.predicate
        if task in ("tm", "m-re"):
            row["object_text_span"] = target.text_span
        elif task == "c-re":
            row["object_uri"] = target.uri
        row["object_label"] = target.label
        rows.setdefault(tuple(row.values()), row)
    return list(rows.values())


def article_to_json(article: Article, year: int) -> Row:
    """An article as a value of the annotation JSON of 2025 (without) or 2026 (with URIs).

    In 2026 an entity without a concept has the URI "". Raises ValueError for another year.
    """
    linked = _check_year(year) == 2026
    relations = []
    for relation in article.relations:
        subject = _entity_row(article.entities[relation.subject], linked, "subject_")
        target = _entity_row(article.entities[relation.object], linked, "object_")
        relations.append({**subject, "predicate": relation.predicate, **target})
    return {
        "metadata": dict(article.metadata),
        "entities": [_entity_row(entity, linked) for entity in article.entities],
        "relations": relations,
        **{_LISTS[task]: derived_relations(article, task) for task in _DERIVED[year]},
    }


def write_articles(
    articles: Iterable[Article], path: Union[str, Path], *, year: Optional[int] = None
) -> int:
    """Write an annotation JSON and return the number of articles.

    Without ``year`` it has the layout of 2026 if an entity has a concept, else that of 2025. The
    file is complete or untouched. Raises FormatError for a PMID that occurs twice, ValueError for
    a year without a layout, OSError.
    """
    articles = list(articles)
    if year is None:
        year = 2026 if any(entity.uri for a in articles for entity in a.entities) else 2025
    values = _by_pmid(articles, lambda article: article_to_json(article, year), str(path))
    write_texts({Path(path): _dump(values)})
    return len(articles)


def submission(
    docs: Iterable[Union[Doc, Article]],
    task: str,
    *,
    spans_key: str = SPANS_KEY,
    report: Optional[List[FormatError]] = None,
) -> Row:
    """The value of a submission file: one object for each document, a set of items in each.

    ``task`` is ner, nerd (entities with a concept), bt, tt, tm, m-re or c-re. A mention that
    lies in no single section cannot be submitted: it is left out with its relations, appended to
    ``report`` or, without one, warned of. Raises FormatError for a Doc without a PMID or
    sections, or a PMID that occurs twice, and ValueError for an unknown task.
    """
    if task not in ("ner", "nerd", *_LISTS):
        raise ValueError(f"Unknown task '{task}': expected one of ner, nerd, {', '.join(_LISTS)}.")
    return _by_pmid(_articles(docs, spans_key, report), lambda a: _submitted(a, task), "")


def write_submissions(
    docs: Iterable[Union[Doc, Article]],
    out_dir: Union[str, Path],
    year: int,
    *,
    spans_key: str = SPANS_KEY,
    report: Optional[List[FormatError]] = None,
) -> Dict[str, Path]:
    """Write one submission file for each subtask of a year and return task -> path.

    The files are those of ``SUBTASKS[year]``; none is replaced before all are written. Raises
    what ``submission`` raises, ValueError for a year without subtasks, OSError.
    """
    articles = _articles(docs, spans_key, report)
    paths = {
        task: Path(out_dir) / f"{stem}.json" for stem, task in SUBTASKS[_check_year(year)].items()
    }
    write_texts(
        {path: _dump(submission(articles, task)) for task, path in paths.items()},
    )
    return paths


def _submitted(article: Article, task: str) -> Row:
    if task in _LISTS:
        return {_LISTS[task]: derived_relations(article, task)}
    linked = task == "nerd"
    rows: Dict[Tuple[Any, ...], Row] = {}
    for entity in article.entities:
        if entity.uri or not linked:
            row = _entity_row(entity, linked)
            rows.setdefault(tuple(row.values()), row)
    return {"entities": list(rows.values())}


def _entity_row(entity: Entity, linked: bool, side: str = "") -> Row:
    row: Row = {
        f"{side}start_idx": entity.start_idx,
        f"{side}end_idx": entity.end_idx,
        f"{side}location": entity.location,
        f"{side}text_span": entity.text_span,
        f"{side}label": entity.label,
    }
    if linked:
        row[f"{side}uri"] = entity.uri or ""
    return row


def _articles(
    docs: Iterable[Union[Doc, Article]], spans_key: str, report: Optional[List[FormatError]]
) -> List[Article]:
    skipped: List[FormatError] = []
    articles = [
        doc
        if isinstance(doc, Article)
        else doc_to_article(doc, spans_key, skip_invalid=True, report=skipped)
        for doc in docs
    ]
    if report is not None:
        report += skipped
    elif skipped:
        warnings.warn(
            f"{len(skipped)} mentions left out of the submission, the first: {skipped[0]}",
            stacklevel=3,
        )
    return articles


def _by_pmid(articles: Iterable[Article], value: Callable[[Article], Row], file: str) -> Row:
    values: Row = {}
    for article in articles:
        if article.pmid in values:
            raise FormatError(
                file, f"PMID {article.pmid}", "", "expected each PMID once, it occurs again"
            )
        values[article.pmid] = value(article)
    return values


def _check_year(year: int) -> int:
    if year not in SUBTASKS:
        raise ValueError(f"Unknown year {year}: expected one of {', '.join(map(str, SUBTASKS))}.")
    return year


def _dump(values: Row) -> str:
    return json.dumps(values, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
