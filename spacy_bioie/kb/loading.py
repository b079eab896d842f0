"""Loading a saved knowledge base from a config."""

from pathlib import Path
from typing import Callable, Union

from spacy.vocab import Vocab

from .knowledge_base import FaissKnowledgeBase


def load_knowledge_base(
    path: Union[str, Path], mmap: bool = True, check: str = "auto"
) -> Callable[[Vocab], FaissKnowledgeBase]:
    """Create ``spacy_bioie.FaissKnowledgeBase.v1``, a loader for ``initialize(kb_loader=...)``.

    path: the folder that ``python -m spacy bioie build-kb`` wrote.
    mmap: map its tables and its index into memory instead of reading them.
    check: ``auto``, ``full`` or ``sizes``, see ``storage.check_files``.

    The loader raises FileNotFoundError or ValueError, with the name of the file, where the folder
    is no knowledge base or is damaged.
    """

    def kb_loader(vocab: Vocab) -> FaissKnowledgeBase:
        return FaissKnowledgeBase(vocab).from_disk(path, mmap=mmap, check=check)

    return kb_loader
