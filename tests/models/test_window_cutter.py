import warnings

import numpy
import pytest
import transformers
from spacy.tokens import Doc

from spacy_bioie.annotation import section_token_ranges
from spacy_bioie.models.window_cutter import WindowCutter, window_borders
from tests.tiny_encoder import make_tiny_bert

LONG = "Gut and brain axis.\n" + "serotonin of mice <i>E. coli</i> increased (butyrate), " * 120


@pytest.fixture(scope="module")
def cutter(tmp_path_factory):
    folder = make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)
    return WindowCutter(transformers.AutoTokenizer.from_pretrained(folder), 64)


def test_windows_of_a_long_document(nlp, cutter):
    doc = nlp.make_doc(LONG)
    cut = cutter.cut([doc])
    lengths = cut.wordpieces.lengths
    assert sum(lengths) > 2000 and max(lengths) <= 64
    (spans,) = cut.spans
    sections = section_token_ranges(doc)
    assert len(sections) == 2
    for start, end in sections:
        inside = [span for span in spans if start <= span.start and span.end <= end]
        assert inside[0].start == start and inside[-1].end == end
        for one, other in zip(inside, inside[1:], strict=False):
            assert one.start < other.start < one.end < other.end
    assert sum(1 for span in spans if span.end <= sections[0][1]) == 1
    # Half a window later: 31 of 62 pieces, to the nearest token border.
    for row, span in enumerate(spans[2:], start=2):
        places = cut.align[span.start].dataXd.ravel()
        before = places[places >= (row - 1) * 64][0] - (row - 1) * 64
        assert abs(before - 1 - 31) <= 3


def test_every_piece_of_every_section_is_encoded(nlp, cutter):
    doc = nlp.make_doc(LONG)
    cut = cutter.cut([doc])
    (spans,) = cut.spans
    for (start, end), name in zip(section_token_ranges(doc), ("title", "abstract"), strict=True):
        text = doc[start:end].text
        expected = cutter.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        found: list = []
        token = start
        for row, span in enumerate(spans):
            if start <= span.start and span.end <= end:
                # The part of a window that the windows before it did not have.
                ids = cut.wordpieces.input_ids[row, 1 : cut.wordpieces.lengths[row] - 1]
                seen = cutter.tokenizer(
                    doc.text[doc[span.start].idx : doc[token].idx] if token > span.start else "",
                    add_special_tokens=False,
                )["input_ids"]
                found += list(ids[len(seen) :])
                token = min(span.end, len(doc) - 1)
        assert found == expected, name


def test_a_short_section_is_what_the_tokenizer_makes_of_its_text(nlp, cutter):
    doc = nlp.make_doc("Gut (brain) axis &amp; <i>E. coli</i>.\nNaïve α-synuclein 10mg/kg [SEP]")
    cut = cutter.cut([doc])
    title, abstract = doc.text.split("\n")
    for row, text in enumerate((title, abstract)):
        expected = cutter.tokenizer(text, split_special_tokens=True)
        length = cut.wordpieces.lengths[row]
        assert cut.wordpieces.input_ids[row, :length].tolist() == expected["input_ids"]
        assert cut.wordpieces.strings[row][:length] == expected.tokens()


def test_alignment_is_that_of_spacy_transformers(nlp, cutter):
    from spacy_transformers.align import get_alignment_via_offset_mapping

    texts = [LONG, "", "  ", "a😀b naïve 10mg/kg IL-6 don't", "C" * 300 + " and " + "(" * 200]
    cut = cutter.cut([nlp.make_doc(text) for text in texts])
    flat = [span for spans in cut.spans for span in spans]
    encoded = cutter.tokenizer(
        [span.text for span in flat],
        padding="longest",
        return_tensors="np",
        return_offsets_mapping=True,
    )
    assert (encoded["input_ids"] == cut.wordpieces.input_ids).all()
    assert (encoded["attention_mask"] == cut.wordpieces.attention_mask).all()
    expected = get_alignment_via_offset_mapping(flat, encoded["offset_mapping"])
    assert (expected.lengths == cut.align.lengths).all()
    assert (expected.dataXd == cut.align.dataXd).all()


def test_a_token_longer_than_a_window_is_cut_and_warned_of_once(nlp, cutter):
    giant, other = "c.o-" * 90, "n.s" * 40
    docs = [
        Doc(nlp.vocab, words=["mice", "and", giant, "cells", other, "end"]),
        Doc(nlp.vocab, words=["mice", "only"]),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cut = cutter.cut(docs)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "'mice and c.o-" in message and "'c.o-c.o-c.o-" in message
    assert "360 word pieces" in message and "1 more token" in message
    lengths = cut.align.lengths
    assert max(cut.wordpieces.lengths) <= 64
    assert lengths[2] >= cutter.room and lengths[4] >= cutter.room
    assert all(lengths[i] >= 1 for i in range(8))


@pytest.mark.parametrize("seed", range(20))
def test_borders_cover_everything(seed):
    random = numpy.random.default_rng(seed)
    gaps = random.choice([1, 1, 2, 3, 7, 29, 30, 31, 95], size=random.integers(1, 60))
    borders = numpy.concatenate(([0], numpy.cumsum(gaps)))
    room = 30
    windows = window_borders(borders, room)
    assert windows[0][0] == 0 and windows[-1][1] == borders[-1]
    assert all(0 < end - begin <= room for begin, end in windows)
    for (begin, end), (next_begin, next_end) in zip(windows, windows[1:], strict=False):
        assert begin < next_begin <= end < next_end
    if gaps.max() <= 3:
        steps = numpy.diff([begin for begin, _ in windows])
        assert abs(steps - room / 2).max() <= 3


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("", []),
        ("  \n ", [2]),
        ("\x00\x01\x02", [2]),
        ("\n", [2]),
        ("<i></i>\n<sub></sub>", [9, 13]),
        ("😀\u200b🧬", [3]),
    ],
)
def test_unusual_texts(nlp, cutter, text, pieces):
    doc = nlp.make_doc(text)
    cut = cutter.cut([doc])
    assert cut.wordpieces.lengths == pieces
    assert len(cut.align.lengths) == len(doc)
    if len(doc):
        assert cut.spans[0][0].start == 0 and cut.spans[0][-1].end == len(doc)
