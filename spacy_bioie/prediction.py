"""Annotate a corpus with a trained pipeline and write what it finds."""

from pathlib import Path
from typing import Dict, Iterator, List, Literal, Sequence, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from .annotation import META_KEY, SPANS_KEY, join_sections
from .formats import (
    is_abstracts,
    read_abstracts,
    read_articles,
    read_texts,
    write_jsonl,
    write_submissions,
)

PredictionFormat = Literal["gutbrainie-2025", "gutbrainie-2026", "jsonl"]
FORMATS: Tuple[str, ...] = ("gutbrainie-2025", "gutbrainie-2026", "jsonl")
JSONL_FILE = "predictions.jsonl"


def read_unannotated(path: Union[str, Path]) -> Iterator[Tuple[str, Dict]]:
    """Read what is to be annotated as (text, metadata with the document's id).

    A ``.json`` file holds articles in GutBrainIE's form; annotations in it are left aside. A
    ``.jsonl`` or ``.jsonl.gz`` file holds titles and abstracts, or texts, one a line. Any other
    file is one plain text, and a folder holds ``.txt`` files; the file's name without its
    suffix is the id. Raises FormatError and OSError as the readers do.
    """
    path = Path(path)
    if path.suffix == ".json":
        for article in read_articles(path):
            meta = {"id": article.pmid, **article.metadata}
            yield join_sections(meta["title"], meta["abstract"]), meta
    elif is_abstracts(path):
        yield from read_abstracts(path)
    else:
        for name, text in read_texts(path):
            yield text, {"id": name}


def predict(
    nlp: Language,
    articles: Union[str, Path],
    out_dir: Union[str, Path],
    *,
    format: PredictionFormat = "jsonl",
    spans_key: str = SPANS_KEY,
    batch_size: int = 32,
    n_process: int = 1,
    progress: bool = False,
) -> List[Path]:
    """Annotate articles and write one file for each task, or one JSONL file with everything.

    articles: see ``read_unannotated``.
    format: ``gutbrainie-2025`` and ``gutbrainie-2026`` write the submission files of that year,
        which need documents of a title and an abstract.
    RETURNS: the files written. None is touched before all documents are annotated.

    Raises ValueError for an unknown format and for documents without a title and an abstract,
    FormatError and OSError as the readers and writers do.
    """
    if format not in FORMATS:
        raise ValueError(f"Unknown format '{format}': expected one of {', '.join(FORMATS)}.")
    documents = list(read_unannotated(articles))
    docs = annotate(nlp, documents, batch_size=batch_size, n_process=n_process, progress=progress)
    if format == "jsonl":
        path = Path(out_dir) / JSONL_FILE
        write_jsonl(docs, path, spans_key=spans_key)
        return [path]
    year = int(format.rpartition("-")[2])
    return list(write_submissions(docs, out_dir, year, spans_key=spans_key).values())


def annotate(
    nlp: Language,
    documents: Sequence[Tuple[str, Dict]],
    *,
    batch_size: int = 32,
    n_process: int = 1,
    progress: bool = False,
) -> List[Doc]:
    """Run a pipeline over (text, metadata) pairs; the metadata stays with each Doc."""
    pairs = nlp.pipe(documents, as_tuples=True, batch_size=batch_size, n_process=n_process)
    docs = []
    for doc, meta in tqdm(pairs, total=len(documents), unit="doc", disable=not progress):
        doc.user_data[META_KEY] = meta
        docs.append(doc)
    return docs
