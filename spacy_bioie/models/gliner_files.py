"""Reading and keeping a GLiNER, through the package ``gliner``, which is optional."""

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from ..encoder_source import resolve_encoder
from .encoder_classes import quiet_transformers

GLINER_CONFIG = "gliner_config.json"


class GlinerSettings(NamedTuple):
    """How a GLiNER is read and run, see ``gliner_spans.GLiNER_v1``."""

    name: str
    prompts: Dict[str, str]
    max_width: int
    hidden_size: int
    dropout: float
    window: int
    max_batch_pieces: int
    mixed_precision: bool


def import_gliner() -> Any:
    """The package. Raises ImportError, which says how to install it, where it is absent."""
    try:
        import gliner
    except ImportError as error:
        raise ImportError(
            'GLiNER needs the package gliner: pip install "spacy-bioie[gliner]".'
        ) from error
    return gliner


def read_gliner(settings: GlinerSettings) -> Any:
    """Read a GLiNER, or make one over a pretrained encoder.

    Raises ValueError where there is neither, a GLiNER of another kind, or one whose weights do not
    fit.
    """
    import_gliner()
    from gliner import GLiNER
    from gliner.model import UniEncoderSpanGLiNER

    source = resolve_encoder(settings.name)
    config = {
        "model_name": source,
        "max_width": settings.max_width,
        "max_len": settings.window,
        "hidden_size": settings.hidden_size,
        "dropout": settings.dropout,
    }
    saved = None
    try:
        with quiet_transformers():
            saved = _saved_config(source)
            if saved is not None:
                width = settings.max_width
                found = GLiNER.from_pretrained(source, max_width=width, strict=True)
            else:
                found = UniEncoderSpanGLiNER.load_from_config(config)
    except (OSError, ValueError) as error:
        is_folder = "is one" if Path(source).is_dir() else "does not exist"
        raise ValueError(
            f"The GLiNER '{settings.name}' cannot be loaded: expected a folder with a saved GLiNER "
            f"or with a saved transformers model and its tokenizer ('{Path(source).absolute()}' "
            f"{is_folder}), or the name of either on a hub that can be reached. {error}"
        ) from error
    except RuntimeError as error:
        if saved is None:
            raise
        raise ValueError(
            f"The GLiNER '{settings.name}', saved with max_width {saved.get('max_width')} and "
            f"span_mode '{saved.get('span_mode')}', cannot be read with max_width "
            f"{settings.max_width}: expected weights for all of it, and the same max_width where "
            f"they depend on it. {error}"
        ) from error
    if type(found) is not UniEncoderSpanGLiNER:
        raise ValueError(
            f"The GLiNER '{settings.name}' is a {type(found).__name__}: expected a "
            "UniEncoderSpanGLiNER, which reads labels and text together and scores spans."
        )
    # no path of this machine
    found.config.model_name = found.config.encoder_config._name_or_path = settings.name
    return found


def _saved_config(source: str) -> Optional[Dict[str, Any]]:
    """The config of a saved GLiNER; None for what is none."""
    from transformers.utils import cached_file

    path: Any = Path(source) / GLINER_CONFIG
    if not Path(source).is_dir():
        try:
            path = cached_file(source, GLINER_CONFIG)
        except OSError:
            path = None
    if path is None or not Path(path).is_file():
        return None
    return json.loads(Path(path).read_text(encoding="utf8"))


def gliner_to_files(gliner: Any) -> Dict[str, bytes]:
    """Config, weights and tokenizer, in the files that the package writes."""
    with tempfile.TemporaryDirectory(prefix="gliner-") as folder:
        gliner.save_pretrained(folder, safe_serialization=True)
        files = [path for path in Path(folder).iterdir() if path.is_file()]
        return {path.name: path.read_bytes() for path in files}


def gliner_from_files(files: Dict[str, bytes]) -> Any:
    """The GLiNER of ``gliner_to_files``, without the place where it was first read from."""
    import_gliner()
    from gliner.model import UniEncoderSpanGLiNER

    with tempfile.TemporaryDirectory(prefix="gliner-") as folder, quiet_transformers():
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return UniEncoderSpanGLiNER.from_pretrained(folder, local_files_only=True, strict=True)
