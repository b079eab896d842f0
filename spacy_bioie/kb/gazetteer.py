"""Gazetteers: patterns for spaCy's ``span_ruler``, made of the names of concepts and of mentions.

Most names are phrase patterns, for a ruler whose ``phrase_matcher_attr`` is "LOWER". Those whose
case has to agree are gathered in one token pattern for each label: spaCy tries every token pattern
at every token, so that one pattern for each name would cost seconds a document.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union
from typing import Counter as CounterType

import numpy
from spacy.lang.en.stop_words import STOP_WORDS
from spacy.tokenizer import Tokenizer
from spacy.vocab import Vocab

from ..annotation import SPANS_KEY, get_mentions, mention_texts
from .concepts import Concept
from .knowledge_base import FaissKnowledgeBase
from .loading import load_knowledge_base
from .sources import read_concepts
from .storage import META_FILE
from .training_names import read_mention_docs

Pattern = Dict[str, Any]


@dataclass(frozen=True)
class GazetteerRules:
    """Which names become patterns, with which label, and whether their case has to agree.

    labels: from concept types (labels of mentions) to labels; other types are left out. None takes
        every type as its label.
    label: of all names, in the place of what ``labels`` says.
    min_length, max_length: characters of a name.
    short_length: a single token of so many characters counts as short.
    stop_names: names that are left out, in lower case; in capitals those to be left out where
        they are written in capitals throughout.
    one_label: keep the commonest label alone of a name that has several; of equally common ones
        the first in the alphabet.
    """

    labels: Optional[Mapping[str, str]] = None
    label: str = ""
    min_length: int = 2
    max_length: int = 80
    short_length: int = 4
    stop_names: Collection[str] = frozenset(STOP_WORDS)
    one_label: bool = False

    def label_of(self, kind: str) -> str:
        """The label of a concept type, "" where the type is left out."""
        found = kind if self.labels is None else self.labels.get(kind, "")
        if self.label and (found or self.labels is None):
            return self.label
        return found

    def is_stopped(self, name: str) -> bool:
        """Whether a name is among the ``stop_names``."""
        return name in self.stop_names or (
            not _is_capital(name) and name.lower() in self.stop_names
        )

    def cased_forms(self, name: str) -> List[str]:
        """The spellings of a single token whose case has to agree; none where it need not.

        It has to where a name is short or in capitals throughout. A short name of three or more
        characters without a capital behind the first is a word, which may begin a sentence: "gut"
        stands for "Gut" too, and "Zinc" for "zinc".
        """
        short = len(name) <= self.short_length
        if short and len(name) > 2 and name[1:].islower():
            return [name[0].lower() + name[1:], name[0].upper() + name[1:]]
        return [name] if short or _is_capital(name) else []


@dataclass(frozen=True)
class GazetteerReport:
    """What became of the names.

    names: distinct names read. unlabelled: left out because of their types. wrong_length: too
    short, too long, or without a letter. stopped: in the stop list. ambiguous: spellings with
    more than one label. phrases: patterns that match whatever the case. cased: spellings whose
    case has to agree.
    """

    names: int
    unlabelled: int
    wrong_length: int
    stopped: int
    ambiguous: int
    phrases: int
    cased: int

    def to_dict(self) -> Dict[str, int]:
        return asdict(self)


def build_gazetteer(
    sources: Iterable[Union[str, Path, Concept]],
    tokenizer: Tokenizer,
    rules: Optional[GazetteerRules] = None,
    *,
    spans_key: str = SPANS_KEY,
) -> Tuple[List[Pattern], GazetteerReport]:
    """Make the patterns of a ``span_ruler`` with ``phrase_matcher_attr`` "LOWER".

    The ruler should stand ahead of an encoder, since it hands the text of each pattern to the
    components before it.

    sources: Concept objects, files of concepts in any form that ``read_concepts`` knows, folders
        of knowledge bases, corpora (.spacy) whose mentions ``doc.spans[spans_key]`` give names
        and labels. A concept of a knowledge base has the labels of its training mentions beside
        its types.
    tokenizer: of the pipeline that the ruler is for.
    rules: see there; by default all of its defaults.

    RETURNS: patterns, sorted, and what became of the names.
    Raises ValueError where no name is left, and FileNotFoundError and ValueError as the readers of
    the sources do.
    """
    rules = rules or GazetteerRules()
    names: Dict[str, CounterType[str]] = {}
    for name, kind, count in _read_names(sources, spans_key):
        labels = names.setdefault(" ".join(name.split()), Counter())
        label = rules.label_of(kind)
        if label:
            labels[label] += count
    left = {name: labels for name, labels in names.items() if labels}
    long = {name: labels for name, labels in left.items() if _has_length(name, rules)}
    kept = {name: labels for name, labels in long.items() if not rules.is_stopped(name)}
    phrases, cased = _spellings(kept, tokenizer, rules)
    labels_of = [*phrases.values(), *cased.values()]
    ambiguous = sum(len(labels) > 1 for labels in labels_of)
    if rules.one_label:
        for labels in labels_of:
            best = min(labels, key=lambda label: (-labels[label], label))
            for label in [label for label in labels if label != best]:
                del labels[label]
    report = GazetteerReport(
        names=len(names),
        unlabelled=len(names) - len(left),
        wrong_length=len(left) - len(long),
        stopped=len(long) - len(kept),
        ambiguous=ambiguous,
        phrases=sum(len(labels) for labels in phrases.values()),
        cased=sum(len(labels) for labels in cased.values()),
    )
    if not kept:
        raise ValueError(
            f"No name is left for the gazetteer ({report}): expected concepts with types, or "
            "mentions with labels, that the rules let through, or one label for all."
        )
    return [*_phrase_patterns(phrases), *_cased_patterns(cased)], report


def read_stop_names(path: Union[str, Path]) -> List[str]:
    """Read a stop list: one name a line; lines that begin with # and empty ones are skipped.

    Raises FileNotFoundError where there is no such file, and ValueError where it is not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such list of stop names: '{path}'.")
    try:
        lines = path.read_text(encoding="utf8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}': expected UTF-8 text, but {error}.") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _spellings(
    names: Mapping[str, CounterType[str]], tokenizer: Tokenizer, rules: GazetteerRules
) -> Tuple[Dict[str, CounterType[str]], Dict[str, CounterType[str]]]:
    """Names that match whatever their case, one for all that do not differ, and cased spellings."""
    first: Dict[Tuple[str, ...], str] = {}
    phrases: Dict[str, CounterType[str]] = {}
    cased: Dict[str, CounterType[str]] = {}
    ordered = sorted(names)
    for name, doc in zip(ordered, tokenizer.pipe(ordered), strict=True):
        forms = rules.cased_forms(name) if len(doc) == 1 else []
        for form in forms:
            cased.setdefault(form, Counter()).update(names[name])
        if not forms:
            # case can change where a name is split: "E. coli" and "e. coli" have other tokens
            text = first.setdefault(tuple(token.lower_ for token in doc), name)
            phrases.setdefault(text, Counter()).update(names[name])
    return phrases, cased


