"""Word pieces of annotated documents with the tags of their mentions."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Union

import numpy
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..annotation import get_mentions, mention_characters
from ..formats.docbin import read_docbin
from .packing import Rows, pack

OUTSIDE = 0
NO_TAG = -1  # of special tokens and padding


class TaggedDocuments(NamedTuple):
    """labels: in alphabetic order; the tags of the label of index i are 2 i + 1 for a mention's
    first piece, 2 i + 2 for others. documents: int32, (2, pieces): pieces and their tags."""

    labels: List[str]
    documents: List[numpy.ndarray]
    n_mentions: int


class TaggedRows(NamedTuple):
    """rows: windows of joined documents. tags: int64, (rows, window), -1 where no text is."""

    rows: Rows
    tags: numpy.ndarray

    def take(self, chosen: Any) -> "TaggedRows":
        rows = self.rows.take(chosen)
        return TaggedRows(rows, self.tags[chosen][:, : rows.ids.shape[1]])


def read_tagged(path: Union[str, Path], tokenizer: Any, key: str) -> TaggedDocuments:
    """Read a corpus. Of mentions that overlap the longest is tagged, of equal ones the first.

    tokenizer: a fast one, which says where its pieces stand. key: of the mentions in ``doc.spans``.

    Documents without that group are left out, as they are not annotated. Raises ValueError where
    no document has a mention, FormatError and OSError as ``read_docbin``.
    """
    docs = [doc for doc in read_docbin(path, Vocab()) if key in doc.spans and len(doc)]
    labels = sorted({mention.label for doc in docs for mention in get_mentions(doc, key)})
    if not labels:
        raise ValueError(
            f"'{path}' holds no mention in doc.spans['{key}']: expected an annotated corpus."
        )
    encoded = tokenizer(
        [doc.text for doc in docs],
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        split_special_tokens=True,
        truncation=False,
        verbose=False,
    )
    index = {label: i for i, label in enumerate(labels)}
    documents, n_mentions = [], 0
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    for doc, (ids, offsets) in zip(docs, pairs, strict=True):
        if ids:
            tags, n = _tags(doc, key, numpy.asarray(offsets), index)
            documents.append(numpy.stack([numpy.asarray(ids, dtype="int32"), tags]))
            n_mentions += n
    return TaggedDocuments(labels, documents, n_mentions)


def pack_tagged(documents: Sequence[numpy.ndarray], tokenizer: Any, window: int) -> TaggedRows:
    """Join documents of ``TaggedDocuments`` and cut them into rows, see ``pack``."""
    rows = pack([pieces for pieces, _ in documents], tokenizer, window)
    tags = numpy.full(rows.ids.shape, NO_TAG, dtype="int64")
    tags[rows.text] = numpy.concatenate([tags_of_doc for _, tags_of_doc in documents])
    return TaggedRows(rows, tags)


def _tags(doc: Doc, key: str, offsets: numpy.ndarray, index: Dict[str, int]) -> Any:
    """The tags of pieces, int32, by characters; and how many mentions are tagged."""
    mentions = get_mentions(doc, key)
    borders = [mention_characters(doc, mention) for mention in mentions]
    owner = numpy.full(len(doc.text), -1, dtype="int64")
    for i in sorted(range(len(mentions)), key=lambda i: borders[i][0] - borders[i][1]):
        inside = owner[slice(*borders[i])]
        if (inside < 0).all():
            inside[:] = i
    # By its last character: the first one may be the space before
    owners = numpy.where(offsets[:, 1] > offsets[:, 0], owner[offsets[:, 1] - 1], -1)
    first = owners != numpy.concatenate([[-1], owners[:-1]])
    labels = numpy.asarray([index[mention.label] for mention in mentions] + [0])
    tags = numpy.where(owners < 0, OUTSIDE, 2 * labels[owners] + numpy.where(first, 1, 2))
    return tags.astype("int32"), len(set(owners[owners >= 0].tolist()))
