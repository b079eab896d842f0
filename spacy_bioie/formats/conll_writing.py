"""Write columns of tokens and IOB labels; ``conll`` says how they look."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

from spacy.tokens import Doc

from ..annotation import META_KEY, SPANS_KEY, Mention, get_mentions
from .atomic import replacing
from .errors import FormatError

LAYOUT_KEY = "bioie_conll"  # doc.user_data: the document line, further columns, empty lines


def write_conll(
    docs: Iterable[Doc],
    path: Union[str, Path],
    *,
    spans_key: str = SPANS_KEY,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> int:
    """Write documents and return their number; the file is complete or untouched.

    See ``doc_to_conll``. Raises FormatError, OSError.
    """
    count = 0
    with replacing(path) as beside, beside.open("w", encoding="utf8", newline="\n") as file:
        apart = True
        for doc in docs:
            text = doc_to_conll(doc, spans_key, skip_invalid=skip_invalid, report=report)
            if not apart and _marker(doc) is None:
                file.write("\n")
            file.write(text)
            apart = not text or text.endswith("\n\n")
            count += 1
    return count


def doc_to_conll(
    doc: Doc,
    spans_key: str = SPANS_KEY,
    *,
    skip_invalid: bool = False,
    report: Optional[List[FormatError]] = None,
) -> str:
    """The lines of one document: a document line, then its sentences.

    A Doc read from a file without document lines gets none. A Doc without sentence borders is one
    sentence; white space that is a token is left out. Links, relations and scores are left
    behind. Raises FormatError for a mention that overlaps another one, reaches over a sentence or
    has a border inside a token, and for a label or token that breaks the columns; with
    ``skip_invalid`` the mention is left out, of two that overlap the shorter one, and the error
    appended to ``report``.
    """
    layout: Dict[str, Any] = doc.user_data.get(LAYOUT_KEY) or {}
    separator = str(layout.get("separator", "\t"))
    columns = layout.get("columns")
    if columns is None or len(columns) != len(doc):
        columns = [[]] * len(doc)
    labels = _labels(doc, spans_key, separator, skip_invalid, report)
    rows = []
    for token, between, label in zip(doc, columns, labels, strict=True):
        if len(token.text.split()) > 1:
            raise _error(
                doc, f"token {token.i}", f"found {token.text!r}: expected a text without blanks"
            )
        rows.append("" if token.is_space else separator.join([token.text, *between, label]))
    marker = _marker(doc)
    lines = [] if marker is None else [marker]
    lines += [""] * int(layout.get("empty_before", 0 if marker is None else 1))
    sentences = [[row for row in rows[start:end] if row] for start, end in _sentences(doc)]
    sentences = [sentence for sentence in sentences if sentence]
    empty_after = layout.get("empty_after")
    if empty_after is None or len(empty_after) != len(sentences):
        empty_after = [1] * len(sentences)
    for sentence, empty in zip(sentences, empty_after, strict=True):
        lines += [*sentence, *([""] * int(empty))]
    return "".join(f"{line}\n" for line in lines)


def _labels(
    doc: Doc,
    spans_key: str,
    separator: str,
    skip_invalid: bool,
    report: Optional[List[FormatError]],
) -> List[str]:
    """The IOB label of each token."""
    labels = ["O"] * len(doc)
    owners: List[Optional[Mention]] = [None] * len(doc)
    borders = _sentences(doc)
    mentions = get_mentions(doc, spans_key)
    if skip_invalid:  # where two overlap the longer one stays
        mentions = sorted(mentions, key=lambda m: (m.start - m.end, m.start))
    for mention in mentions:
        place = f"mention {mention.id} ({mention.label})"
        tokens = [i for i in range(mention.start, mention.end) if not doc[i].is_space]
        other = next((owners[i] for i in tokens if owners[i] is not None), None)
        problem = ""
        if len(mention.label.splitlines()) != 1 or separator in mention.label:
            problem = f"expected a label on one line and without {separator!r}"
        elif mention.char_offsets is not None:
            problem = (
                f"characters {mention.char_offsets[0]} to {mention.char_offsets[1]} are not whole "
                "tokens: expected borders of tokens"
            )
        elif not any(a <= mention.start and mention.end <= b for a, b in borders):
            problem = "reaches over a sentence: expected a mention inside one"
        elif other is not None:
            problem = f"overlaps {other.id} ({other.label}): expected mentions that lie apart"
        elif not tokens:
            problem = "covers white space: expected a text"
        if problem:
            error = _error(doc, place, problem)
            if not skip_invalid:
                raise error
            if report is not None:
                report.append(error)
            continue
        for i in tokens:
            owners[i] = mention
            labels[i] = f"{'B' if i == tokens[0] else 'I'}-{mention.label}"
    return labels


def _sentences(doc: Doc) -> List[Tuple[int, int]]:
    """Token ranges of the sentences, or of the whole Doc where no borders are set."""
    if not len(doc):
        return []
    if not doc.has_annotation("SENT_START"):
        return [(0, len(doc))]
    return [(sentence.start, sentence.end) for sentence in doc.sents]


def _marker(doc: Doc) -> Optional[str]:
    layout = doc.user_data.get(LAYOUT_KEY)
    if layout is not None:
        return layout.get("marker")
    identifier = _identifier(doc)
    return f"-DOCSTART- ({identifier})\tO" if identifier else "-DOCSTART-\tO"


def _identifier(doc: Doc) -> str:
    return " ".join(str((doc.user_data.get(META_KEY) or {}).get("id", "")).split())


def _error(doc: Doc, field: str, problem: str) -> FormatError:
    identifier = _identifier(doc)
    record = f"document {identifier}" if identifier else f"document beginning {doc.text[:40]!r}"
    return FormatError("", record, field, problem)
