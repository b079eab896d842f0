import pickle
import shutil
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Corpus

from spacy_bioie.annotation import section_token_ranges
from spacy_bioie.models.windows import TransformerModel_v1, count_positions, load_encoder
from tests.models.tagging_pipeline import encoder_output, make_pipeline
from tests.tiny_encoder import forget_max_length, make_tiny_bert

LONG = "Gut and brain axis.\n" + "serotonin of mice <i>E. coli</i> increased (butyrate), " * 120


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), max_positions=64)


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
