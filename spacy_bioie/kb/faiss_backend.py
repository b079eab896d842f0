"""The one place where faiss is imported, and where its installation is checked."""

from importlib import metadata
from typing import Any, Dict, List

from spacy.util import get_minor_version_range, split_requirement

from ..about import __version__
from ..models.forking import limit_threads_after_fork

_EXTRAS = {"faiss-cpu": "cpu", "faiss-gpu": "gpu"}
_PACKAGE = "spacy-bioie"


def import_faiss() -> Any:
    """Import faiss and return the module.

    Raises ImportError where no faiss is installed, or where ``faiss-cpu`` and ``faiss-gpu`` both
    are: they share one folder, and which files lie there is then a matter of chance.
    """
    if len(_installed()) > 1:
        raise ImportError(
            "Both faiss-cpu and faiss-gpu are installed, and each overwrites files of the other. "
            "Run `pip uninstall faiss-cpu faiss-gpu`, then install one of them: "
            "`pip install spacy_bioie[cpu]` or `pip install spacy_bioie[gpu]`."
        )
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "Searching a knowledge base needs faiss, which cannot be imported. Install it with "
            "`pip install spacy_bioie[cpu]`, or `pip install spacy_bioie[gpu]` for CUDA on Linux."
        ) from error
    limit_threads_after_fork()
    return faiss


def add_requirement(meta: Dict[str, Any]) -> None:
    """Add this package, with the extra that brings the installed faiss, to a pipeline's meta.

    meta: of the pipeline; ``spacy package`` puts its list "requirements" into the package that it
        makes. By itself it would name this package without an extra, and so without faiss.

    A requirement on this package that is there already stays as it is.
    """
    requirements = meta.setdefault("requirements", [])
    present = {split_requirement(entry)[0].lower().replace("_", "-") for entry in requirements}
    if _PACKAGE not in present:
        installed = _installed()
        extra = f"[{_EXTRAS[installed[0]]}]" if len(installed) == 1 else ""
        requirements.append(f"{_PACKAGE}{extra}{get_minor_version_range(__version__)}")


def _installed() -> List[str]:
    return [name for name in _EXTRAS if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
