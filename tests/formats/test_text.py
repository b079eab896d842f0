import pytest

from spacy_bioie.annotation import find_sections
from spacy_bioie.formats import FormatError, read_texts


def test_files_and_folders(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfTitle\r\nAbstract \xf0\x9f\xa6\xa0\r\n\r\n")
    (tmp_path / "a.txt").write_text("", encoding="utf8")
    (tmp_path / "other.md").write_text("x")
    assert list(read_texts(tmp_path)) == [("a", ""), ("b", "Title\nAbstract 🦠")]
    assert [section.name for section in find_sections("Title\nAbstract 🦠")] == [
        "title",
        "abstract",
    ]
    assert list(read_texts([tmp_path / "other.md", str(tmp_path)]))[0] == ("other", "x")


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no .txt file in the folder"):
        list(read_texts(tmp_path))
    with pytest.raises(FileNotFoundError):
        list(read_texts(tmp_path / "a.txt"))
    (tmp_path / "a.txt").write_bytes(b"ok \xff")
    with pytest.raises(FormatError, match="a.txt: expected UTF-8 text, byte 3"):
        list(read_texts(tmp_path))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("x")
    with pytest.raises(FormatError, match="has the same name as .*: expected one file an id"):
        list(read_texts([tmp_path, tmp_path / "sub"]))
