import pytest
import spacy

from .spans_corpora import options, result_of, write_iob


def test_encoder_learns_mentions_of_other_corpora(spans_folder, monkeypatch):
    import mention_encoder
    import spans

    folder, calls = spans_folder
    write_iob(folder, 60)
    path = "iob/NCBI-disease-IOB/train.tsv"
    monkeypatch.setattr(mention_encoder, "CORPORA", {"ncbi_disease": ("conll", path)})
    settings = {"epochs": 0, "max-steps": 2, "window": 32, "held-out": 0.1}
    monkeypatch.setattr(mention_encoder, "SETTINGS", settings)
    arguments = [*options(folder, ["tagger_mentions"]), "--seeds", "1"]
    assert spans.main(arguments) == 0
    result = result_of(folder, "spans_gutbrainie_8steps_tagger_mentions_seed1")
    assert result["data"][path]["documents"] == 60
    before = result["config"]["encoder_before"]
    assert before["steps"] == 2 and before["settings"] == settings and before["seconds"] > 0
    model = folder / "work" / "models" / "gutbrainie_8steps" / "tagger_mentions_seed1"
    config = spacy.util.load_config(model / "config.cfg")
    (encoder,) = (folder / "work" / "mentions").glob("*/encoder")
    assert config["vars"]["encoder"] == str(encoder)
    # of other corpora it may have seen what is scored
    with pytest.raises(SystemExit):
        spans.parse([*arguments, "--corpus", "ncbi_disease"])

    # neither trained again, nor where its settings are the same
    calls.clear()
    written = (encoder / "config.json").stat().st_mtime_ns
    assert spans.main([*arguments, "--again"]) == 0
    assert calls == [("evaluate", "tagger_mentions_seed1")]
    assert (encoder / "config.json").stat().st_mtime_ns == written
    (folder / path).unlink()
    with pytest.raises(FileNotFoundError, match="train.tsv' is absent: expected a corpus"):
        mention_encoder.prepare_encoder(folder, folder / "work", "other")
