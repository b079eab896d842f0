import pytest

from spacy_bioie.formats.atomic import replacing, write_texts


def test_replaces_when_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as beside:
        beside.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_leaves_everything_after_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        with replacing(path) as beside:
            beside.write_text("half")
            raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writes_all_texts_or_none(tmp_path):
    write_texts({tmp_path / "a.txt": "1\n", tmp_path / "b.txt": "2\n"})
    assert (tmp_path / "b.txt").read_bytes() == b"2\n"
    with pytest.raises(UnicodeEncodeError):
        write_texts({tmp_path / "a.txt": "new", tmp_path / "c.txt": "\ud800"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == "1\n"


def test_a_folder_in_the_way(tmp_path):
    with pytest.raises(IsADirectoryError, match="a folder is in the place"):
        write_texts({tmp_path: "x"})
