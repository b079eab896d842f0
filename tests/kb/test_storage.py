import json
from pathlib import Path

import numpy
import pytest

from spacy_bioie.kb import storage


def write(path, content=b"abc", settings=None):
    def files(folder):
        (folder / "part").mkdir()
        (folder / "part" / "x").write_bytes(content)

    storage.write_folder(path, settings or {"a": 1}, files)


def test_folder_is_written_checked_and_replaced(tmp_path):
    path = tmp_path / "deep" / "kb"
    write(path)
    meta = storage.read_meta(path)
    assert meta["settings"] == {"a": 1} and meta["files"]["part/x"]["bytes"] == 3
    storage.check_files(path, meta, "full")
    write(path, b"abcd")
    assert (path / "part" / "x").read_bytes() == b"abcd"
    assert [entry.name for entry in path.parent.iterdir()] == ["kb"]  # nothing left beside


def test_same_content_is_left_in_place(tmp_path):
    write(tmp_path / "kb")
    before = (tmp_path / "kb" / "part" / "x").stat()
    write(tmp_path / "kb")
    assert (tmp_path / "kb" / "part" / "x").stat().st_ino == before.st_ino
    (tmp_path / "kb" / "part" / "x").write_bytes(b"bad")
    write(tmp_path / "kb")
    assert (tmp_path / "kb" / "part" / "x").read_bytes() == b"abc"


def test_failed_write_leaves_the_old_folder(tmp_path):
    write(tmp_path / "kb")

    def fail(folder):
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        storage.write_folder(tmp_path / "kb", {}, fail)
    storage.check_files(tmp_path / "kb", storage.read_meta(tmp_path / "kb"), "full")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kb"]


@pytest.mark.parametrize("error", [OSError("disk failed"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails", ["new", "both"])
def test_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch, error, fails
):
    write(tmp_path / "kb")
    rename = Path.rename

    def stopped(self, target):
        if self.name == "new":
            raise error
        if self.name == "old" and fails == "both":
            raise OSError("not back either")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises((type(error), OSError)):
        write(tmp_path / "kb", b"abcd")
    (entry,) = tmp_path.iterdir()
    there = entry if fails == "new" else entry / "old"
    assert (entry.name == "kb") == (fails == "new")  # else it is kept where it was put aside
    storage.check_files(there, storage.read_meta(there), "full")
    assert (there / "part" / "x").read_bytes() == b"abc"


def test_other_folders_are_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine")  # an empty one is taken
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("x")
    with pytest.raises(ValueError, match="thesis' holds files, but no knowledge base"):
        write(tmp_path / "thesis")
    (tmp_path / "thesis" / "meta.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="holds files, but no knowledge base"):
        write(tmp_path / "thesis")
    with pytest.raises(ValueError, match="is a file"):
        write(tmp_path / "thesis" / "chapter")


def test_wrong_meta(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no knowledge base"):
        storage.read_meta(tmp_path)
    write(tmp_path / "kb")
    file = tmp_path / "kb" / "meta.json"
    good = json.loads(file.read_text())
    for change, message in (
        ({"format": "other"}, "is foreign"),
        ({"version": 99}, "format version 99"),
        ({"files": None}, "is damaged"),
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match=message) as error:
            storage.read_meta(tmp_path / "kb")
        assert str(file) in str(error.value)
        if "version" in change:
            assert "this release reads versions 1, 2 and 3" in str(error.value)
    for version in (1, 2, 3):
        file.write_text(json.dumps({**good, "version": version}))
        assert storage.read_meta(tmp_path / "kb")["files"] == good["files"]
    for change, message in (
        ({"settings": {"a": 2}}, "its settings and list of files are not those that were written"),
        ({"files": {}}, "its settings and list of files are not"),
        ({"sha256": 3}, "its settings and list of files are not"),
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match=f"meta.json' is damaged: {message}"):
            storage.read_meta(tmp_path / "kb")
    without = {key: value for key, value in good.items() if key != "sha256"}
    file.write_text(json.dumps({**without, "settings": {"a": 2}}))  # of an earlier release
    assert storage.read_meta(tmp_path / "kb")["settings"] == {"a": 2}
    for wrong in (3, None, {"bytes": 3}, {"bytes": "3", "sha256": ""}, {"bytes": 3, "sha256": 1}):
        file.write_text(json.dumps({**without, "files": {"part/x": wrong}}))
        with pytest.raises(ValueError, match="meta.json' is damaged: of 'part/x' expected an obj"):
            storage.read_meta(tmp_path / "kb")
    file.write_text(json.dumps(good)[:50])
    with pytest.raises(ValueError, match="is damaged: expected JSON"):
        storage.read_meta(tmp_path / "kb")


def test_damaged_files(tmp_path, monkeypatch):
    write(tmp_path / "kb")
    meta = storage.read_meta(tmp_path / "kb")
    file = tmp_path / "kb" / "part" / "x"
    file.write_bytes(b"abX")
    storage.check_files(tmp_path / "kb", meta, "sizes")
    for check in ("full", "auto"):
        with pytest.raises(ValueError, match="part/x' is damaged: its SHA-256"):
            storage.check_files(tmp_path / "kb", meta, check)
    monkeypatch.setattr(storage, "LARGEST_HASHED", 2)
    storage.check_files(tmp_path / "kb", meta, "auto")
    file.write_bytes(b"ab")
    with pytest.raises(ValueError, match="it has 2 bytes, expected 3"):
        storage.check_files(tmp_path / "kb", meta, "sizes")
    file.unlink()
    with pytest.raises(ValueError, match="part/x' is missing"):
        storage.check_files(tmp_path / "kb", meta, "sizes")
    with pytest.raises(ValueError, match="check is 'maybe'"):
        storage.check_files(tmp_path / "kb", meta, "maybe")


def test_arrays(tmp_path):
    arrays = {
        "big": numpy.arange(100_000, dtype="int32").reshape((-1, 2)),
        "empty": numpy.zeros((0, 3), dtype="float32"),
    }
    storage.write_arrays(tmp_path / "a", arrays)
    for mmap in (True, False):
        read = storage.read_arrays(tmp_path / "a", mmap=mmap)
        for name, array in arrays.items():
            assert type(read[name]) is numpy.ndarray and read[name].dtype == array.dtype
            numpy.testing.assert_array_equal(read[name], array)
        assert isinstance(read["big"].base, numpy.memmap) == mmap
    (tmp_path / "a" / "big.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="big.npy' is damaged"):
        storage.read_arrays(tmp_path / "a")


def test_packed_folder(tmp_path):
    write(tmp_path / "kb")
    packed = storage.pack_folder(tmp_path / "kb")
    assert sorted(packed) == ["meta.json", "part/x"]
    storage.unpack_folder(packed, tmp_path / "copy")
    assert storage.pack_folder(tmp_path / "copy") == packed
    with pytest.raises(ValueError, match="leaves the folder"):
        storage.unpack_folder({"../evil": b""}, tmp_path / "copy")
    assert not (tmp_path / "evil").exists()
