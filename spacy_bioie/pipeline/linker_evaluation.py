"""Scores of a ``faiss_entity_linker`` over the mentions of references."""

from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple, Union

from spacy.training import Example

from ..annotation import Candidates, Mention, gold_mentions
from ..scoring.links import score_candidates

if TYPE_CHECKING:
    from .code_linker import CodeLinker
    from .faiss_entity_linker import FaissEntityLinker


def score_gold_mentions(
    component: "FaissEntityLinker", examples: Sequence[Example]
) -> Dict[str, Optional[float]]:
    """The figures over gold mentions, see ``FaissEntityLinker.score``."""
    kb = component.require_kb()
    mentions, candidates = link_gold_mentions(component, examples)
    found = [ranked for row in candidates for ranked in row]
    gold = [kb.main_id(mention.kb_id) for row in mentions for mention in row]
    unseen = ["" if kb.training_mentions(concept_id) else concept_id for concept_id in gold]
    return {
        **score_candidates(gold, found, prefix="nel_gold"),
        **score_candidates(unseen, found, prefix="nel_gold_unseen"),
    }


def link_gold_mentions(
    component: Union["CodeLinker", "FaissEntityLinker"], examples: Sequence[Example]
) -> Tuple[List[List[Mention]], List[List[Candidates]]]:
    """The gold mentions of each example, and what a linker finds for each of them."""
    mentions = [gold_mentions(eg, component.key) for eg in examples]
    return mentions, component.link([eg.predicted for eg in examples], mentions)
