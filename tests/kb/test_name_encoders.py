import shutil

import numpy
import pytest

from spacy_bioie.kb.name_encoders import (
    NoNameEncoder,
    TransformerNameEncoder,
    TransformerNameEncoder_v1,
    load_name_encoder,
    load_without_pooler,
)
from spacy_bioie.models import half_precision

NAMES = ["gut microbiota", "depression", "a much longer name of a disease", "x", "depression s"]


def test_vectors_do_not_depend_on_the_batch(encoder_dir):
    encoder = TransformerNameEncoder(encoder_dir, batch_size=2)
    vectors = encoder.encode(NAMES)
    assert vectors.shape == (5, 32) and vectors.dtype == numpy.float32
    numpy.testing.assert_allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for i, name in enumerate(NAMES):
        numpy.testing.assert_allclose(encoder.encode([name])[0], vectors[i], atol=1e-5)
    assert encoder.encode([]).shape == (0, 32)
    assert abs(vectors[0] - vectors[1]).max() > 0.01


def test_mean_pooling_against_the_model_itself(encoder_dir):
    import torch
    from transformers import AutoModel, AutoTokenizer

    pieces = AutoTokenizer.from_pretrained(encoder_dir)(NAMES[0], return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(encoder_dir).eval()(**pieces).last_hidden_state[0]
    for pooling, expected in (("mean", hidden.mean(0)), ("cls", hidden[0])):
        vector = TransformerNameEncoder(encoder_dir, pooling=pooling).encode(NAMES[:1])[0]
        numpy.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)


def test_mixed_precision(encoder_dir, tmp_path, monkeypatch):
    whole = TransformerNameEncoder(encoder_dir).encode(NAMES)
    encoder = TransformerNameEncoder_v1(encoder_dir, mixed_precision=True)
    monkeypatch.setattr(half_precision, "cpu_has_bfloat16", lambda: False)
    numpy.testing.assert_array_equal(encoder.encode(NAMES), whole)
    monkeypatch.setattr(half_precision, "cpu_has_bfloat16", lambda: True)
    half = encoder.encode(NAMES)
    assert half.dtype == numpy.float32 and 1e-5 < abs(half - whole).max() < 0.02
    encoder.save(tmp_path / "saved")
    loaded = load_name_encoder(encoder.settings(), tmp_path / "saved")
    assert loaded.mixed_precision
    numpy.testing.assert_array_equal(loaded.encode(NAMES), half)


def test_first_layers(encoder_dir):
    from transformers import AutoModel

    whole = AutoModel.from_pretrained(encoder_dir)
    _, cut = load_without_pooler(encoder_dir, layers=1)
    assert len(whole.encoder.layer) == 2 and len(cut.encoder.layer) == 1
    for name, weights in cut.state_dict().items():
        assert weights.equal(whole.state_dict()[name]), name
    with pytest.raises(ValueError, match="layers is 3: expected 1 to 2, or 0 for all of them"):
        load_without_pooler(encoder_dir, layers=3)


def test_saved_files_outlive_their_folder(encoder_dir, tmp_path):
    encoder = TransformerNameEncoder_v1(encoder_dir)
    vectors = encoder.encode(NAMES)
    encoder.save(tmp_path / "saved")
    loaded = load_name_encoder(encoder.settings(), tmp_path / "saved")
    assert loaded.dims == 32
    shutil.rmtree(tmp_path / "saved")
    loaded.save(tmp_path / "again")  # without having loaded the model
    numpy.testing.assert_allclose(loaded.encode(NAMES), vectors, atol=1e-6)
    again = load_name_encoder(loaded.settings(), tmp_path / "again")
    numpy.testing.assert_allclose(again.encode(NAMES), vectors, atol=1e-6)


def test_parameters_have_no_gradient(encoder_dir):
    encoder = TransformerNameEncoder(encoder_dir)
    encoder.encode(NAMES)
    assert not encoder._model.training
    assert not any(parameter.requires_grad for parameter in encoder._model.parameters())


def test_long_names_are_cut(encoder_dir):
    encoder = TransformerNameEncoder(encoder_dir, max_length=500)  # the model has 128 positions
    assert encoder.encode(["acid " * 1000]).shape == (1, 32)


def test_no_encoder(tmp_path):
    encoder = NoNameEncoder()
    assert encoder.encode(NAMES).shape == (5, 0)
    assert isinstance(load_name_encoder(encoder.settings(), tmp_path), NoNameEncoder)


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="pooling is 'max'"):
        TransformerNameEncoder("x", pooling="max")
    with pytest.raises(ValueError, match="batch_size 0"):
        TransformerNameEncoder("x", batch_size=0)
    with pytest.raises(ValueError, match="kind 'magic'"):
        load_name_encoder({"kind": "magic"}, tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_name_encoder({"kind": "transformer"}, tmp_path / "absent")
