"""How links are written to a Doc."""

from dataclasses import replace
from typing import Sequence

from spacy.tokens import Doc

from ..annotation import Candidates, get_mentions, set_mentions


def set_links(doc: Doc, key: str, candidates: Sequence[Candidates], threshold: float) -> None:
    """Write ``span.kb_id_`` and the candidates of the mentions of ``doc.spans[key]``.

    candidates: of each mention (concept id, score), best first; a best one of a score below the
        threshold is no link. Ids, scores and exact offsets stay, and what else the group carries.
    """
    attrs = dict(doc.spans[key].attrs)
    mentions = [
        replace(
            mention,
            kb_id=found[0][0] if found and found[0][1] >= threshold else "",
            candidates=found,
        )
        for mention, found in zip(get_mentions(doc, key), candidates, strict=True)
    ]
    set_mentions(doc, key, mentions)
    for name, value in attrs.items():
        doc.spans[key].attrs.setdefault(name, value)
