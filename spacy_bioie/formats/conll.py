"""Columns of tokens and IOB labels, the form of the BIO benchmarks of biomedical recognition.

::

    -DOCSTART- (1234)   O

    BRCA1   B-Gene
    is      O

    secreted    O

A line is a token, any further columns and a label, with tabs or single blanks between; an empty
line ends a sentence. A line with ``-DOCSTART-`` or ``###`` (as in ``###MEDLINE:1234``) begins a
document. Where a file has no such lines each sentence is a document: nothing says where those end.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..annotation import META_KEY, SPANS_KEY, Mention, set_mentions
from .conll_writing import LAYOUT_KEY, doc_to_conll, write_conll
from .errors import FormatError
from .strict_json import read_utf8

__all__ = ["doc_to_conll", "read_conll", "write_conll"]

_MARKER = re.compile(r"-DOCSTART-.*|###\S+")
_MARKER_ID = re.compile(r"-DOCSTART-\s+\((.+)\)(?:\s.*)?|###(?:.*:)?\s*(\S+)")
_LABEL = re.compile(r"([BI])-(.+)")


@dataclass
class _Sentence:
    lines: List[Tuple[int, str]] = field(default_factory=list)  # number from 1, text
    empty_after: int = 0


@dataclass
class _Document:
    marker: Optional[str] = None
    empty: int = 0  # empty lines before the first sentence
    sentences: List[_Sentence] = field(default_factory=list)


class _Token(NamedTuple):
    line: int
    text: str
    between: List[str]  # columns between token and label
    label: str


def read_conll(
    path: Union[str, Path],
    vocab: Union[Vocab, Language],
    *,
    spans_key: str = SPANS_KEY,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> Iterator[Doc]:
    """Read the documents of a file with the tokens and sentences that it has.

    The text is the tokens with one blank between, so that the characters of every mention are
    exact for any other tokenizer. Ids are those of the document lines; without them they are
    made of the names of folder and file and a number. Columns between token and label are kept in
    ``doc.user_data``, as are the document line and empty lines that ``write_conll`` would not
    write.

    Raises FormatError, naming file, line and what was expected, for an I- label that continues no
    mention too; with ``skip_invalid`` that label begins a mention, another malformed line takes
    its sentence along, and the error is appended to ``report``. Raises OSError.
    """
    path = Path(path)
    found = _documents(read_utf8(path))
    vocab = vocab.vocab if isinstance(vocab, Language) else vocab

    def read() -> Iterator[Doc]:
        reader = _ConllReader(path, skip_invalid, report)
        for number, document in enumerate(found, 1):
            doc = reader.doc(document, vocab, spans_key, number)
            if doc is not None:
                yield doc

    return read()


class _ConllReader:
    def __init__(self, path: Path, skip_invalid: bool, report: Optional[List[FormatError]]) -> None:
        self.path = path
        self.skip_invalid = skip_invalid
        self.report = report
        self.columns: Optional[Tuple[int, str]] = None  # number and separator, from the first line

    def skip(self, error: FormatError) -> None:
        if not self.skip_invalid:
            raise error
        if self.report is not None:
            self.report.append(error)

    def error(self, line: int, field: str, problem: str) -> FormatError:
        return FormatError(self.path, f"line {line}", field, problem)

    def doc(self, document: _Document, vocab: Vocab, spans_key: str, number: int) -> Optional[Doc]:
        """The Doc of a document; None where no sentence is left of it."""
        tokens: List[_Token] = []
        starts: List[Union[bool, int, None]] = []
        mentions: List[Mention] = []
        empty_after: List[int] = []
        for sentence in document.sentences:
            try:
                found = [self.token(line, text) for line, text in sentence.lines]
            except FormatError as error:
                self.skip(error)
                continue
            mentions += self.mentions(found, len(tokens))
            tokens += found
            starts += [i == 0 for i in range(len(found))]
            empty_after.append(sentence.empty_after)
        if document.sentences and not tokens:
            return None
        words = [token.text for token in tokens]
        spaces = [i + 1 < len(words) for i in range(len(words))]
        doc = Doc(vocab, words=words, spaces=spaces, sent_starts=starts)
        set_mentions(doc, spans_key, mentions)
        name = "-".join(filter(None, (self.path.parent.name, self.path.stem, str(number))))
        layout: Dict[str, Any] = {"marker": document.marker}
        if document.marker is not None:
            match = _MARKER_ID.fullmatch(document.marker)
            name = (match and (match[1] or match[2])) or name
        if document.empty != (0 if document.marker is None else 1):
            layout["empty_before"] = document.empty
        if any(count != 1 for count in empty_after):
            layout["empty_after"] = empty_after
        if any(token.between for token in tokens):
            layout["columns"] = [token.between for token in tokens]
        if self.columns and self.columns[1] != "\t":
            layout["separator"] = self.columns[1]
        doc.user_data[META_KEY] = {"id": name}
        doc.user_data[LAYOUT_KEY] = layout
        return doc

    def token(self, number: int, line: str) -> _Token:
        separator = "\t" if "\t" in line else " "
        count, separator = self.columns or (max(line.count(separator) + 1, 2), separator)
        fields = line.split(separator)
        if len(fields) != count:
            raise self.error(
                number,
                "",
                f"found {len(fields)} columns: expected {count}, the first a token and the last "
                f"its label, with {'blanks' if separator == ' ' else 'tabs'} between",
            )
        self.columns = count, separator
        text, *between, label = fields
        if not text or text != "".join(text.split()):
            raise self.error(number, "token", f"found {text!r}: expected a text without blanks")
        if label != "O" and not _LABEL.fullmatch(label):
            raise self.error(
                number, "label", f"found {label!r}: expected O, or B- or I- and the kind of mention"
            )
        return _Token(number, text, between, label)

    def mentions(self, tokens: List[_Token], offset: int) -> List[Mention]:
        """The mentions of a sentence; token borders count from ``offset``."""
        found: List[Mention] = []
        before = "O"
        for i, token in enumerate(tokens, offset):
            match = _LABEL.fullmatch(token.label)
            if match is None:
                before = token.label
                continue
            continues = match[1] == "I" and before != "O" and before[2:] == match[2]
            if match[1] == "I" and not continues:
                place = f"follows {before}" if i > offset else "begins a sentence"
                self.skip(
                    self.error(
                        token.line,
                        "label",
                        f"{token.label} {place}: expected it after B-{match[2]} or I-{match[2]}",
                    )
                )
            if continues:
                last = found.pop()
                found.append(Mention(last.start, i + 1, last.label))
            else:
                found.append(Mention(i, i + 1, match[2]))
            before = token.label
        return found


def _documents(text: str) -> List[_Document]:
    """The documents' sentences as lines; empty lines belong to what stands before them."""
    found: List[_Document] = []
    if not text.strip():
        return found
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if _MARKER.fullmatch(line):
            found.append(_Document(line))
            continue
        if not found:
            found.append(_Document())
        document = found[-1]
        if line.strip():
            if not document.sentences or document.sentences[-1].empty_after:
                document.sentences.append(_Sentence())
            document.sentences[-1].lines.append((number, line))
        elif document.sentences:
            document.sentences[-1].empty_after += 1
        else:
            document.empty += 1
    if len(found) > 1 or found[0].marker is not None:
        return found
    first, *others = found[0].sentences
    return [
        _Document(None, found[0].empty, [first]),
        *(_Document(sentences=[sentence]) for sentence in others),
    ]
