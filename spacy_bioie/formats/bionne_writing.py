"""Write BioNNE-L's tables, the corpus's and the submission's; ``bionne`` says how they look."""

import re
from pathlib import Path
from typing import Dict, Iterable, Sequence, Union

from spacy.tokens import Doc

from ..annotation import META_KEY, SPANS_KEY, Mention, get_mentions
from .atomic import write_texts
from .errors import FormatError
from .standoff import Fragments, fragment_text, get_fragments

COLUMNS = ("document_id", "text", "entity_type", "spans", "UMLS_CUI")
SUBMISSION_COLUMNS = ("document_id", "spans", "rank", "prediction")
NO_CONCEPT = "CUILESS"
MAX_RANK = 5


def write_bionne(
    docs: Iterable[Doc],
    path: Union[str, Path],
    *,
    texts: Union[str, Path, None] = None,
    spans_key: str = SPANS_KEY,
) -> int:
    """Write the table and return the number of documents; with ``texts`` also their texts there.

    A mention without a link gets ``CUILESS``; relations and scores are left behind, and so is a
    document without mentions. All files are complete or none is touched. Raises FormatError for
    a document without an id that names a file and for a tab or line break in a field, OSError.
    """
    path = Path(path)
    files: Dict[Path, str] = {}
    table = ["\t".join(COLUMNS) + "\n"]
    for doc in docs:
        table.append(doc_to_bionne(doc, spans_key))
        if texts is not None:
            identifier = _identifier(doc)
            file = Path(texts) / f"{identifier}.txt"
            if file.parent != Path(texts) or file in files:
                raise FormatError(
                    "",
                    f"document {identifier}",
                    "id",
                    "expected one that no other document has and that can name a file",
                )
            files[file] = doc.text
    write_texts({**files, path: "".join(table)})
    return len(table) - 1


def doc_to_bionne(doc: Doc, spans_key: str = SPANS_KEY) -> str:
    """The rows of one document. Raises FormatError, see ``write_bionne``."""
    identifier = _identifier(doc)
    text = doc.text
    rows = []
    for mention in get_mentions(doc, spans_key):
        parts = get_fragments(doc, mention)
        concept = mention.kb_id or NO_CONCEPT
        fields = [identifier, fragment_text(text, parts), mention.label, _spans(parts), concept]
        rows.append(_line(identifier, mention, fields) + "\n")
    return "".join(rows)


def write_bionne_submission(
    docs: Iterable[Doc], path: Union[str, Path], *, spans_key: str = SPANS_KEY
) -> int:
    """Write the ranked concepts of all mentions and return the number of mentions.

    They are the mention's first five distinct candidates, ``CUILESS`` for the choice of no link;
    without candidates its link, and ``CUILESS`` where it has neither. The file is complete or
    untouched. Raises FormatError for a document without an id and for a tab or line break in a
    field, OSError.
    """
    lines = ["\t".join(SUBMISSION_COLUMNS)]
    count = 0
    for doc in docs:
        identifier = _identifier(doc)
        for mention in get_mentions(doc, spans_key):
            found = (concept or NO_CONCEPT for concept, _ in mention.candidates or ())
            ranked = list(dict.fromkeys(found))
            ranked = ranked[:MAX_RANK] or [mention.kb_id or NO_CONCEPT]
            spans = _spans(get_fragments(doc, mention))
            for rank, concept in enumerate(ranked, 1):
                lines.append(_line(identifier, mention, [identifier, spans, str(rank), concept]))
            count += 1
    write_texts({Path(path): "".join(f"{line}\n" for line in lines)})
    return count


def _identifier(doc: Doc) -> str:
    identifier = str((doc.user_data.get(META_KEY) or {}).get("id", ""))
    if not identifier:
        record = f"document beginning {doc.text[:40]!r}"
        raise FormatError("", record, f"user_data['{META_KEY}']", "expected an 'id'")
    return identifier


def _spans(parts: Fragments) -> str:
    return ",".join(f"{start}-{end}" for start, end in parts)


def _line(identifier: str, mention: Mention, fields: Sequence[str]) -> str:
    if not all(fields) or any(re.search(r"[\t\n\r]", value) for value in fields):
        raise FormatError(
            "",
            f"document {identifier}",
            f"mention {mention.id}",
            f"found {list(fields)}: expected fields that are not empty and have no tab and no line "
            "break",
        )
    return "\t".join(fields)
