import pickle
import shutil
import warnings
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus

from spacy_bioie.annotation import section_token_ranges
from spacy_bioie.models.window_cutter import WindowCutter, window_borders
from spacy_bioie.models.windows import TransformerModel_v1, count_positions, load_encoder
from tests.models.tagging_pipeline import encoder_output, gradient_norm, make_pipeline
from tests.tiny_encoder import forget_max_length, make_tiny_bert

LONG = "Gut and brain axis.\n" + "serotonin of mice <i>E. coli</i> increased (butyrate), " * 120


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


@pytest.fixture(scope="module")
def cutter(tiny_bert):
    return make_cutter(tiny_bert)


def make_cutter(folder, window=64):
    import transformers

    return WindowCutter(transformers.AutoTokenizer.from_pretrained(folder), window)


# Cutting


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


def test_a_hundred_thousand_characters(tiny_bert):
    nlp, _ = make_pipeline(tiny_bert)
    text = ("serotonin and the gut brain axis of mice " * 3000)[:100_000]
    doc = nlp(text)
    data = doc._.trf_data
    assert sum(data.wordpieces.lengths) > 20_000
    assert (data.align.lengths > 0).all()
    assert all(token.tag_ for token in doc)


# Byte-level tokenizers: RoBERTa counts positions from behind the padding index


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory):
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    folder = tmp_path_factory.mktemp("roberta")
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator([LONG] * 5, vocab_size=400, special_tokens=special)
    bpe.save_model(str(folder))
    tokenizer = RobertaTokenizerFast.from_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    forget_max_length(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        pad_token_id=tokenizer.pad_token_id,
    )
    RobertaModel(config).save_pretrained(str(folder))
    return str(folder)


def test_positions_of_roberta(tiny_roberta, nlp):
    model = TransformerModel_v1(tiny_roberta)
    model.initialize()
    assert count_positions(model.transformer) == 64
    assert model.tokenizer.model_max_length == 64
    texts = [LONG, "Emoji 😀🧬 of <s>mice</s>.", " "]
    docs = [nlp.make_doc(text) for text in texts]
    batch = model.predict(docs)
    assert max(batch.wordpieces.lengths) <= 64
    for doc, data in zip(docs, batch.doc_data, strict=True):
        blank = numpy.array([token.is_space for token in doc])
        assert (data.align.lengths[~blank] > 0).all()


# The encoder


def test_a_tokenizer_without_maximum_length(tmp_path):
    folder = make_tiny_bert(tmp_path / "bert", max_positions=48)
    forget_max_length(folder)
    model = TransformerModel_v1(folder, window=512)
    model.initialize()
    assert model.tokenizer.model_max_length == 48
    assert model.cutter.window == 48


def test_settings_reach_the_encoder(tiny_bert):
    settings = {"attention_probs_dropout_prob": 0.25, "attn_implementation": "eager"}
    model = TransformerModel_v1(tiny_bert, transformer_config=settings)
    model.initialize()
    attention = model.transformer.encoder.layer[0].attention.self
    assert attention.dropout.p == 0.25
    assert model.transformer.config._attn_implementation == "eager"
    assert settings == {"attention_probs_dropout_prob": 0.25, "attn_implementation": "eager"}


def test_errors_say_what_was_expected(tiny_bert, tmp_path):
    with pytest.raises(ValueError, match="no setting attention_dropuot"):
        load_encoder(tiny_bert, {}, {"attention_dropuot": 0.1})
    with pytest.raises(ValueError, match="'nowhere/at/all' cannot be loaded: expected a folder"):
        TransformerModel_v1("nowhere/at/all").initialize()
    with pytest.raises(ValueError, match="fast tokenizer"):
        TransformerModel_v1(tiny_bert, tokenizer_config={"use_fast": False}).initialize()
    with pytest.raises(ValueError, match="no room for text"):
        TransformerModel_v1(tiny_bert, window=2).initialize()
    with pytest.raises(ValueError, match="at least"):
        TransformerModel_v1(tiny_bert, max_batch_pieces=0)
    with pytest.raises(ValueError, match="not been loaded"):
        TransformerModel_v1(tiny_bert).predict([spacy.blank("en")("text")])


def test_windows_are_the_same_on_all_paths(tiny_bert, tmp_path):
    nlp, _ = make_pipeline(tiny_bert)
    seen = []

    def collect(docs, batch):
        for doc, spans, data in zip(docs, batch.spans, batch.doc_data, strict=True):
            windows = [(span.start, span.end) for span in spans]
            seen.append((section_token_ranges(doc), windows, data.wordpieces.input_ids.tolist()))

    nlp.get_pipe("transformer").set_extra_annotations = collect
    DocBin(docs=[nlp.make_doc(LONG)], store_user_data=True).to_disk(tmp_path / "corpus.spacy")
    (example,) = list(Corpus(tmp_path / "corpus.spacy")(nlp))
    nlp.evaluate([example])
    nlp(LONG)
    list(nlp.pipe([LONG]))
    nlp.update([example], annotates=["transformer"])
    assert len(seen) == 4
    sections, windows, _ = seen[0]
    assert len(sections) == 2 and len(windows) > 10
    assert all(other == seen[0] for other in seen)


