"""Corpus formats: each reads into Docs and writes back.

``convert`` takes a corpus from one form to another; the modules hold the readers and writers.
"""

from ..annotation.gutbrainie import LABELS, LOCATIONS, PREDICATES
from .abstracts import is_abstracts, read_abstracts
from .articles import Article, Entity, EntityRelation, article_to_doc, doc_to_article
from .bionne import read_bionne, write_bionne, write_bionne_submission
from .brat import read_brat, write_brat
from .conll import read_conll, write_conll
from .convert import FORMATS, Conversion, blank_pipeline, convert, guess_format, read_ids
from .docbin import read_docbin, write_docbin
from .errors import FormatError
from .gutbrainie import read_articles
from .gutbrainie_submissions import (
    SUBTASKS,
    article_to_json,
    derived_relations,
    submission,
    write_articles,
    write_submissions,
)
from .inline import article_to_inline, read_inline, write_inline
from .jsonl import doc_to_record, read_jsonl, record_to_doc, write_jsonl
from .pubtator import read_pubtator, write_pubtator
from .standoff import get_fragments
from .text import read_texts

__all__ = [
    "FORMATS",
    "LABELS",
    "LOCATIONS",
    "PREDICATES",
    "SUBTASKS",
    "Article",
    "Conversion",
    "Entity",
    "EntityRelation",
    "FormatError",
    "article_to_doc",
    "article_to_inline",
    "article_to_json",
    "blank_pipeline",
    "convert",
    "derived_relations",
    "doc_to_article",
    "doc_to_record",
    "get_fragments",
    "guess_format",
    "is_abstracts",
    "read_abstracts",
    "read_articles",
    "read_bionne",
    "read_brat",
    "read_conll",
    "read_docbin",
    "read_ids",
    "read_inline",
    "read_jsonl",
    "read_pubtator",
    "read_texts",
    "record_to_doc",
    "submission",
    "write_articles",
    "write_bionne",
    "write_bionne_submission",
    "write_brat",
    "write_conll",
    "write_docbin",
    "write_inline",
    "write_jsonl",
    "write_pubtator",
    "write_submissions",
]
