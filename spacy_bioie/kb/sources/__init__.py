"""Where concepts are read from: one module for each form, one call for all of them."""

from .filters import Filters
from .reading import FORMS, check_form, read_concepts, source_files

__all__ = ["FORMS", "Filters", "check_form", "read_concepts", "source_files"]
