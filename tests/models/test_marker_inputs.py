"""The inputs of marker classifiers, against what a tokenizer makes of marked texts."""

import numpy
import pytest
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_bioie.models.candidates import pair_candidates
from spacy_bioie.models.input_rows import InputRows, Padding, PiecePool, Range
from spacy_bioie.models.marker_inputs import (
    MARKERS,
    MIN_ROOM,
    CrossEncoderReader,
    MarkerReader,
    read_special_pieces,
)
from spacy_bioie.models.relation_schema import RelationSchema
from tests.tiny_encoder import make_tiny_bert

SCHEMA = RelationSchema([["A", "located in", "B"], ["A", "affect", "B"], ["B", "target", "A"]])
VOCAB = Vocab()


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=512)


@pytest.fixture(scope="module")
def tokenizer(bert):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.add_tokens(list(MARKERS), special_tokens=True)
    return tokenizer


def make_doc(text, sentences=None):
    """A document whose words are divided by blanks; sentences end with a full stop."""
    doc = Doc(VOCAB, words=text.split())
    for token in doc if sentences else ():
        token.is_sent_start = token.i == 0 or doc[token.i - 1].text == "."
    return doc


def make_candidates(*tables):
    return pair_candidates([numpy.asarray(t).reshape((-1, 3)) for t in tables], SCHEMA)


def read(reader, docs, candidates):
    rows = reader.read(docs, candidates, candidates.pair_legal())
    return rows, rows.write_out(numpy.arange(len(rows.lengths)))


def marked(doc, head, tail):
    """The words of a document with markers, put in by a loop over the words."""
    words = []
    for i in range(len(doc) + 1):
        ends = [(j, m) for j, m in ((head, 0), (tail, 1)) if j[1] == i]
        begins = [(j, m) for j, m in ((head, 0), (tail, 1)) if j[0] == i]
        # the one that begins later ends first; of equal ones the tail is inside
        words += [MARKERS[2 * m + 1] for _, m in sorted(ends, key=lambda e: (-e[0][0], -e[1]))]
        words += [MARKERS[2 * m] for _, m in sorted(begins, key=lambda b: (-b[0][1], b[1]))]
        words += [doc[i].text] if i < len(doc) else []
    return " ".join(words)


TEXT = "gut bacteria of 12 mice lowered depression , serotonin-dependent ."
TABLE = [[0, 2, 0], [1, 2, 1], [0, 2, 1], [1, 5, 0], [4, 5, 1], [6, 7, 0], [9, 10, 1], [0, 1, 0]]


def test_marked_texts(tokenizer):
    doc, candidates = make_doc(TEXT), make_candidates(TABLE)
    rows, written = read(MarkerReader(tokenizer, 64, 512), [doc], candidates)
    assert len(candidates.pairs) == len(rows.lengths) == 32
    mentions = candidates.mentions[:, :2].tolist()
    for row, (head, tail) in enumerate(candidates.pairs.tolist()):
        expected = tokenizer(marked(doc, mentions[head], mentions[tail]))["input_ids"]
        n = int(rows.lengths[row])
        assert tokenizer.decode(written.ids[row, :n]) == tokenizer.decode(expected)
        assert written.ids[row, :n].tolist() == expected
        assert (written.ids[row, n:] == tokenizer.pad_token_id).all()
        assert written.mask[row].tolist() == [1] * n + [0] * (written.ids.shape[1] - n)
        starts = [expected.index(tokenizer.convert_tokens_to_ids(m)) for m in ("[E1]", "[E2]")]
        assert written.read[row].tolist() == rows.read[row].tolist() == starts
    assert (written.types == 0).all()


def test_mentions_inside_of_a_piece(tokenizer):
    """Tokens that share a piece have the same markers around it."""
    doc = Doc(VOCAB, words=["gut", "buty", "rate", "mice"], spaces=[True, False, True, False])
    candidates = make_candidates([[1, 2, 0], [2, 3, 1], [3, 4, 1]])
    _, written = read(MarkerReader(tokenizer, 64, 512), [doc], candidates)
    texts = [tokenizer.decode(ids, skip_special_tokens=False) for ids in written.ids]
    assert texts[:2] == [
        "[CLS] gut [E1] [E2] butyrate [/E2] [/E1] mice [SEP]",
        "[CLS] gut [E1] butyrate [/E1] [E2] mice [/E2] [SEP]",
    ]


def test_mentions_without_pieces(tokenizer):
    doc = Doc(VOCAB, words=["gut", "\u200b", "\t", "mice"])  # the tokenizer drops both
    candidates = make_candidates([[1, 2, 0], [2, 3, 1], [3, 4, 1]])
    _, written = read(MarkerReader(tokenizer, 64, 512), [doc], candidates)
    texts = [tokenizer.decode(ids) for ids in written.ids]
    assert texts[:2] == [
        "[CLS] gut [E1] [/E1] [E2] [/E2] mice [SEP]",
        "[CLS] gut [E2] [E1] [/E1] mice [/E2] [SEP]",
    ]


