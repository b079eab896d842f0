"""The one place where faiss is imported, and where its installation is checked."""

from importlib import metadata
from typing import Any

from ..models.forking import limit_threads_after_fork

_DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu")


def import_faiss() -> Any:
    """Import faiss and return the module.

    Raises ImportError where no faiss is installed, or where ``faiss-cpu`` and ``faiss-gpu`` both
    are: they share one folder, and which files lie there is then a matter of chance.
    """
    installed = [name for name in _DISTRIBUTIONS if _is_installed(name)]
    if len(installed) > 1:
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


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