def _phrase_patterns(phrases: Mapping[str, Collection[str]]) -> Iterator[Pattern]:
    for name in sorted(phrases):
        for label in sorted(phrases[name]):
            yield {"label": label, "pattern": name}


def _cased_patterns(cased: Mapping[str, Collection[str]]) -> Iterator[Pattern]:
    by_label: Dict[str, List[str]] = {}
    for form in sorted(cased):
        for label in cased[form]:
            by_label.setdefault(label, []).append(form)
    for label in sorted(by_label):
        yield {"label": label, "pattern": [{"ORTH": {"IN": by_label[label]}}]}


def _read_names(
    sources: Iterable[Union[str, Path, Concept]], spans_key: str
) -> Iterator[Tuple[str, str, int]]:
    """The names of all sources with a type, "" where there is none, and a count."""
    for source in sources:
        if isinstance(source, Concept):
            yield from _concept_names([source])
        elif (Path(source) / META_FILE).is_file():
            yield from _knowledge_base_names(load_knowledge_base(source)(Vocab()))
        elif Path(source).suffix == ".spacy":
            for doc in read_mention_docs(source, spans_key):
                mentions = get_mentions(doc, spans_key)
                for text, mention in zip(mention_texts(doc, mentions), mentions, strict=True):
                    yield text, mention.label, 1
        else:
            yield from _concept_names(read_concepts(source))


def _concept_names(concepts: Iterable[Concept]) -> Iterator[Tuple[str, str, int]]:
    for concept in concepts:
        for name in concept.names:
            for kind in concept.types or ("",):
                yield name, kind, 1


def _knowledge_base_names(kb: FaissKnowledgeBase) -> Iterator[Tuple[str, str, int]]:
    tables = kb.tables
    labels = list(tables.labels)
    n = max(len(labels), 1)
    rows = numpy.arange(len(tables.concept_ids) + 1)
    borders = numpy.searchsorted(tables.label_keys, rows * n).tolist()
    for row, (start, end) in enumerate(zip(borders, borders[1:], strict=False)):
        concept = tables.concept(row)
        known = [labels[key % n] for key in tables.label_keys[start:end].tolist()]
        for name in concept.names:
            for kind in dict.fromkeys([*known, *concept.types]) or ("",):
                yield name, kind, 1


def _has_length(name: str, rules: GazetteerRules) -> bool:
    return rules.min_length <= len(name) <= rules.max_length and any(c.isalpha() for c in name)


def _is_capital(name: str) -> bool:
    return not any(char.islower() for char in name)
