"""Making knowledge bases from a config: a saved one, or one without concepts."""

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


def empty_knowledge_base() -> Callable[[Vocab, int], FaissKnowledgeBase]:
    """Create ``spacy_bioie.EmptyFaissKnowledgeBase.v1``, for spaCy's own ``entity_linker``.

    As its ``generate_empty_kb`` it gives the component the kind of knowledge base that is saved
    with it, to be filled by ``from_disk`` or replaced by a loader. The width that spaCy asks for
    plays no part: the vectors have that of the names that are loaded.
    """

    def generate(vocab: Vocab, entity_vector_length: int) -> FaissKnowledgeBase:
        return FaissKnowledgeBase(vocab)

    return generate
