"""How the vectors of an encoder are pooled, in the files that sentence-transformers keeps it in.

Beside the model in a folder lie ``modules.json``, which lists what follows the transformer, and
``1_Pooling/config.json``.
"""

import json
from pathlib import Path
from typing import Optional, Union

POOLINGS = ("mean", "cls")
POOLING_FILE = Path("1_Pooling") / "config.json"
_MODULES = "sentence_transformers.models"
_MODES = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}


def write_pooling(folder: Union[str, Path], pooling: str, dims: int) -> None:
    """Say beside a saved encoder how its vectors, of this width, are pooled."""
    folder = Path(folder)
    parts = (("", "Transformer"), (POOLING_FILE.parent.name, "Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_MODULES}.{kind}"}
        for i, (path, kind) in enumerate(parts)
    ]
    modes = {mode: name == pooling for name, mode in _MODES.items()}
    (folder / POOLING_FILE).parent.mkdir()
    for file, content in (
        (folder / "modules.json", modules),
        (folder / POOLING_FILE, {"word_embedding_dimension": dims, **modes}),
    ):
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf8")


def read_pooling(folder: Union[str, Path]) -> Optional[str]:
    """The pooling that the files beside an encoder say; None where they say nothing.

    folder: another name of an encoder, such as that on a hub, says nothing.

    Raises ValueError that names the file where it is damaged, or says another kind of pooling.
    """
    file = Path(folder) / POOLING_FILE
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf8"))
        modes = {key for key, value in config.items() if key.startswith("pooling_mode_") and value}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"'{file}' is damaged: expected a JSON object, but {error}.") from None
    for pooling, mode in _MODES.items():
        if modes == {mode}:
            return pooling
    raise ValueError(
        f"'{file}': expected one of {sorted(_MODES.values())} to be true and no other pooling, got "
        f"{sorted(modes)}."
    )


def choose_pooling(folder: Union[str, Path], pooling: Optional[str]) -> str:
    """The pooling that is asked for, or else what the files beside an encoder say, or else mean.

    Raises ValueError where one is asked for that is not known or not the one of the files.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(f"pooling is '{pooling}': expected one of {list(POOLINGS)}.")
    said = read_pooling(folder)
    if said and pooling and said != pooling:
        raise ValueError(
            f"pooling is '{pooling}', but '{Path(folder) / POOLING_FILE}' says '{said}': expected "
            "that, or no pooling at all."
        )
    return pooling or said or "mean"
