"""Folders that are replaced as a whole or not at all."""

import pytest

from spacy_bioie.training.saved_pipeline import folder_to_replace


@pytest.mark.parametrize("exists", [True, False])
def test_folder_takes_the_place_of_another(tmp_path, exists):
    target = tmp_path / "in" / "target"
    if exists:
        target.mkdir(parents=True)
        (target / "old.txt").write_text("old", encoding="utf8")
    with folder_to_replace(target) as folder:
        folder.mkdir()
        (folder / "new.txt").write_text("new", encoding="utf8")
        assert target.exists() == exists
    assert [path.name for path in target.iterdir()] == ["new.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("written", [True, False])
def test_other_folder_stays_where_writing_fails(tmp_path, written):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old.txt").write_text("old", encoding="utf8")
    with pytest.raises(OSError), folder_to_replace(target) as folder:
        if written:  # and then fails
            folder.mkdir()
            raise OSError("no space left")
        # nothing was written, so that there is nothing to move
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (target / "old.txt").read_text(encoding="utf8") == "old"
