"""The corpus formats that ``convert`` reads and writes Doc by Doc, under their names."""

import re
from functools import partial
from pathlib import Path
from typing import Any, Callable, Collection, Iterable, Iterator, List, Optional

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..annotation import (
    distribute_concept_relations,
    get_relation_rows,
    set_relations,
    states_concept_relations,
)
from .articles import Tokenize
from .bionne import doc_to_bionne, read_bionne, texts_folder, write_bionne
from .bionne_writing import COLUMNS
from .brat import doc_to_brat, read_brat, write_brat
from .conll import doc_to_conll, read_conll, write_conll
from .errors import FormatError
from .pubtator import doc_to_pubtator, read_pubtator, write_pubtator

CORPUS_FORMATS = ("pubtator", "conll", "brat", "bionne")
IN_PARTS = ("brat", "bionne")  # formats whose mentions may have several parts
_SUFFIXES = {
    ".pubtator": "pubtator",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".ann": "brat",
}
_PUBTATOR = re.compile(r"[^|\t]+\|t\|")


def read_corpus(
    path: Path,
    kind: str,
    tokenize: Tokenize,
    vocab: Vocab,
    *,
    spans_key: str,
    discontinuous: str,
    skip_invalid: bool,
    report: List[FormatError],
) -> Iterator[Doc]:
    """Read a corpus of one of ``CORPUS_FORMATS``; see their readers."""
    options: Any = {"spans_key": spans_key, "skip_invalid": skip_invalid, "report": report}
    if kind == "conll":
        return read_conll(path, vocab, **options)
    if kind == "pubtator":
        return read_pubtator(path, tokenize, **options)
    reader = {"brat": read_brat, "bionne": read_bionne}[kind]
    return reader(path, tokenize, discontinuous=discontinuous, **options)


def write_corpus(
    docs: Callable[[Callable[[Doc], Any]], Iterable[Doc]],
    path: Path,
    kind: str,
    *,
    spans_key: str,
    skip_invalid: bool,
    report: List[FormatError],
) -> int:
    """Write a corpus of one of ``CORPUS_FORMATS``; see their writers.

    docs: gives the Docs to write, without those for which the function it is given raises
        FormatError.
    """
    if kind == "pubtator":
        checked = docs(partial(doc_to_pubtator, spans_key=spans_key))
        return write_pubtator(checked, path, spans_key=spans_key)
    if kind == "brat":
        checked = docs(partial(doc_to_brat, spans_key=spans_key))
        return write_brat(checked, path, spans_key=spans_key)
    if kind == "conll":
        checked = docs(partial(doc_to_conll, spans_key=spans_key, skip_invalid=skip_invalid))
        return write_conll(
            checked, path, spans_key=spans_key, skip_invalid=skip_invalid, report=report
        )
    checked = docs(partial(doc_to_bionne, spans_key=spans_key))
    texts = texts_folder(path, writing=True)
    return write_bionne(checked, path, texts=texts, spans_key=spans_key)


def guess_corpus(path: Path, *, writing: bool = False) -> Optional[str]:
    """Tell a corpus format from the name of a file, or from what a file or folder begins with.

    None where neither says anything. A table (.tsv) that is not BioNNE-L's is conll.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return None if writing and suffixes[-1] == ".ann" else _SUFFIXES[suffixes[-1]]
    if suffixes[-2:] == [".pubtator", ".txt"]:
        return "pubtator"
    if writing:
        return None
    if path.is_dir():
        return "brat" if any(path.glob("*.ann")) else None
    if suffixes[-1:] == [".txt"] and path.with_suffix(".ann").is_file():
        return "brat"
    if suffixes[-1:] not in ([".txt"], [".tsv"]) or not path.is_file():
        return None
    with path.open(encoding="utf8", errors="replace") as file:
        first = next((line.rstrip("\n") for line in file if line.strip()), "")
    if _PUBTATOR.match(first):
        return "pubtator"
    if suffixes[-1] == ".tsv":
        return "bionne" if tuple(first.split("\t"))[:4] == COLUMNS[:4] else "conll"
    return None


def place_concept_relations(
    doc: Doc, spans_key: str, pairs: str, symmetric: Collection[str]
) -> int:
    """Distribute the stated relations between concepts; how many no two mentions can hold.

    Where ``pairs`` is "sentence" and the Doc has no sentence borders, they are found by rule and
    not kept. See ``distribute_concept_relations``.
    """
    if pairs != "sentence" or doc.has_annotation("SENT_START"):
        return len(distribute_concept_relations(doc, spans_key, pairs=pairs, symmetric=symmetric))
    if not states_concept_relations(doc):
        return 0
    from ..pipeline.biomedical_sentencizer import BiomedicalSentencizer

    split = BiomedicalSentencizer()(doc.copy())
    left = distribute_concept_relations(split, spans_key, pairs=pairs, symmetric=symmetric)
    set_relations(doc, spans_key, get_relation_rows(split))
    return len(left)
