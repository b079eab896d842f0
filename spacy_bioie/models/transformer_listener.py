"""The listener of ``spacy_bioie.TransformerListener.v1``."""

from typing import Any, List

from spacy.tokens import Doc
from spacy_transformers.layers.listener import TransformerListener


class AddableTransformerListener(TransformerListener):
    """A listener whose gradient can be added to that of a layer beside it.

    All but the last listener of a transformer give nothing back, which ``concatenate.v1`` cannot
    add to what the other layers give.
    """

    def backprop_and_clear(self, *args: Any, **kwargs: Any) -> List[Doc]:
        return super().backprop_and_clear(*args, **kwargs) or []
