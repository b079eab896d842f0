"""A trainable component with a ``FaissKnowledgeBase``: how it is taken, asked for and saved."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Optional, Self, Union

import srsly
from spacy import util
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab
from thinc.api import Model

from ..kb.knowledge_base import FaissKnowledgeBase
from ..models.candidate_reranker import Reranker
from .trained_head import TrainedHead


class KnowledgeBasePipe(TrainedHead):
    """What a linker is besides linking and learning; ``FaissEntityLinker`` is made of it.

    kb: None before ``set_kb`` or ``from_disk``. device: where its names are searched.
    """

    vocab: Vocab
    model: Model
    name: str
    device: str
    kb: Optional[FaissKnowledgeBase]
    reranker: Optional[Reranker]
    cfg: Dict[str, Any]

    def set_kb(self, kb_loader: Callable[[Vocab], FaissKnowledgeBase]) -> None:
        """Take the knowledge base that ``kb_loader`` makes for this pipeline's vocabulary.

        Raises ValueError where it is no FaissKnowledgeBase, or where its vectors have another
        width than the mention encoder was sized for.
        """
        if not callable(kb_loader):
            raise ValueError(
                f"Component '{self.name}': expected kb_loader to be a function from a Vocab to a "
                f"FaissKnowledgeBase, got {type(kb_loader).__name__}."
            )
        self._take_kb(kb_loader(self.vocab))

    def require_kb(self) -> FaissKnowledgeBase:
        """The knowledge base. Raises ValueError where there is none."""
        if self.kb is None:
            raise ValueError(
                f"Component '{self.name}' has no knowledge base. Expected one from the config, "
                f"[initialize.components.{self.name}.kb_loader] with @misc = "
                '"spacy_bioie.FaissKnowledgeBase.v1" and the path of a folder that '
                "`python -m spacy bioie build-kb` wrote, or from set_kb()."
            )
        return self.kb

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Settings, model and knowledge base as bytes."""
        self._validate_serialization_attrs()
        serialize: Dict[str, Callable[[], bytes]] = {
            "cfg": lambda: srsly.json_dumps(self.cfg).encode("utf8"),
            "vocab": lambda: self.vocab.to_bytes(exclude=tuple(exclude)),
            "model": self.model.to_bytes,
        }
        if self.reranker is not None:
            serialize["reranker"] = self.reranker.to_bytes
        if self.kb is not None:
            serialize["kb"] = self.kb.to_bytes
        return util.to_bytes(serialize, exclude)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> Self:
        """Load what ``to_bytes`` gave."""
        self._validate_serialization_attrs()
        util.from_bytes(
            bytes_data,
            {
                "cfg": lambda data: self.cfg.update(srsly.json_loads(data)),
                "vocab": lambda data: self.vocab.from_bytes(data, exclude=tuple(exclude)),
                "model": self.model.from_bytes,
                "reranker": self._load_reranker,
                "kb": lambda data: self._take_kb(FaissKnowledgeBase(self.vocab).from_bytes(data)),
            },
            exclude,
        )
        return self

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save settings, model and knowledge base; its name encoder lies inside it, once."""
        self._validate_serialization_attrs()
        serialize: Dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: srsly.write_json(p, self.cfg),
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
            "model": lambda p: self.model.to_disk(p),
        }
        kb, reranker = self.kb, self.reranker
        if reranker is not None:
            serialize["reranker"] = lambda p: p.write_bytes(reranker.to_bytes())
        if kb is not None:
            serialize["kb"] = lambda p: kb.to_disk(p)
        util.to_disk(path, serialize, exclude)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> Self:
        """Load what ``to_disk`` wrote; tables and index of the knowledge base are memory-mapped."""
        self._validate_serialization_attrs()
        deserialize: Dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: self.cfg.update(srsly.read_json(p)),
            "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),
            "model": lambda p: self.model.from_bytes(p.read_bytes()),
            # A component of an earlier release has no such file
            "reranker": lambda p: self._load_reranker(p.read_bytes() if p.exists() else b""),
            "kb": self._load_kb,
        }
        util.from_disk(path, deserialize, exclude)
        return self

    def _take_kb(self, kb: Any) -> None:
        if not isinstance(kb, FaissKnowledgeBase):
            raise ValueError(
                f"Component '{self.name}': expected a FaissKnowledgeBase, got {type(kb).__name__}."
            )
        if self.model.has_dim("nO") and self.model.get_dim("nO") != kb.context_dims:
            raise ValueError(
                f"Component '{self.name}': the mention encoder projects to "
                f"{self.model.get_dim('nO')} dimensions, the name vectors of this knowledge base "
                f"have {kb.context_dims}. Expected a knowledge base made with the same name "
                "encoder, or a component that is initialized anew."
            )
        kb.device = self.device
        self.kb = kb

    def _load_reranker(self, data: bytes) -> None:
        if data and self.reranker is not None:
            self.reranker.from_bytes(data)

    def _load_kb(self, path: Path) -> None:
        # A component that was saved before it had a knowledge base has no such folder
        if path.exists():
            self._take_kb(FaissKnowledgeBase(self.vocab).from_disk(path))
