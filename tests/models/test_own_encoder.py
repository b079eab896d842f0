"""A transformer of an architecture's own: loading, added tokens, bytes."""

import shutil

import pytest
import torch

from spacy_bioie.models.own_encoder import OwnEncoder

from ..tiny_encoder import make_tiny_bert

TEXT = "[E1] gut * bacteria [/E1]"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"))


def encode(encoder, **options):
    pieces = encoder.tokenizer(TEXT, return_tensors="pt")
    encoder.eval()
    with torch.no_grad():
        return encoder(pieces["input_ids"], pieces["attention_mask"], **options)


def test_bytes_need_no_source(tmp_path):
    folder = make_tiny_bert(tmp_path / "encoder")
    encoder = OwnEncoder(attention="eager")
    assert not encoder.is_loaded
    encoder.load(folder, added_tokens=["[E1]", "[/E1]"])
    assert (encoder.width, encoder.max_pieces) == (32, 128)
    before = encode(encoder, output_attentions=True)
    shutil.rmtree(folder)
    again = OwnEncoder(attention="eager").from_bytes(encoder.to_bytes())
    after = encode(again, output_attentions=True)
    assert torch.equal(after.last_hidden_state, before.last_hidden_state)
    assert torch.equal(after.attentions[-1], before.attentions[-1])
    assert again.tokenizer.model_max_length == 128
    assert again.tokenizer.tokenize(TEXT) == ["[E1]", "gut", "*", "bacteria", "[/E1]"]


def test_bytes_of_nothing(source):
    encoder = OwnEncoder()
    encoder.load(source)
    encoder.from_bytes(OwnEncoder().to_bytes())
    assert not encoder.is_loaded and not list(encoder.parameters())


def test_added_tokens(source):
    plain, encoder = OwnEncoder(), OwnEncoder()
    plain.load(source)
    torch.manual_seed(1)
    encoder.load(source, added_tokens=["[E1]", "*", "[E1]", "[/E1]"])
    rows = encoder.transformer.get_input_embeddings().weight
    known = plain.transformer.get_input_embeddings().weight
    assert torch.equal(rows[: len(known)], known)  # "*" is known and stays as it is
    assert len(rows) == len(known) + 2 == len(encoder.tokenizer)
    assert not torch.equal(rows[-1], rows[-2])
    assert 0.5 < (rows[-2:].std() / known.std()).item() < 2
    encoder.add_tokens(["[/E1]"])
    assert encoder.transformer.get_input_embeddings().weight is rows


def test_spare_rows_are_used(source):
    """Published models have more rows than their tokenizer has pieces."""
    encoder = OwnEncoder()
    encoder.load(source)
    n = len(encoder.tokenizer)
    encoder.transformer.resize_token_embeddings(n + 8)
    encoder.add_tokens(["[E1]"])
    assert len(encoder.transformer.get_input_embeddings().weight) == n + 8


def test_attention_and_settings(source):
    encoder = OwnEncoder(attention="eager")
    encoder.load(source, transformer_config={"hidden_dropout_prob": 0.25})
    config = encoder.transformer.config
    assert (config._attn_implementation, config.hidden_dropout_prob) == ("eager", 0.25)
    again = OwnEncoder(attention="eager").from_bytes(encoder.to_bytes()).transformer.config
    assert (again._attn_implementation, again.hidden_dropout_prob) == ("eager", 0.25)


def test_mixed_precision(source, monkeypatch):
    from spacy_bioie.models import half_precision

    outputs = {}
    for has_bfloat16 in (False, True):
        monkeypatch.setattr(half_precision, "cpu_has_bfloat16", lambda has=has_bfloat16: has)
        encoder = OwnEncoder(mixed_precision=True)
        encoder.load(source)
        outputs[has_bfloat16] = encode(encoder).last_hidden_state.float()
    difference = (outputs[True] - outputs[False]).abs().max().item()
    assert 0 < difference < 0.2


def test_errors(source, tmp_path):
    with pytest.raises(ValueError, match="nothing' cannot be loaded: expected a folder"):
        OwnEncoder().load(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="BertConfig has no setting hidden_dropout"):
        OwnEncoder().load(source, transformer_config={"hidden_dropout": 0.1})
    with pytest.raises(ValueError, match="no Python package 'no_such_package'"):
        OwnEncoder().load("package:no_such_package/model")
