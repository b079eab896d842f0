"""The saved files of a pretrained encoder, kept available after their folder is gone."""

import mmap
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, Union


class EncoderFiles:
    """The files of a folder, memory-mapped, so that they outlive the folder on POSIX systems."""

    def __init__(self, folder: Union[str, Path]):
        """Map every file of ``folder``. Raises FileNotFoundError where there is no such folder."""
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"No such folder of a saved encoder: '{folder}'.")
        self.buffers: Dict[str, Union[bytes, mmap.mmap]] = {}
        for path in sorted(self.folder.iterdir()):
            if path.is_file():
                self.buffers[path.name] = _map_file(path)

    def write(self, folder: Union[str, Path]) -> None:
        """Write all files into another folder, made if it is not there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, buffer in self.buffers.items():
            with (folder / name).open("wb") as out:
                out.write(buffer)

    @contextmanager
    def as_folder(self) -> Iterator[str]:
        """A folder that holds the files, for libraries that read from a path.

        It is the original one as long as that is unchanged, else a temporary copy.
        """
        if self._is_unchanged():
            yield str(self.folder)
            return
        with tempfile.TemporaryDirectory(prefix="encoder-") as copy:
            self.write(copy)
            yield copy

    def _is_unchanged(self) -> bool:
        return all(
            (self.folder / name).is_file() and (self.folder / name).stat().st_size == len(buffer)
            for name, buffer in self.buffers.items()
        )


def _map_file(path: Path) -> Union[bytes, mmap.mmap]:
    with path.open("rb") as opened:
        if path.stat().st_size == 0:  # an empty file cannot be mapped
            return b""
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
