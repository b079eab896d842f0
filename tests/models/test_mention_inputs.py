"""The inputs of contextual mention encoders, against what a tokenizer makes of whole texts."""

import numpy
import pytest
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_bioie.models.mention_inputs import MentionReader
from tests.tiny_encoder import make_tiny_bert

VOCAB = Vocab()
TEXT = "gut bacteria of 12 mice lowered depression , serotonin-dependent ."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=512)
    return AutoTokenizer.from_pretrained(folder)


def make_doc(text):
    return Doc(VOCAB, words=text.split())


def table(*rows):
    return numpy.asarray([(*row, 0) for row in rows], dtype="int64").reshape((-1, 3))


def read(tokenizer, docs, tables, *, length=512, characters=250, pooling="cls"):
    """What is written out, as text, and the pieces that are pooled."""
    reader = MentionReader(tokenizer, length, 512, characters, pooling)
    rows = reader.read(docs, tables)
    written = rows.write_out(numpy.arange(len(rows.lengths)))
    texts = [
        tokenizer.decode(ids[:n]) for ids, n in zip(written.ids, rows.lengths.tolist(), strict=True)
    ]
    return texts, written


def expected(tokenizer, before, mention, after):
    return tokenizer.decode(tokenizer(f"{before} [SEP] {mention} [SEP] {after}")["input_ids"])


def test_mention_stands_between_the_text_around_it(tokenizer):
    docs = [make_doc(TEXT), make_doc(""), make_doc("serotonin")]
    tables = [table((0, 2), (1, 2), (4, 7), (0, 10)), table(), table((0, 1))]
    texts, written = read(tokenizer, docs, tables)
    words = TEXT.split()
    found = [(0, 2), (1, 2), (4, 7), (0, 10)]
    assert texts[:4] == [
        expected(tokenizer, " ".join(words[:s]), " ".join(words[s:e]), " ".join(words[e:]))
        for s, e in found
    ]
    assert texts[4] == expected(tokenizer, "", "serotonin", "")
    assert written.mask.sum(axis=1).tolist() == [len(tokenizer.encode(t)) - 2 for t in texts]


def test_context_is_counted_in_characters_of_whole_tokens(tokenizer):
    for characters, before, after in (
        (0, "", ""),
        (4, "12", ""),  # "mice" with its blank is one more
        (5, "12", ""),
        (8, "of 12", "lowered"),
        (250, "gut bacteria of 12", "lowered depression , serotonin-dependent ."),
    ):
        texts, _ = read(tokenizer, [make_doc(TEXT)], [table((4, 5))], characters=characters)
        assert texts == [expected(tokenizer, before, "mice", after)], characters


def test_what_is_pooled(tokenizer):
    doc = make_doc(TEXT)
    for pooling in ("cls", "mention", "mean"):
        _, written = read(tokenizer, [doc], [table((1, 3), (9, 10))], pooling=pooling)
        pooled = [
            tokenizer.decode(ids[begin:end])
            for ids, (begin, end) in zip(written.ids, written.read.tolist(), strict=True)
        ]
        whole = [tokenizer.decode(ids[: m.sum()]) for ids, m in zip(*written[:2], strict=True)]
        wanted = {"cls": ["[CLS]"] * 2, "mention": ["bacteria of", "."], "mean": whole}
        assert pooled == wanted[pooling]


def test_long_texts_lose_what_is_far_and_long_mentions_their_end(tokenizer):
    words = [f"gut{i}" for i in range(200)]
    doc = make_doc(" ".join(words))
    texts, written = read(
        tokenizer, [doc], [table((100, 101), (0, 1), (199, 200), (0, 200))], length=32
    )
    assert written.mask.sum(axis=1).tolist() == [32] * 4
    middle, first, last, all_words = (text.split("[SEP]") for text in texts)
    assert middle[1].strip() == "gut100" and "gut99" in middle[0] and "gut101" in middle[2]
    assert first[0].strip() == "[CLS]" and "gut1 " in first[2]
    assert "gut198" in last[0] and last[2].strip() == ""
    assert all_words[1].strip().startswith("gut0 gut1") and all_words[2].strip() == ""


def test_mention_without_pieces(tokenizer):
    doc = Doc(VOCAB, words=["gut", "\u200b", "mice"])
    texts, written = read(tokenizer, [doc], [table((1, 2))], pooling="mention")
    assert texts == [expected(tokenizer, "gut", "", "mice")]
    begin, end = written.read[0]
    assert begin == end


def test_errors(tokenizer):
    with pytest.raises(ValueError, match="room for 12 pieces of text, expected room for 16"):
        MentionReader(tokenizer, 16, 512, 250, "cls")
    separator, tokenizer.sep_token = tokenizer.sep_token, None
    try:
        with pytest.raises(ValueError, match="the tokenizer has no separator"):
            MentionReader(tokenizer, 64, 512, 250, "cls")
    finally:
        tokenizer.sep_token = separator
