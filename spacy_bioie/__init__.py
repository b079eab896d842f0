"""Biomedical information extraction for spaCy: nested mentions, concepts and relations.

Importing this package registers the extension attributes of Docs and Spans and nothing else; all
components reach spaCy through the entry points named in ``setup.cfg``.
"""

from . import annotation
from .about import __version__

__all__ = ["__version__", "annotation"]
