"""The quality tier of a document's annotation, such as ``platinum``, ``gold`` or ``silver``.

A tier is what the corpus says of its annotators, kept in ``doc.user_data`` so that
``DocBin(store_user_data=True)`` carries it. In training it stands on the reference: spaCy makes the
predicted Doc from the text alone.
"""

from spacy.tokens import Doc

TIER_KEY = "bioie_tier"


def get_tier(doc: Doc) -> str:
    """Read ``doc._.tier``; the empty string where no tier is known."""
    return str(doc.user_data.get(TIER_KEY, ""))


def set_tier(doc: Doc, name: str) -> None:
    """Set ``doc._.tier``; the empty string takes it away.

    Raises ValueError for anything but a string.
    """
    if not isinstance(name, str):
        raise ValueError(f"The tier of a document is {name!r}: expected a string such as 'gold'.")
    if name:
        doc.user_data[TIER_KEY] = name
    else:
        doc.user_data.pop(TIER_KEY, None)
