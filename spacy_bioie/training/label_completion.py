"""Label completion: labels that a corpus was not annotated for come from a trained pipeline.

Corpora with different labels cannot simply be joined: where one lacks a label, its documents teach
that there are no such mentions (LYX names an auxiliary model that completes them as future work).
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Collection, Dict, Iterator, List, Optional, Tuple, Union

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tqdm import tqdm

from ..annotation import SPANS_KEY, Mention, get_mentions, gold_mentions, set_mentions
from ..formats.docbin import read_docbin, write_docbin
from .pseudo_labels import PROVENANCE_KEY, pipeline_name


@dataclass
class CompletedLabels:
    """What was done: ``documents`` were read and written, ``added`` mentions of each label joined
    them; ``unsure`` ones had too low a score, ``overlapping`` ones shared a token with another
    mention."""

    documents: int = 0
    added: Dict[str, int] = field(default_factory=dict)
    unsure: int = 0
    overlapping: int = 0


def complete_labels(
    nlp: Language,
    corpus: Union[str, Path],
    output: Union[str, Path],
    *,
    labels: Optional[Collection[str]] = None,
    min_score: float = 0.5,
    allow_overlap: bool = False,
    spans_key: str = SPANS_KEY,
    batch_size: int = 32,
    progress: bool = False,
) -> CompletedLabels:
    """Add to an annotated corpus the mentions of labels that it lacks.

    nlp: a trained pipeline. It annotates the texts anew; what the corpus says stays as it is:
        mentions, their ids and links, relations, tiers.
    corpus: a .spacy file. output: the same documents, complete or untouched; those that were added
        to say so in ``doc.user_data["bioie_pseudo_labels"]``.
    labels: to be added; without them, all that the corpus has no mention of.
    min_score: least score of a mention; one without a score is sure.
    allow_overlap: add mentions as well that share a token with one of the corpus.

    RETURNS: the counts.
    Raises ValueError for a score that is no probability, for a label that the corpus has, and
    where no mention is added; FormatError and OSError as readers and writers do.
    """
    if not 0.0 <= min_score <= 1.0:
        raise ValueError(f"min_score is {min_score}, expected a probability.")
    docs = list(read_docbin(corpus, nlp.vocab))
    known = {mention.label for doc in docs for mention in get_mentions(doc, spans_key)}
    clash = sorted(known & set(labels or ()))
    if clash:
        raise ValueError(
            f"{corpus}: the documents have mentions of {', '.join(map(repr, clash))}. Expected "
            f"labels that they lack; they have {', '.join(map(repr, sorted(known)))}."
        )
    counts = CompletedLabels(len(docs))
    provenance = {"pipeline": pipeline_name(nlp), "min_score": min_score, "completed": True}
    found: Counter[str] = Counter()

    def completed() -> Iterator[Doc]:
        texts = ((nlp.make_doc(doc.text), doc) for doc in docs)
        pairs = nlp.pipe(texts, as_tuples=True, batch_size=batch_size)
        for predicted, doc in tqdm(pairs, total=len(docs), unit="doc", disable=not progress):
            offered = [
                mention
                # with the tokens of the document that is completed
                for mention in gold_mentions(Example(doc, predicted), spans_key)
                if (mention.label not in known if labels is None else mention.label in labels)
            ]
            own = get_mentions(doc, spans_key)
            added = _choose(own, offered, min_score, allow_overlap, counts)
            if added:
                set_mentions(doc, spans_key, [*own, *added])
                doc.user_data[PROVENANCE_KEY] = dict(provenance)
                found.update(mention.label for mention in added)
            yield doc
        if not found:
            raise ValueError(
                f"{output}: no mention is left to add to the {len(docs)} documents of {corpus}."
            )

    write_docbin(completed(), output)
    counts.added = dict(sorted(found.items()))
    return counts


def _choose(
    own: List[Mention],
    offered: List[Mention],
    min_score: float,
    allow_overlap: bool,
    counts: CompletedLabels,
) -> List[Mention]:
    """The sure ones of the mentions offered, without their ids."""
    taken: List[Tuple[int, int]] = [] if allow_overlap else [(m.start, m.end) for m in own]
    borders = numpy.asarray(taken, dtype="int64").reshape((-1, 2))
    added = []
    for mention in offered:
        overlaps = (borders[:, 0] < mention.end) & (mention.start < borders[:, 1])
        if mention.score is not None and mention.score < min_score:
            counts.unsure += 1
        elif overlaps.any():
            counts.overlapping += 1
        else:
            added.append(replace(mention, id=""))
    return added
