"""Convert a corpus from one form to another."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import spacy
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab, create_vocab
from tqdm import tqdm

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    get_concept_rows,
    get_mentions,
    get_relation_rows,
    set_tier,
)
from ..tokenization import EnglishTokenizer_v1, make_tokenizer
from .articles import Article, article_to_doc, doc_to_article
from .corpora import (
    CORPUS_FORMATS,
    IN_PARTS,
    guess_corpus,
    place_concept_relations,
    read_corpus,
    write_corpus,
)
from .corrections import Corrections, read_corrections
from .docbin import read_docbin, write_docbin
from .errors import FormatError
from .gutbrainie import read_articles
from .gutbrainie_submissions import write_articles
from .inline import read_inline, write_inline
from .jsonl import read_jsonl, write_jsonl
from .standoff import get_fragments
from .strict_json import read_utf8

FORMATS = ("gutbrainie", "inline", "jsonl", "docbin", *CORPUS_FORMATS)
_SUFFIXES = {".json": "gutbrainie", ".jsonl": "jsonl", ".spacy": "docbin", ".txt": "inline"}


@dataclass
class Conversion:
    """What a conversion wrote, and what it did not.

    ``off_borders`` counts mentions with a border inside a token, ``in_parts`` those in several
    parts; ``concept_relations`` counts the relations that a corpus states between concepts,
    ``not_placed`` those of them that no two mentions can hold. ``skipped`` holds the errors of
    what was left out with ``skip_invalid`` or ``discontinuous``; ``not_found`` the excluded ids
    that no input has. ``corrections`` says what a list of bad annotations has done, and
    ``not_corrected`` which of its documents no input has.
    """

    documents: int = 0
    mentions: int = 0
    relations: int = 0
    off_borders: int = 0
    in_parts: int = 0
    concept_relations: int = 0
    not_placed: int = 0
    skipped: List[FormatError] = field(default_factory=list)
    not_found: List[str] = field(default_factory=list)
    corrections: Optional[Corrections] = None
    not_corrected: List[str] = field(default_factory=list)


def convert(
    inputs: Union[str, Path, Sequence[Union[str, Path]]],
    output: Union[str, Path],
    *,
    source: Optional[str] = None,
    target: Optional[str] = None,
    split: Optional[str] = None,
    lang: str = "en",
    documents: Optional[Collection[str]] = None,
    exclude_documents: Optional[Collection[str]] = None,
    exclude_annotations: Optional[Union[str, Path]] = None,
    spans_key: str = SPANS_KEY,
    tier: Optional[str] = None,
    year: Optional[int] = None,
    any_labels: bool = False,
    discontinuous: Optional[str] = None,
    concept_pairs: Optional[str] = None,
    symmetric: Collection[str] = (),
    skip_invalid: bool = False,
    progress: bool = False,
) -> Conversion:
    """Convert one or several inputs into one output.

    ``source`` and ``target`` are ``gutbrainie`` (the organisers' JSON), ``inline`` (a folder of
    texts with marks), ``jsonl``, ``docbin``, ``pubtator``, ``conll`` (IOB columns), ``brat`` (a
    folder of .txt and .ann) or ``bionne``; without them suffix or content says it. ``split`` keeps
    one split of inline articles. ``documents`` keeps the documents with these ids,
    ``exclude_documents`` those with others. ``exclude_annotations`` is a list of bad annotations
    that are left out or changed, see ``corrections``. ``tier`` becomes the ``doc._.tier`` of the
    documents of a docbin or jsonl output; without it they keep theirs. ``year`` is the layout of a
    gutbrainie output: 2025 (without URIs) or 2026 (with them, the default if there are any).
    ``any_labels`` accepts labels and predicates that GutBrainIE does not have. ``discontinuous``
    says what becomes of brat's and BioNNE-L's mentions in several parts: "cover" (the default) or
    "skip".
    ``concept_pairs`` ("all", "closest" or "sentence") makes relations between mentions of those
    that a corpus states between concepts, of which ``symmetric`` names the labels without an order
    ("*" for all); see ``distribute_concept_relations``. ``progress`` shows a bar for each input on
    standard error.

    The output is complete or untouched. Raises FormatError for input that is not as expected and
    for an id that occurs twice (with ``skip_invalid`` the smallest part that can be left out is,
    and the error kept in the result), ValueError for arguments that do not fit, for ``documents``
    that are not there and where no document is left, and OSError.
    """
    paths = [Path(inputs)] if isinstance(inputs, (str, Path)) else [Path(path) for path in inputs]
    output = Path(output)
    kinds = [_check_format(source) if source else guess_format(path) for path in paths]
    target = _check_format(target) if target else guess_format(output, writing=True)
    if split is not None and set(kinds) != {"inline"}:
        raise ValueError(f"A split was named for {', '.join(kinds)}: only inline articles have it.")
    if year is not None and target != "gutbrainie":
        raise ValueError(f"A year was named for {target}: only gutbrainie has a layout for each.")
    if tier is not None and target not in ("docbin", "jsonl"):
        raise ValueError(f"A tier was named for {target}: only docbin and jsonl keep it.")
    if discontinuous is not None and not set(kinds) & {*IN_PARTS}:
        raise ValueError(
            f"A choice for discontinuous mentions was made for {', '.join(kinds)}: only "
            f"{' and '.join(IN_PARTS)} have them."
        )
    if symmetric and concept_pairs is None:
        raise ValueError("Symmetric labels were named without pairs of concepts to distribute.")
    corrections = None if exclude_annotations is None else read_corrections(exclude_annotations)
    tokenize, vocab = blank_tokenizer(lang)
    result = Conversion(corrections=corrections)

    def load(path: Path, kind: str) -> Iterable[Union[Article, Doc]]:
        options: Dict[str, Any] = {"skip_invalid": skip_invalid, "report": result.skipped}
        if kind == "docbin":
            return read_docbin(path, vocab)
        if kind == "jsonl":
            return read_jsonl(path, tokenize, spans_key=spans_key, **options)
        if kind in CORPUS_FORMATS:
            options |= {"spans_key": spans_key, "discontinuous": discontinuous or "cover"}
            return read_corpus(path, kind, tokenize, vocab, **options)
        if any_labels:
            options |= {"labels": None, "predicates": None}
        if kind == "inline":
            return list(read_inline(path, split=split, **options))
        return list(read_articles(path, **options))

    def chosen() -> Iterator[Tuple[Path, Union[Article, Doc]]]:
        wanted = None if documents is None else set(documents)
        excluded = set(exclude_documents or ())
        seen: Set[str] = set()
        for path, kind in zip(paths, kinds, strict=True):
            # closed on errors too, so that a message begins a new line
            with tqdm(load(path, kind), desc=path.name, unit="doc", disable=not progress) as bar:
                for item in bar:
                    identifier = _identifier(item)
                    again = identifier != "" and identifier in seen
                    seen.add(identifier)
                    if identifier in excluded or (wanted is not None and identifier not in wanted):
                        continue
                    if again:
                        error = FormatError(
                            path, f"PMID {identifier}", "", "expected each id once, it occurs again"
                        )
                        if not skip_invalid:
                            raise error
                        result.skipped.append(error)
                        continue
                    if corrections is not None and corrections.drops(identifier):
                        continue
                    yield path, item
        missing = sorted((wanted or set()) - seen)
        if missing:
            raise ValueError(
                f"{len(missing)} of the documents to convert are in no input, the first: "
                f"{', '.join(missing[:5])}."
            )
        result.not_found = sorted(excluded - seen)
        if corrections is not None:
            result.not_corrected = sorted(corrections.ids - seen)
        if not result.documents:
            raise ValueError(f"{output}: no document is left to write.")

    def docs(check: Callable[[Doc], Any] = bool) -> Iterator[Doc]:
        """The Docs to write; those that ``check`` refuses are left out."""
        for path, item in chosen():
            try:
                doc = (
                    article_to_doc(item, tokenize, spans_key) if isinstance(item, Article) else item
                )
                if concept_pairs is not None:
                    result.not_placed += place_concept_relations(
                        doc, spans_key, concept_pairs, symmetric
                    )
                if corrections is not None:
                    corrections.apply(doc, spans_key)
                check(doc)
            except FormatError as error:
                if error.file and error.file == str(exclude_annotations):
                    raise  # the list is wrong, not the document
                error = FormatError(path, error.record, error.field, error.problem)
                if not skip_invalid:
                    raise error from None
                result.skipped.append(error)
                continue
            if tier is not None:
                set_tier(doc, tier)
            mentions = get_mentions(doc, spans_key)
            result.documents += 1
            result.mentions += len(mentions)
            result.relations += len(get_relation_rows(doc))
            result.concept_relations += len(get_concept_rows(doc))
            result.off_borders += sum(mention.char_offsets is not None for mention in mentions)
            result.in_parts += sum(len(get_fragments(doc, mention)) > 1 for mention in mentions)
            yield doc

    if target == "docbin":
        write_docbin(docs(), output)
    elif target == "jsonl":
        write_jsonl(docs(), output, spans_key=spans_key)
    elif target in CORPUS_FORMATS:
        skipping: Dict[str, Any] = {"skip_invalid": skip_invalid, "report": result.skipped}
        write_corpus(docs, output, target, spans_key=spans_key, **skipping)
    else:
        to_article = partial(doc_to_article, spans_key=spans_key, skip_invalid=skip_invalid)
        articles = (to_article(doc, report=result.skipped) for doc in docs(to_article))
        if target == "gutbrainie":
            write_articles(articles, output, year=year)
        else:
            write_inline(articles, output)
    return result


def guess_format(path: Union[str, Path], *, writing: bool = False) -> str:
    """Tell the format of a file from its suffix, or of a .txt, a .tsv or a folder from its content.

    A folder without .ann files holds inline articles. Raises ValueError for a suffix that says
    nothing.
    """
    path = Path(path)
    found = guess_corpus(path, writing=writing)
    if found is not None:
        return found
    if path.is_dir() or (writing and not path.suffix):
        return "inline"
    if path.suffix not in _SUFFIXES or (writing and path.suffix == ".txt"):
        raise ValueError(
            f"{path}: cannot tell the format from the name: expected a folder, .json, .jsonl, "
            f".spacy, .pubtator or .conll, or the format named ({', '.join(FORMATS)})."
        )
    return _SUFFIXES[path.suffix]


def blank_pipeline(lang: str = "en") -> Language:
    """A pipeline without components; for English with the tokenizer of this package.

    Raises ValueError, with the cause, for a language that spaCy does not have or cannot load: some
    need further packages, and a plugin that fails to import fails with every language.
    """
    try:
        nlp = spacy.blank(lang)
    except ImportError as error:
        raise ValueError(
            f"Language '{lang}' cannot be loaded: expected a code that spacy.blank() knows, such "
            f"as en, and what it needs installed, but {error}"
        ) from error
    if lang == "en":
        nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    return nlp


def blank_tokenizer(lang: str = "en") -> Tuple[Callable[[str], Doc], Vocab]:
    """The tokenizer of ``blank_pipeline`` and its vocabulary.

    A pipeline imports every component that is installed, which takes seconds; for English none is
    made.
    """
    if lang == "en":
        vocab = create_vocab("en", English.Defaults)
        return make_tokenizer(vocab), vocab
    nlp = blank_pipeline(lang)
    return nlp.tokenizer, nlp.vocab


def read_ids(path: Union[str, Path]) -> List[str]:
    """Read document ids, one a line; empty lines and what follows a ``#`` are passed over."""
    lines = (line.split("#")[0].strip() for line in read_utf8(path).split("\n"))
    return [line for line in lines if line]


def _identifier(item: Union[Article, Doc]) -> str:
    if isinstance(item, Article):
        return item.pmid
    return str((item.user_data.get(META_KEY) or {}).get("id", ""))


def _check_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"Unknown format '{name}': expected one of {', '.join(FORMATS)}.")
    return name
