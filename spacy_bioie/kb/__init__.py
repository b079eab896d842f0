"""Knowledge bases: concepts, names, and the search for the concepts that a text may name.

faiss, torch and transformers are imported at the first call that needs them.
"""

from .building import build_knowledge_base
from .concepts import Concept
from .knowledge_base import FaissKnowledgeBase
from .linking import LinkingSettings
from .loading import load_knowledge_base
from .name_encoders import NoNameEncoder, TransformerNameEncoder
from .normalisation import normalise_name
from .report import BuildReport, UpdateReport
from .sources import Filters, read_concepts
from .training_names import TrainingNames, read_training_names
from .updating import update_knowledge_base
from .writing import write_knowledge_base

__all__ = [
    "BuildReport",
    "Concept",
    "FaissKnowledgeBase",
    "Filters",
    "LinkingSettings",
    "NoNameEncoder",
    "TrainingNames",
    "TransformerNameEncoder",
    "UpdateReport",
    "build_knowledge_base",
    "load_knowledge_base",
    "normalise_name",
    "read_concepts",
    "read_training_names",
    "update_knowledge_base",
    "write_knowledge_base",
]
