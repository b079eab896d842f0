"""Training of encoders on masked text, and its command."""

import gzip
import json

import numpy
import pytest
import spacy
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

from spacy_bioie.cli import app
from spacy_bioie.formats.errors import FormatError
from spacy_bioie.models.windows import TransformerModel_v1
from spacy_bioie.training.encoder_steps import StepSettings
from spacy_bioie.training.masked_encoder import EncoderWithHead, load_masked_encoder, mask_piece
from spacy_bioie.training.masked_language import adapt_encoder, split_documents
from spacy_bioie.training.packing import mask, pack, read_pieces
from spacy_bioie.training.raw_texts import read_raw_texts, text_files
from tests.tiny_encoders import CLASSES, SENTENCES

TEXTS = [" ".join(SENTENCES[i : i + 2]) for i in range(len(SENTENCES))]
QUICK = StepSettings(learn_rate=3e-3, checkpoint_every=0)


@pytest.fixture(scope="module", params=list(CLASSES))
def encoder(request, tmp_path_factory):
    return CLASSES[request.param](tmp_path_factory.mktemp("masked") / request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return CLASSES["bert"](tmp_path_factory.mktemp("masked") / "tiny_bert")


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "texts.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf8") as file:
        file.writelines(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(TEXTS))
    return path


# Reading and packing


