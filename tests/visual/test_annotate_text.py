import pytest

from spacy_bioie.visual.text_report import annotate_text, text_report

from ..rule_pipeline import make_rule_pipeline

TEXT = "Butyrate in mice\nIt reached the gut.\n"


def test_a_loaded_and_a_saved_pipeline(tmp_path):
    nlp = make_rule_pipeline()
    expected = text_report(nlp(TEXT.strip()))
    assert "Mentions (3)" in expected and "abstract 15-18" in expected
    assert annotate_text(nlp, TEXT) == expected
    nlp.to_disk(tmp_path / "pipeline")
    assert annotate_text(tmp_path / "pipeline", TEXT) == expected
    assert "Relations (1)" in expected
    other = annotate_text(nlp, TEXT, "other")
    assert other.startswith("Mentions (0)") and "Relations (0)" in other


def test_a_pipeline_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="absent"):
        annotate_text(tmp_path / "absent", TEXT)
