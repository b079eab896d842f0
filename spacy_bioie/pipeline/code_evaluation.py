"""Scores of a ``code_linker`` over the mentions of references."""

from typing import TYPE_CHECKING, Dict, Optional, Sequence

from spacy.training import Example

from ..annotation import concept_ids
from ..scoring.coding import score_document_codes
from ..scoring.links import score_candidates
from .linker_evaluation import link_gold_mentions

if TYPE_CHECKING:
    from .code_linker import CodeLinker


def score_gold_mentions(
    component: "CodeLinker", examples: Sequence[Example]
) -> Dict[str, Optional[float]]:
    """The figures over gold mentions, see ``CodeLinker.score``."""
    mentions, found = link_gold_mentions(component, examples)
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