def test_texts_of_every_form(corpus, tmp_path):
    assert list(read_raw_texts(corpus)) == TEXTS
    plain = tmp_path / "plain.txt"
    plain.write_text("one\ntwo\n\n\n \nthree\n", encoding="utf8")
    assert list(read_raw_texts(plain)) == ["one\ntwo", "three"]
    (tmp_path / "other.csv").write_text("x")
    assert text_files([tmp_path]) == [plain, corpus]
    for content, message in (
        ('{"text": "a"}\n{"text": 1}\n', "line 2: text: expected a string"),
        ('{"text": "a"}\n\n{"txt": ""}\n', "line 3: expected the fields 'title' and"),
        ("[]\n", "line 1: expected an object"),
        ("{\n", "line 1: not valid JSON"),
    ):
        bad = tmp_path / "bad.jsonl"
        bad.write_text(content)
        with pytest.raises(FormatError, match=message):
            list(read_raw_texts(bad))
    with pytest.raises(FileNotFoundError, match="absent"):
        text_files([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no .txt or .jsonl"):
        text_files([tmp_path / "empty"])


def test_rows_hold_every_piece_once(encoder):
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    documents = list(read_pieces(tokenizer, [*TEXTS, " ", "x " * 400]))
    assert len(documents) == len(TEXTS) + 1
    rows = pack(documents, tokenizer, 50)
    assert rows.ids[rows.text].tolist() == numpy.concatenate(documents).tolist()
    assert rows.attention[:-1].all() and not (rows.text & ~rows.attention).any()
    assert not numpy.isin(rows.ids[rows.text], [tokenizer.pad_token_id]).any()
    for ids, attention in zip(rows.ids, rows.attention, strict=True):
        whole = tokenizer.build_inputs_with_special_tokens([9])
        begin, end = whole[: whole.index(9)], whole[whole.index(9) + 1 :]
        length = attention.sum()
        assert ids[: len(begin)].tolist() == begin
        assert ids[length - len(end) : length].tolist() == end
    between = (~rows.text & rows.attention).sum() - len(rows.ids) * (len(begin) + len(end))
    assert between == len(documents) - 1
    last = rows.take([len(rows.ids) - 1])
    assert last.attention.all() and last.ids.shape[1] == rows.attention[-1].sum()
    with pytest.raises(ValueError, match="no room for text"):
        pack(documents, tokenizer, 1)


def test_masking(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    rows = pack(list(read_pieces(tokenizer, TEXTS * 20)), tokenizer, 64)
    words = numpy.arange(5, len(tokenizer))
    masked = mask(rows, numpy.random.default_rng(0), 0.15, mask_piece(tokenizer), words)
    again = mask(rows, numpy.random.default_rng(0), 0.15, mask_piece(tokenizer), words)
    assert (masked.inputs == again.inputs).all() and (masked.chosen == again.chosen).all()
    assert not (masked.chosen & ~rows.text).any()
    assert masked.chosen.sum() / rows.text.sum() == pytest.approx(0.15, abs=0.01)
    assert (masked.inputs == rows.ids)[~masked.chosen].all()
    hidden = masked.inputs[masked.chosen]
    assert (hidden == tokenizer.mask_token_id).mean() == pytest.approx(0.8, abs=0.02)
    assert (hidden == rows.ids[masked.chosen]).mean() == pytest.approx(0.1, abs=0.02)
    one = mask(rows.take([0]), numpy.random.default_rng(0), 1e-9, 4, words)
    assert one.chosen.sum() == 1


def test_held_out_documents():
    documents = [numpy.array([i]) for i in range(10)]
    split = split_documents(documents, 0.3, 0)
    assert len(split.held_out) == 3 and len(split.training) == 7
    assert sorted(int(d[0]) for d in split.training + split.held_out) == list(range(10))
    assert split_documents(documents, 0.0, 0).held_out == []
    with pytest.raises(ValueError, match="There are 1 documents"):
        split_documents(documents[:1], 0.1, 0)


# Heads


def test_scores_are_those_of_the_whole_window(encoder):
    torch.manual_seed(0)
    model, tokenizer = load_masked_encoder(encoder)
    model.eval()
    assert model.fresh_head
    pieces = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    ids, attention = pieces["input_ids"], pieces["attention_mask"]
    masked = torch.zeros_like(ids).bool()
    masked[0, 2:5] = masked[1, 3] = True
    with torch.no_grad():
        scores = model(ids, attention, masked)
        every = model(ids, attention, torch.ones_like(masked))
    assert scores.shape == (4, model.encoder.get_input_embeddings().num_embeddings)
    torch.testing.assert_close(scores, every.reshape(*ids.shape, -1)[masked])
    # what tells pieces apart is their embedding
    words = model.encoder.get_input_embeddings().weight
    if not isinstance(model.model, EncoderWithHead):
        assert model.model.get_output_embeddings().weight is words


# Training


def test_perplexity_falls_and_the_encoder_loads(encoder, corpus, tmp_path, nlp):
    out = tmp_path / "adapted"
    report = adapt_encoder(
        corpus, out, encoder, window=64, batch_size=4, epochs=10, held_out=0.1, settings=QUICK
    )
    assert report["documents"] == len(TEXTS) and report["held_out_documents"] == 2
    assert report["perplexity_after"] < 0.8 * report["perplexity_before"]
    assert report["losses"][-1] < report["losses"][0]
    model = TransformerModel_v1(str(out))
    model.initialize()
    before = TransformerModel_v1(encoder)
    before.initialize()
    old, new = before.transformer.state_dict(), model.transformer.state_dict()
    assert old.keys() == new.keys()
    assert any((old[name] != new[name]).any() for name in old if "attention" in name.lower())
    assert model.predict([nlp.make_doc(TEXTS[0])]).model_output.last_hidden_state.shape[-1] == 32


def test_the_head_is_kept_where_the_class_has_one(bert, corpus, tmp_path):
    settings = {"window": 64, "batch_size": 4, "held_out": 0.1, "settings": QUICK}
    first = adapt_encoder(corpus, tmp_path / "first", bert, epochs=8, **settings)
    assert first["fresh_head"]
    again = adapt_encoder(corpus, tmp_path / "again", str(tmp_path / "first"), **settings)
    assert not again["fresh_head"]
    assert again["perplexity_before"] == pytest.approx(first["perplexity_after"], rel=0.01)
    whole = AutoModelForMaskedLM.from_pretrained(tmp_path / "again")
    alone = AutoModel.from_pretrained(tmp_path / "again", add_pooling_layer=False)
    for name, value in alone.state_dict().items():
        assert (value == whole.bert.state_dict()[name]).all()


@pytest.mark.parametrize("kind", ["electra", "t5"])
def test_low_rank_additions_are_merged(kind, corpus, tmp_path):
    pytest.importorskip("peft")
    encoder = CLASSES[kind](tmp_path / kind)
    report = adapt_encoder(
        *(corpus, tmp_path / "out", encoder),
        **{"window": 64, "batch_size": 4, "epochs": 6, "held_out": 0.1, "lora_rank": 4},
        settings=QUICK,
    )
    assert report["perplexity_after"] < report["perplexity_before"]
    old, new = TransformerModel_v1(encoder), TransformerModel_v1(str(tmp_path / "out"))
    old.initialize()
    new.initialize()
    before, after = old.transformer.state_dict(), new.transformer.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed and all("attention" in n.lower() and "weight" in n for n in changed)


def test_without_peft_the_extra_is_named(bert, corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ImportError, match=r"spacy-bioie\[adapt\]"):
        adapt_encoder(corpus, tmp_path / "out", bert, lora_rank=4)


def test_a_stopped_training_goes_on(bert, corpus, tmp_path, monkeypatch):
    from spacy_bioie.training import masked_language

    settings = {"window": 64, "batch_size": 4, "epochs": 3, "held_out": 0.1}
    whole = adapt_encoder(corpus, tmp_path / "whole", bert, **settings, settings=QUICK)
    steps = StepSettings(learn_rate=3e-3, checkpoint_every=2)
    loss, calls = masked_language._loss, []

    def stopping(*args):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(masked_language, "_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        adapt_encoder(corpus, tmp_path / "parts", bert, **settings, settings=steps)
    monkeypatch.undo()
    assert (tmp_path / "parts.checkpoint").is_file() and not (tmp_path / "parts").exists()
    resumed = StepSettings(learn_rate=3e-3, checkpoint_every=2, resume=True)
    again = adapt_encoder(corpus, tmp_path / "parts", bert, **settings, settings=resumed)
    assert again["losses"] == whole["losses"]
    assert again["perplexity_after"] == whole["perplexity_after"]
    assert not (tmp_path / "parts.checkpoint").exists()


def test_encoders_that_are_not_trained_so(bert, corpus, tmp_path):
    from transformers import GPT2Config

    GPT2Config(n_layer=1, n_head=2, n_embd=8).save_pretrained(tmp_path / "gpt")
    AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "gpt")
    with pytest.raises(ValueError, match="of the class GPT2Config: expected one that is trained"):
        adapt_encoder(corpus, tmp_path / "out", str(tmp_path / "gpt"))
    with pytest.raises(ValueError, match="'nowhere/at/all' cannot be loaded"):
        adapt_encoder(corpus, tmp_path / "out", "nowhere/at/all")
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="neither a mask token nor the sentinel"):
        mask_piece(tokenizer)


def test_wrong_settings(bert, corpus, tmp_path):
    for settings, message in (
        ({"window": 0}, "window is 0"),
        ({"lora_rank": -1}, "lora_rank -1"),
        ({"epochs": 0}, "epochs is 0 and max_steps 0"),
        ({"mask_part": 0.0}, "mask_part is 0.0"),
        ({"held_out": 1.0}, "held_out 1.0"),
        ({"window": 2}, "no room for text"),
    ):
        with pytest.raises(ValueError, match=message):
            adapt_encoder(corpus, tmp_path / "out", bert, **settings)
    assert not (tmp_path / "out").exists()


# The command


def run(*args):
    return CliRunner().invoke(app, ["adapt-encoder", *map(str, args)])


def test_command(bert, corpus, tmp_path):
    result = run(
        *(corpus, tmp_path / "out", "--encoder", bert, "--window", "64", "--batch-size", "4"),
        *("--max-steps", "3", "--held-out", "0.1", "--json", tmp_path / "report.json"),
    )
    assert result.exit_code == 0, result.output
    assert "Adapting the encoder" in result.stderr and "Reading texts" in result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["steps"] == 3 and report["perplexity_after"] > 1
    encoder = {"@architectures": "spacy_bioie.TransformerModel.v1", "name": str(tmp_path / "out")}
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": encoder})
    nlp.initialize()
    assert nlp("gut and brain")._.trf_data.width == 32


def test_command_names_what_is_wrong(bert, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a"}\n{"text": 1}\n')
    result = run(bad, tmp_path / "out", "--encoder", bert, "-q")
    assert result.exit_code == 1 and "bad.jsonl: line 2: text: expected a string" in result.output
    result = run(tmp_path / "absent", tmp_path / "out", "--encoder", bert, "-q")
    assert result.exit_code == 1 and "absent" in result.output
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    result = run(bad, tmp_path / "out", "--encoder", bert, "-q")
    assert result.exit_code == 1 and "no encoder that could be replaced" in result.output
    assert run(bad, tmp_path / "out").exit_code == 2
