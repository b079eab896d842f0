from pathlib import Path

import pytest

from spacy_bioie.kb.encoder_files import EncoderFiles


def test_files_are_found_again(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "weights").write_bytes(b"abc")
    (folder / "empty").write_bytes(b"")
    files = EncoderFiles(folder)
    with files.as_folder() as path:
        assert path == str(folder)
    (folder / "weights").unlink()
    with files.as_folder() as path:
        assert path != str(folder)
        assert (Path(path) / "weights").read_bytes() == b"abc"
    assert not Path(path).exists()
    files.write(tmp_path / "b")
    assert (tmp_path / "b" / "weights").read_bytes() == b"abc"
    assert (tmp_path / "b" / "empty").read_bytes() == b""


def test_absent_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        EncoderFiles(tmp_path / "nothing")
