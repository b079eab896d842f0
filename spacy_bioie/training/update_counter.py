"""How long a pipeline was trained, in its meta: ``spacy train`` does not say it of a checkpoint."""

from typing import Any, Callable, Dict

from spacy.language import Language

UPDATES = "updates"


def count_updates_v1() -> Callable[[Language, Dict[str, Any]], None]:
    """Create the callback ``spacy_bioie.count_updates.v1`` for ``training.before_update``.

    A saved checkpoint has the number of its updates as "updates" in its meta, which ``refit``
    reads.
    """
    return _count


def _count(nlp: Language, now: Dict[str, Any]) -> None:
    nlp.meta[UPDATES] = now["step"] + 1  # with the one that follows
