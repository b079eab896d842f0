"""Scores of a ``code_linker`` over the mentions of references."""

from typing import TYPE_CHECKING, Dict, Optional, Sequence

from spacy.training import Example

from ..annotation import concept_ids, gold_mentions
from ..scoring.coding import score_document_codes
from ..scoring.links import score_candidates

if TYPE_CHECKING:
    from .code_linker import CodeLinker


def score_gold_mentions(
    component: "CodeLinker", examples: Sequence[Example]
) -> Dict[str, Optional[float]]:
    """The figures over gold mentions, see ``CodeLinker.score``."""
    mentions = [gold_mentions(eg, component.key) for eg in examples]
    found = component.link([eg.predicted for eg in examples], mentions)
    gold = [mention.kb_id for row in mentions for mention in row]
    figures = score_candidates(gold, [ranked for row in found for ranked in row])
    least = component.cfg["threshold"]
    of_docs = score_document_codes(
        [[code for mention in row for code in concept_ids(mention.kb_id)] for row in mentions],
        [[code for (code, score), *_ in row if score >= least] for row in found],
    )
    return {
        **figures,
        **{name.replace("mlcx", "mlcx_gold"): value for name, value in of_docs.items()},
    }