def test_special_tokens_in_a_text_are_text(tokenizer):
    doc = make_doc("[E1] gut [SEP] mice [/E2] [CLS]")
    _, written = read(
        MarkerReader(tokenizer, 64, 512), [doc], make_candidates([[1, 2, 0], [3, 4, 1]])
    )
    special = set(tokenizer.all_special_ids) | set(tokenizer.convert_tokens_to_ids(list(MARKERS)))
    assert sum(int(piece) in special for piece in written.ids[0]) == 2 + 4
    assert tokenizer.decode(written.ids[0]) == (
        "[CLS] [ e1 ] [E1] gut [/E1] [ sep ] [E2] mice [/E2] [ / e2 ] [ cls ] [SEP]"
    )


@pytest.mark.parametrize("gap", [10, 13, 14, 200])
def test_windows(tokenizer, gap):
    """Both mentions are kept, whatever lies between them."""
    doc = make_doc("rats " + "of " * 5 + "gut " + "the " * gap + "mice" + " of" * 5)
    candidates = make_candidates([[6, 7, 0], [gap + 7, gap + 8, 1]])
    # 2 special pieces, 4 markers, 16 pieces of text
    _, written = read(MarkerReader(tokenizer, 22, 512), [doc], candidates)
    text = tokenizer.decode(written.ids[0])
    if gap == 10:
        middle = "the " * 10
        expected = f"[CLS] of of [E1] gut [/E1] {middle}[E2] mice [/E2] of of [SEP]"
    elif gap == 13:
        expected = f"[CLS] of [E1] gut [/E1] {'the ' * 13}[E2] mice [/E2] [SEP]"
    elif gap == 14:
        expected = f"[CLS] [E1] gut [/E1] {'the ' * 14}[E2] mice [/E2] [SEP]"
    else:
        expected = (
            "[CLS] of of of [E1] gut [/E1] the the the [SEP] the the the the "
            "[E2] mice [/E2] of of of [SEP]"
        )
    assert text == expected
    assert len(written.ids[0]) == 22


def test_mention_at_the_cut(tokenizer):
    """A mention of more than one piece stays whole beside the cut, and at the end of the text."""
    doc = make_doc("zymoo " + "the " * 100 + "quirx")
    n = len(doc)
    pieces = [len(tokenizer(word)["input_ids"]) - 2 for word in ("zymoo", "quirx")]
    assert min(pieces) > 2
    candidates = make_candidates([[0, 1, 0], [n - 1, n, 1], [1, n - 1, 1], [0, n, 1]])
    _, written = read(MarkerReader(tokenizer, 22, 512), [doc], candidates)
    texts = [tokenizer.decode(ids, skip_special_tokens=False) for ids in written.ids]
    left = 16 - sum(pieces) - 1
    assert texts[0] == (
        f"[CLS] [E1] zymoo [/E1] {'the ' * (left // 2)}[SEP] {'the ' * (left - left // 2)}"
        "[E2] quirx [/E2] [SEP]"
    )
    # mentions that do not fit keep their begin
    room = 16 - pieces[0]
    assert texts[1] == f"[CLS] [E1] zymoo [/E1] [E2] {'the ' * room}[/E2] [SEP]"
    assert texts[2] == f"[CLS] [E2] [E1] zymoo [/E1] {'the ' * room}[/E2] [SEP]"


def test_cross_encoder_texts(tokenizer):
    doc = make_doc("rats . gut bacteria of mice . lowered anxiety . stress .", sentences=True)
    candidates = make_candidates([[2, 4, 0], [5, 6, 1], [8, 9, 1]])
    reader = CrossEncoderReader(tokenizer, 64, 512, SCHEMA.predicates)
    rows, written = read(reader, [doc], candidates)
    assert SCHEMA.predicates == ("affect", "located in", "target")
    first, both = "gut bacteria of mice .", "gut bacteria of mice . lowered anxiety ."
    expected = [
        ("gut bacteria affect mice", first),
        ("gut bacteria located in mice", first),
        ("gut bacteria affect anxiety", both),
        ("gut bacteria located in anxiety", both),
        ("mice target gut bacteria", first),
        ("anxiety target gut bacteria", both),
    ]
    for row, texts in enumerate(expected):
        encoded = tokenizer(*texts)
        n = int(rows.lengths[row])
        assert tokenizer.decode(written.ids[row, :n]) == tokenizer.decode(encoded["input_ids"])
        assert written.ids[row, :n].tolist() == encoded["input_ids"]
        assert written.types[row, :n].tolist() == encoded["token_type_ids"]
    assert (written.read == 0).all() and len(rows.lengths) == len(expected)


def test_cross_encoder_without_sentences(tokenizer):
    doc = make_doc("rats . gut of mice . stress .")
    reader = CrossEncoderReader(tokenizer, 64, 512, SCHEMA.predicates)
    _, written = read(reader, [doc], make_candidates([[2, 3, 0], [4, 5, 1]]))
    expected = tokenizer("gut affect mice", doc.text)["input_ids"]
    assert written.ids[0, : len(expected)].tolist() == expected


