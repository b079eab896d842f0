"""Documents with a marker before and behind every mention, cut into overlapping windows."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc

from .candidates import PairCandidates
from .window_cutter import WindowCutter, window_borders
from .word_pieces import Section, WordPieces, read_word_pieces


class MarkedWindows(NamedTuple):
    """Windows over the marked word pieces of documents.

    A document is one sequence of places: the special tokens that begin a text, its pieces and
    markers, and the special tokens that end one. Each place lies in at least one window; windows
    of a document that needs several overlap by about half.

    ids: int64, (windows, longest), padded. types: token types, the same shape, or None.
    lengths: int64, (windows,): pieces of each, special tokens included.
    docs: int64, (windows,): the document of each, ascending.
    shifts: int64, (windows,): a window's column c is the place c + shift of its document.
    first, last: int64, (windows,): the columns (the second exclusive) that are places: all but
        the special tokens where the document is cut.
    doc_lengths: int64, (documents,): places of each document, 0 for one that was left out.
    markers: int64, (mentions,): the place of each mention's start marker, -1 in a document that
        was left out. Mentions with equal borders share their markers.
    """

    ids: numpy.ndarray
    types: Optional[numpy.ndarray]
    lengths: numpy.ndarray
    docs: numpy.ndarray
    shifts: numpy.ndarray
    first: numpy.ndarray
    last: numpy.ndarray
    doc_lengths: numpy.ndarray
    markers: numpy.ndarray


def marked_windows(
    cutter: WindowCutter, marker: int, docs: Sequence[Doc], candidates: PairCandidates
) -> MarkedWindows:
    """Mark the mentions of documents, and cut the documents into windows.

    Unlike the windows of the shared encoder they go across sections, and no piece is left out:
    a token longer than a window is cut. Documents without candidate pairs are left out.

    cutter: gives the tokenizer, its special tokens and the size of the windows.
    marker: the id of the piece that stands before and behind each mention.
    """
    wanted = numpy.unique(candidates.mention_docs[candidates.pairs[:, 0]]).tolist()
    sections = [Section(number, 0, len(docs[number])) for number in wanted]
    before, behind = len(cutter.special.prefix), len(cutter.special.suffix)
    doc_lengths = numpy.zeros(len(docs), dtype="int64")
    markers = numpy.full(len(candidates.mentions), -1, dtype="int64")
    windows: List[Tuple[int, int, int, numpy.ndarray]] = []  # document, begin, end, all pieces
    read = read_word_pieces(cutter.tokenizer, docs, sections)
    for number, pieces in zip(wanted, read, strict=True):
        own = slice(
            candidates.mention_starts[number],
            candidates.mention_starts[number] + candidates.doc_mentions[number],
        )
        marked, places = insert_markers(pieces, candidates.mentions[own, :2], marker)
        markers[own] = places + before
        n = len(marked.ids)
        doc_lengths[number] = before + n + behind
        borders = [(0, n)] if n <= cutter.room else window_borders(marked.borders(), cutter.room)
        windows.extend((number, begin, end, marked.ids) for begin, end in borders)
    table = numpy.asarray([window[:3] for window in windows], dtype="int64").reshape((-1, 3))
    of_doc, begins, ends = table.T
    lengths = ends - begins + before + behind
    is_first, is_last = begins == 0, ends + before + behind == doc_lengths[of_doc]
    ids, types = _pad(cutter.special, [ids[begin:end] for _, begin, end, ids in windows])
    return MarkedWindows(
        ids=ids,
        types=types,
        lengths=lengths,
        docs=of_doc,
        shifts=begins,
        first=numpy.where(is_first, 0, before),
        last=numpy.where(is_last, lengths, lengths - behind),
        doc_lengths=doc_lengths,
        markers=markers,
    )


def insert_markers(
    pieces: WordPieces, mentions: numpy.ndarray, marker: int
) -> Tuple[WordPieces, numpy.ndarray]:
    """Put a marker before the first and behind the last piece of each mention.

    Markers of nested mentions nest. A piece that a mention shares with the word beside it stands
    between the markers.

    mentions: int64, (mentions, 2): first token and last + 1.
    RETURNS: the pieces with markers, which touch the first and the last token of their mention
        (without strings), and the place of each mention's first marker among them: int64,
        (mentions,).
    """
    tokens, mention_rows = numpy.unique(mentions, axis=0, return_inverse=True)
    n = len(tokens)
    touches = pieces.first <= pieces.last
    latest = numpy.maximum.accumulate(numpy.where(touches, pieces.last, -1))
    beyond = numpy.iinfo("int64").max
    next_first = numpy.minimum.accumulate(numpy.where(touches, pieces.first, beyond)[::-1])[::-1]
    begins = numpy.searchsorted(latest, tokens[:, 0])
    ends = numpy.maximum(numpy.searchsorted(next_first, tokens[:, 1]), begins)
    # Between two pieces: first what ends there, inner mentions first, then mentions without
    # pieces, then what begins there, outer mentions first.
    empty, index = begins == ends, numpy.arange(n)
    gaps = numpy.concatenate([begins, ends])
    kinds = numpy.concatenate([2 - empty, 0 + empty])
    depths = [numpy.where(empty, index, -other) for other in (ends, begins)]
    order = numpy.lexsort((numpy.arange(2 * n), numpy.concatenate(depths), kinds, gaps))
    places = numpy.empty(2 * n, dtype="int64")
    places[order] = gaps[order] + numpy.arange(2 * n)
    is_piece = numpy.ones(len(pieces.ids) + 2 * n, dtype=bool)
    is_piece[places] = False
    columns = []
    touched = numpy.concatenate([tokens[:, 0], tokens[:, 1] - 1])
    for own, inserted in (
        (pieces.ids, numpy.full(2 * n, marker)),
        (pieces.first, touched),
        (pieces.last, touched),
    ):
        column = numpy.empty(len(is_piece), dtype="int64")
        column[is_piece], column[places] = own, inserted
        columns.append(column)
    marked = WordPieces(columns[0], [], columns[1], columns[2])
    return marked, places[:n][mention_rows.reshape(-1)]


def _pad(
    special: Any, bodies: Sequence[numpy.ndarray]
) -> Tuple[numpy.ndarray, Optional[numpy.ndarray]]:
    """Put the special tokens around rows of pieces and pad them: ids and types, see above."""
    before, behind = len(special.prefix), len(special.suffix)
    longest = max((len(body) for body in bodies), default=0) + before + behind
    ids = numpy.full((len(bodies), longest), special.pad_id, dtype="int64")
    types = None
    if special.types is not None:
        types = numpy.full(ids.shape, special.types.padding, dtype="int64")
    for row, body in enumerate(bodies):
        end = before + len(body)
        ids[row, :before], ids[row, before:end] = special.prefix, body
        ids[row, end : end + behind] = special.suffix
        if types is not None:
            types[row, :before], types[row, before:end] = special.types.prefix, special.types.text
            types[row, end : end + behind] = special.types.suffix
    return ids, types
