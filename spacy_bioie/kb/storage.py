"""The folder of a saved knowledge base: written beside and renamed, checked when it is read.

``meta.json`` holds the format and its version, settings, size and SHA-256 of every other file, and
the SHA-256 of settings and list of files.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Union

import numpy

FORMAT = "spacy_bioie.FaissKnowledgeBase"
VERSION = 3
# In version 1 concepts have no cross-references; up to 2 there are no keys of names (``folded``),
# and vectors always lie in the order of names
READABLE = (1, 2, VERSION)
META_FILE = "meta.json"
CHECKS = ("auto", "full", "sizes")
# With "auto" larger files are checked by their size alone: hashing gigabytes would cost more than
# mapping them is meant to save
LARGEST_HASHED = 512 * 2**20


def write_folder(
    path: Union[str, Path], settings: Dict[str, Any], write_files: Callable[[Path], None]
) -> None:
    """Write a knowledge base folder.

    write_files: called with an empty folder, into which it writes all files. That folder then
        takes the place of ``path`` by renaming.

    A folder that already holds the same content is left as it is. Raises ValueError where ``path``
    is something else than an absent or empty folder or a knowledge base.
    """
    path = Path(path)
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    new, old = beside / "new", beside / "old"
    try:
        new.mkdir()
        write_files(new)
        files = {name: _describe(new / name) for name in sorted(_files(new))}
        meta = {"format": FORMAT, "version": VERSION, "settings": settings, "files": files}
        meta["sha256"] = _sha256_of_meta(meta)
        text = json.dumps(meta, indent=2, sort_keys=True, ensure_ascii=False)
        (new / META_FILE).write_text(text + "\n", encoding="utf8")
        if _holds(path, text, files):
            return
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        # what was there before is never removed unless something stands in its place
        if path.exists() or not old.exists():
            shutil.rmtree(beside, ignore_errors=True)


def read_meta(path: Union[str, Path]) -> Dict[str, Any]:
    """Read ``meta.json`` of a knowledge base folder.

    Raises FileNotFoundError where there is no such folder or file, and ValueError where it is
    damaged, of another format, or of a version that this package does not read.
    """
    path = Path(path)
    file = path / META_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"'{path}' is no knowledge base: expected a folder with the file '{META_FILE}', as "
            "`python -m spacy bioie build-kb` writes it."
        )
    try:
        meta = json.loads(file.read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"'{file}' is damaged: expected JSON in UTF-8, but {error}.") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(f"'{file}' is foreign: expected the field \"format\" to be '{FORMAT}'.")
    if meta.get("version") not in READABLE:
        raise ValueError(
            f"'{file}' has the format version {meta.get('version')!r}, this release reads versions "
            f"{', '.join(map(str, READABLE[:-1]))} and {VERSION}: build the knowledge base anew."
        )
    if not isinstance(meta.get("files"), dict) or not isinstance(meta.get("settings"), dict):
        raise ValueError(f'\'{file}\' is damaged: no objects "files" and "settings".')
    # a folder that an earlier release wrote has no such checksum
    if meta.get("sha256", _sha256_of_meta(meta)) != _sha256_of_meta(meta):
        raise ValueError(
            f"'{file}' is damaged: its settings and list of files are not those that were written, "
            "their SHA-256 differs."
        )
    for name, described in meta["files"].items():
        if not _is_description(described):
            raise ValueError(
                f"'{file}' is damaged: of '{name}' expected an object with \"bytes\" and "
                f'"sha256", got {str(described)[:40]!r}.'
            )
    return meta


def check_files(path: Union[str, Path], meta: Dict[str, Any], check: str = "auto") -> None:
    """Compare the files of a folder with what ``meta.json`` says of them.

    check: ``full`` compares sizes and SHA-256 of all files, ``sizes`` only sizes, ``auto`` SHA-256
        of the files up to 512 MiB. Raises ValueError that names the first file that differs.
    """
    if check not in CHECKS:
        raise ValueError(f"check is {check!r}: expected one of {list(CHECKS)}.")
    for name, expected in meta["files"].items():
        file = Path(path) / name
        if not file.is_file():
            raise ValueError(f"'{file}' is missing from the knowledge base.")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise ValueError(
                f"'{file}' is damaged: it has {size} bytes, expected {expected['bytes']}."
            )
        if check == "full" or (check == "auto" and size <= LARGEST_HASHED):
            if _sha256(file) != expected["sha256"]:
                raise ValueError(
                    f"'{file}' is damaged: its SHA-256 differs from the one in {META_FILE}."
                )


def write_arrays(folder: Path, arrays: Dict[str, numpy.ndarray]) -> None:
    """Write each array into a file of its own, ``NAME.npy``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        numpy.save(folder / f"{name}.npy", numpy.ascontiguousarray(array), allow_pickle=False)


def read_arrays(folder: Path, *, mmap: bool = True) -> Dict[str, numpy.ndarray]:
    """Read what ``write_arrays`` wrote, memory-mapped or into memory.

    Raises ValueError that names a file which is no array.
    """
    arrays = {}
    for file in sorted(folder.glob("*.npy")):
        # an array without elements cannot be mapped, and small ones are not worth a mapping
        mapped = mmap and file.stat().st_size > 65536
        try:
            array = numpy.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"'{file}' is damaged: expected a NumPy array, but {error}") from None
        arrays[file.stem] = array.view(numpy.ndarray)
    return arrays


def pack_folder(path: Union[str, Path]) -> Dict[str, bytes]:
    """All files of a folder by their relative names."""
    path = Path(path)
    return {name: (path / name).read_bytes() for name in _files(path)}


def unpack_folder(files: Dict[str, bytes], path: Union[str, Path]) -> None:
    """Write what ``pack_folder`` gave into a folder."""
    for name, content in files.items():
        file = Path(path) / name
        if not file.resolve().is_relative_to(Path(path).resolve()):
            raise ValueError(f"Packed knowledge base: the file name '{name}' leaves the folder.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def check_replaceable(path: Path) -> None:
    """Raise ValueError where a path is something else than an absent or empty folder or a
    knowledge base."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"'{path}' is a file: expected a folder for the knowledge base.")
    if not any(path.iterdir()):
        return
    try:
        foreign = json.loads((path / META_FILE).read_text(encoding="utf8"))["format"] != FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        foreign = True
    if foreign:
        raise ValueError(
            f"'{path}' holds files, but no knowledge base that could be replaced: expected an "
            "empty or absent folder."
        )


def _holds(path: Path, meta_text: str, files: Dict[str, Any]) -> bool:
    try:
        if (path / META_FILE).read_text(encoding="utf8") != meta_text + "\n":
            return False
        check_files(path, {"files": files}, "full")
    except (OSError, ValueError):
        return False
    return True


def _describe(file: Path) -> Dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _is_description(described: Any) -> bool:
    return (
        isinstance(described, dict)
        and isinstance(described.get("bytes"), int)
        and isinstance(described.get("sha256"), str)
    )


def _sha256_of_meta(meta: Dict[str, Any]) -> str:
    parts = [meta["settings"], meta["files"]]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf8", errors="surrogatepass")).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _files(path: Path) -> Iterator[str]:
    for folder, _, names in os.walk(path):
        for name in names:
            yield str((Path(folder) / name).relative_to(path).as_posix())