def test_batches_with_and_without_empty_documents(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert)
    docs = list(nlp.pipe(["", "Gut.", "", "<i>mice</i>\n", " "]))
    counts = [len(doc._.trf_data.wordpieces.lengths) for doc in docs]
    assert counts == [0, 1, 0, 1, 1]
    alone = encoder_output(nlp, "Gut.")
    assert numpy.allclose(docs[1]._.trf_data.model_output.last_hidden_state[0, :4], alone[0, :4])
    model = nlp.get_pipe("transformer").model
    batch, backprop = model.begin_update([nlp.make_doc("")])
    assert [data.width for data in batch.doc_data if data.model_output] == []
    assert backprop(batch)


# Saving


@pytest.mark.parametrize("relative", [True, False])
def test_reload_where_the_encoder_is_gone(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    make_tiny_bert("encoder", max_positions=64)
    nlp, examples = make_pipeline("encoder" if relative else str(tmp_path / "encoder"))
    nlp.update(examples)
    nlp.update(examples)
    expected = encoder_output(nlp, LONG)
    nlp.to_disk("pipeline")
    as_bytes = nlp.to_bytes()
    pickled = pickle.dumps(nlp)
    shutil.rmtree("encoder")
    loaded = spacy.load("pipeline")
    from_bytes = spacy.lang.en.English.from_config(nlp.config).from_bytes(as_bytes)
    for other in (loaded, from_bytes, pickle.loads(pickled)):
        assert (encoder_output(other, LONG) == expected).all()
        assert other.get_pipe("transformer").model.cutter.room == 62
        losses = other.update(examples)
        assert losses["tagger"] > 0
    loaded.to_disk("again")
    assert encoder_output(spacy.load("again"), LONG).shape == expected.shape


def test_a_folder_without_vocabulary_file(tmp_path):
    folder = make_tiny_bert(tmp_path / "bert")
    (Path(folder) / "vocab.txt").unlink()
    nlp, _ = make_pipeline(folder)
    expected = encoder_output(nlp, LONG)
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(folder)
    assert (encoder_output(spacy.load(tmp_path / "pipeline"), LONG) == expected).all()


def test_changed_window_in_the_config_of_a_saved_pipeline(tiny_bert, tmp_path):
    nlp, _ = make_pipeline(tiny_bert)
    nlp.to_disk(tmp_path / "pipeline")
    config = {"components.transformer.model.window": 32}
    loaded = spacy.load(tmp_path / "pipeline", config=config)
    assert loaded.get_pipe("transformer").model.cutter.window == 32
    assert encoder_output(loaded, LONG).shape[1] == 32


# Gradients that get lost between listeners


def test_gradient_reaches_the_encoder_from_every_component(tiny_bert):
    for heads in (("tagger",), ("tagger", "morphologizer")):
        nlp, examples = make_pipeline(tiny_bert, heads)
        nlp.update(examples)  # the weights of a new tagger are zero, and so is its gradient
        assert gradient_norm(nlp) == 0
        nlp.update(examples, sgd=False)
        assert gradient_norm(nlp) > 0
    nlp, examples = make_pipeline(tiny_bert)
    nlp.update(examples)
    nlp.update(examples, sgd=False, exclude=["tagger"])
    assert gradient_norm(nlp) > 0


def test_a_frozen_last_component_is_an_error(tiny_bert):
    nlp, examples = make_pipeline(tiny_bert)
    nlp.update(examples)
    nlp.update(examples, sgd=False, exclude=["morphologizer"])
    with pytest.warns(UserWarning, match="no gradient came back to the encoder"):
        nlp.update(examples, sgd=False, exclude=["morphologizer"])
    with pytest.raises(ValueError, match="last listening component"):
        nlp.update(examples, sgd=False, exclude=["morphologizer"])
    assert gradient_norm(nlp) == 0


def test_other_ways_to_train_are_no_error(tiny_bert, recwarn):
    nlp, examples = make_pipeline(tiny_bert)
    other, other_examples = make_pipeline(tiny_bert)
    optimizer = nlp.create_optimizer()
    for _ in range(3):
        nlp.update(examples, sgd=False)
        nlp.update(examples[:1], sgd=False)
        nlp.evaluate(examples)
        nlp("Gut and brain.")
        other.update(other_examples, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    for _ in range(3):
        nlp.update(examples)
    for _ in range(3):
        nlp.update(examples, exclude=["transformer"], annotates=["transformer"])
    # Nobody listens: no gradient can be lost.
    nlp.remove_pipe("tagger")
    nlp.remove_pipe("morphologizer")
    transformer = nlp.get_pipe("transformer")
    transformer.listener_map.clear()
    for _ in range(3):
        nlp.update(examples)
    assert not [w for w in recwarn if "gradient" in str(w.message)]


def test_an_interrupted_update_is_no_error(tiny_bert, monkeypatch):
    nlp, examples = make_pipeline(tiny_bert)
    tagger = nlp.get_pipe("morphologizer")
    for _ in range(2):
        nlp.update(examples)
        with monkeypatch.context() as broken:

            def stop(*args, **kwargs):
                raise KeyboardInterrupt

            broken.setattr(tagger, "update", stop)
            with pytest.raises(KeyboardInterrupt):
                nlp.update(examples)
        with pytest.warns(UserWarning, match="interrupted"):
            nlp.update(examples)
