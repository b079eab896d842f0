from pathlib import Path

import pytest
import srsly

from spacy_bioie.encoder_source import resolve_encoder


@pytest.mark.parametrize("name", ["org/some-bert", "./folder", "bert-base-uncased"])
def test_other_names_stay(name):
    assert resolve_encoder(name) == name


def test_folder_inside_a_package(tmp_path, monkeypatch):
    folder = tmp_path / "some_encoder_package" / "model"
    folder.mkdir(parents=True)
    (tmp_path / "some_encoder_package" / "__init__.py").write_text("")
    (folder / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve_encoder("package:some_encoder_package/model") == str(folder)
    with pytest.raises(ValueError, match="holds no config.json"):
        resolve_encoder("package:some_encoder_package/other")


def test_absent_package():
    with pytest.raises(ValueError, match="no Python package 'absent_package' is installed"):
        resolve_encoder("package:absent_package/model")


def test_encoder_that_the_project_names_by_default():
    """The extra "minilm" installs it, and it holds what the pipelines load."""
    from spacy_bioie.models.windows import load_encoder

    project = srsly.read_yaml(Path(__file__).resolve().parents[1] / "project.yml")
    objects = load_encoder(project["vars"]["encoder"], {"use_fast": True}, {})
    assert objects.transformer.config.hidden_size == 384
    pieces = objects.tokenizer("Butyrate lowered anxiety.", return_tensors="pt")
    hidden = objects.transformer(**pieces).last_hidden_state
    assert hidden.shape == (1, pieces["input_ids"].shape[1], 384)
    assert hidden.isfinite().all()
