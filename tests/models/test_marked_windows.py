"""Markers around mentions, and windows over whole documents."""

import numpy
import pytest
from spacy.tokens import Doc
from spacy.vocab import Vocab
from transformers import AutoTokenizer

from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.marked_windows import insert_markers, marked_windows
from spacy_bioie.models.relation_schema import RelationSchema
from spacy_bioie.models.window_cutter import WindowCutter
from spacy_bioie.models.word_pieces import WordPieces

from ..tiny_encoder import WORDS, make_tiny_bert

SCHEMA = RelationSchema([["A", "p", "A"]])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = make_tiny_bert(tmp_path_factory.mktemp("encoder"), max_positions=512)
    return AutoTokenizer.from_pretrained(folder)


def marked(words, mentions):
    """The words as one piece each, with markers "*"."""
    n = numpy.arange(len(words))
    rows = numpy.asarray(mentions, dtype="int64").reshape((-1, 2))
    pieces, places = insert_markers(WordPieces(n, [], n, n), rows, -1)
    text = "".join("*" if i < 0 else words[i] for i in pieces.ids.tolist())
    assert all(text[place] == "*" for place in places.tolist())
    return text, places.tolist()


def test_markers_nest():
    # b and bc begin together, cd ends where d does, ab and b end together
    text, places = marked("abcde", [(1, 2), (1, 3), (2, 4), (3, 4), (0, 2), (1, 2)])
    assert text == "*a**b**" + "*c*" + "*d**" + "e"
    assert places == [3, 2, 7, 10, 0, 3]
    assert marked("abc", []) == ("abc", [])
    assert marked("ab", [(0, 2)]) == ("*ab*", [0])
    assert marked("ab", [(0, 1), (1, 2)]) == ("*a**b*", [0, 3])


def test_markers_with_pieces_that_touch_several_tokens_or_none():
    # pieces: token 0 | token 0 and 1 | none | token 3; token 2 has none
    first, last = numpy.asarray([0, 0, 0, 3]), numpy.asarray([0, 1, -1, 3])
    mentions = numpy.asarray([[1, 2], [2, 3], [3, 4], [2, 4]])
    pieces, places = insert_markers(WordPieces(numpy.arange(4), [], first, last), mentions, -1)
    # the mention of token 2 alone has both markers before piece 3
    assert pieces.ids.tolist() == [0, -1, 1, -1, 2, -1, -1, -1, -1, 3, -1, -1]
    assert places.tolist() == [1, 5, 8, 7]


def make_doc(n_words, seed=0):
    rng = numpy.random.default_rng(seed)
    return Doc(Vocab(), words=[str(word) for word in rng.choice(WORDS, n_words)])


def every(n, step):
    """A mention of two words at every so many words."""
    return numpy.asarray([[i, i + 2, 0] for i in range(0, n - 1, step)], dtype="int64")


@pytest.mark.parametrize("window", [12, 40, 512])
def test_windows_hold_every_place(tokenizer, window):
    docs = [make_doc(60), make_doc(7, 1), make_doc(30, 2), make_doc(90, 3)]
    tables = [every(60, 5), every(7, 3), every(2, 2), every(90, 2)]
    candidates = pair_candidates(tables, SCHEMA)
    cutter = WindowCutter(tokenizer, window)
    windows = marked_windows(cutter, 14, docs, candidates)
    assert windows.doc_lengths[2] == 0  # a single mention has no pair
    assert windows.lengths.max() <= window and (windows.docs != 2).all()
    start = 0
    for number, (doc, table) in enumerate(zip(docs, tables, strict=True)):
        own, start = slice(start, start + len(table)), start + len(table)
        if number == 2:
            assert (windows.markers[own] == -1).all()
            continue
        ids = tokenizer(doc.text, add_special_tokens=False)["input_ids"]
        places = numpy.full(windows.doc_lengths[number], -1)
        counts = numpy.zeros(len(places), dtype=int)
        for row in numpy.flatnonzero(windows.docs == number):
            first, last = windows.first[row], windows.last[row]
            where = numpy.arange(first, last) + windows.shifts[row]
            assert (windows.ids[row, where - windows.shifts[row]] != 0).all()
            seen = places[where]
            assert ((seen == -1) | (seen == windows.ids[row, first:last])).all()
            places[where] = windows.ids[row, first:last]
            counts[where] += 1
            assert windows.ids[row, 0] == tokenizer.cls_token_id
            assert windows.ids[row, windows.lengths[row] - 1] == tokenizer.sep_token_id
            assert (windows.ids[row, windows.lengths[row] :] == tokenizer.pad_token_id).all()
        assert (counts >= 1).all() and (counts.max() > 1) == (len(places) > window)
        assert places[0] == tokenizer.cls_token_id and places[-1] == tokenizer.sep_token_id
        assert [i for i in places[1:-1].tolist() if i != 14] == ids
        assert (places[windows.markers[own]] == 14).all()
        assert (places == 14).sum() == 2 * len(table)
    assert windows.types.shape == windows.ids.shape


def test_a_token_longer_than_a_window_is_kept(tokenizer):
    doc = Doc(Vocab(), words=["gut", "x" * 50, "mice"])
    table = numpy.asarray([[0, 1, 0], [1, 2, 0], [2, 3, 0]])
    candidates = pair_candidates([table], SCHEMA)
    windows = marked_windows(WindowCutter(tokenizer, 20), 14, [doc], candidates)
    assert windows.doc_lengths.tolist() == [2 + 52 + 6]
    kept = {
        shift + column
        for shift, first, last in zip(windows.shifts, windows.first, windows.last, strict=True)
        for column in range(first, last)
    }
    assert kept == set(range(60)) and windows.lengths.max() <= 20


def test_windows_do_not_cut_words_nor_lose_markers(tokenizer):
    doc = Doc(Vocab(), words=["abcdef", "ghijkl"] * 20)
    table = every(40, 4)
    windows = marked_windows(
        WindowCutter(tokenizer, 30), 14, [doc], pair_candidates([table], SCHEMA)
    )
    assert len(windows.ids) > 3
    for row, length in zip(windows.ids, windows.lengths, strict=True):
        words = tokenizer.convert_ids_to_tokens(row[1 : length - 1])
        # a word's first piece, or the marker before it; behind it its last piece or a marker
        assert words[0] in ("*", "a", "g") and words[-1] in ("*", "##f", "##l")


def test_text_is_not_read_as_special_tokens(tokenizer):
    doc = Doc(Vocab(), words=["[SEP]", "*", "mice"], spaces=[True, True, False])
    table = numpy.asarray([[0, 1, 0], [2, 3, 0]])
    candidates = pair_candidates([table], SCHEMA)
    windows = marked_windows(WindowCutter(tokenizer, 64), 14, [doc], candidates)
    assert (windows.ids == tokenizer.sep_token_id).sum() == 1
    assert windows.markers.tolist() == [1, windows.doc_lengths[0] - 4]


def test_blank_text(tokenizer):
    doc = Doc(Vocab(), words=["\n", " "], spaces=[False, False])
    table = numpy.asarray([[0, 1, 0], [1, 2, 0]])
    windows = marked_windows(
        WindowCutter(tokenizer, 64), 14, [doc], pair_candidates([table], SCHEMA)
    )
    assert windows.ids.tolist() == [[2, 14, 14, 14, 14, 3]]
    assert windows.markers.tolist() == [1, 3]


def test_no_documents(tokenizer):
    windows = marked_windows(WindowCutter(tokenizer, 64), 14, [], pair_candidates([], SCHEMA))
    assert len(windows.ids) == len(windows.docs) == len(windows.doc_lengths) == 0