def test_cross_encoder_windows(tokenizer):
    doc = make_doc("gut " + "the " * 100 + "mice " + "of " * 80, sentences=True)
    reader = CrossEncoderReader(tokenizer, 30, 512, SCHEMA.predicates)
    rows, written = read(reader, [doc], make_candidates([[0, 1, 0], [101, 102, 1], [101, 170, 1]]))
    assert (rows.lengths == 30).all()
    texts = [tokenizer.decode(ids) for ids in written.ids]
    # the predicate has six pieces
    the, of = "the " * 5, "of " * 5
    assert texts[0] == f"[CLS] gut affect mice [SEP] gut {the}[SEP] the {the}mice {of}[SEP]"
    # of 21 pieces head and tail take no more than half
    long = next(text for text in texts if "affect mice of" in text)
    named, *context = long.split("[SEP]")
    assert named.split()[1:] == ["gut", "affect", "mice", *["of"] * 8]
    assert [part.split() for part in context] == [["gut"], ["mice", *["of"] * 8], []]


def test_documents_without_pairs_are_not_read(tokenizer):
    docs = [make_doc("gut mice"), make_doc(""), make_doc("gut"), make_doc("mice of gut")]
    empty = numpy.zeros((0, 3), dtype="int64")
    candidates = make_candidates([[0, 1, 0]], empty, empty, [[0, 1, 1], [2, 3, 0]])
    _, written = read(MarkerReader(tokenizer, 64, 512), docs, candidates)
    assert [tokenizer.decode(ids) for ids in written.ids] == [
        "[CLS] [E1] mice [/E1] of [E2] gut [/E2] [SEP]",
        "[CLS] [E2] mice [/E2] of [E1] gut [/E1] [SEP]",
    ]


@pytest.mark.parametrize("reader", ["markers", "cross_encoder"])
def test_no_pairs(tokenizer, reader):
    made = (
        MarkerReader(tokenizer, 64, 512)
        if reader == "markers"
        else CrossEncoderReader(tokenizer, 64, 512, SCHEMA.predicates)
    )
    candidates = make_candidates([[0, 1, 0]])
    rows = made.read([make_doc("gut mice")], candidates, candidates.pair_legal())
    assert rows.lengths.shape == (0,) and len(rows.read) == 0


def test_special_pieces_of_other_tokenizers(tokenizer, tmp_path):
    import json

    from transformers import RobertaTokenizerFast

    two = read_special_pieces(tokenizer, 2)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert two == ([[cls], [sep], [sep]], [[0], [0], [1]], [0, 1], True)
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b"]
    (tmp_path / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    roberta = RobertaTokenizerFast(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert read_special_pieces(roberta, 1) == ([[0], [2]], [[0], [0]], [0], False)
    assert read_special_pieces(roberta, 2) == (
        [[0], [2, 2], [2]],
        [[0], [0, 0], [0]],
        [0, 0],
        False,
    )


def test_length_without_room(bert, tokenizer):
    assert MarkerReader(tokenizer, 6 + MIN_ROOM, 512).text_room == MIN_ROOM
    with pytest.raises(ValueError, match="inputs of 21 word pieces have room for 15.*expected"):
        MarkerReader(tokenizer, 5 + MIN_ROOM, 512)
    # the encoder takes no more
    with pytest.raises(ValueError, match="inputs of 20 word pieces"):
        MarkerReader(tokenizer, 512, 20)
    with pytest.raises(ValueError, match="'max_length' higher"):
        CrossEncoderReader(tokenizer, 22, 512, ["produced by the microbes of"])


def test_tokenizer_without_offsets(bert):
    from transformers import AutoTokenizer

    slow = AutoTokenizer.from_pretrained(bert, use_fast=False)
    with pytest.raises(ValueError, match="a fast tokenizer"):
        MarkerReader(slow, 64, 512)


def test_rows_of_a_pool():
    pool = PiecePool()
    special = pool.add([101, 102], [2, 3])
    text = pool.add(numpy.arange(10))
    ranges = [
        Range(special.start, 1),
        Range(numpy.asarray([4, 9]), numpy.asarray([2, 0]), 7),
        Range(text.start, numpy.asarray([0, 3]), 1),
        Range(special.start + 1, 1),
    ]
    rows = InputRows(pool, ranges, numpy.asarray([[0, 3], [3, 2]]), Padding(-1, -2))
    assert rows.lengths.tolist() == [4, 5]
    assert rows.read.tolist() == [[0, 3], [4, 1]]
    written = rows.write_out(numpy.asarray([1, 0]))
    assert written.ids.tolist() == [[101, 0, 1, 2, 102], [101, 2, 3, 102, -1]]
    assert written.types.tolist() == [[2, 1, 1, 1, 3], [2, 7, 7, 3, -2]]
    assert written.mask.tolist() == [[1] * 5, [1, 1, 1, 1, 0]]
    assert rows.write_out(numpy.asarray([0])).ids.shape == (1, 4)
    untyped = InputRows(pool, ranges, rows.read[:, :1] * 0, Padding(0, None))
    assert untyped.write_out(numpy.asarray([0])).types is None
