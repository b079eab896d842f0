"""The batcher ``spacy_bioie.TierStages.v1``: all documents first, the good ones at the end."""

from typing import Any, Callable, Iterable, Iterator, List, Sequence

from spacy.training import Example

from ..annotation import get_tier

Batcher = Callable[[Iterable[Any]], Iterable[List[Any]]]


def TierStages_v1(batcher: Batcher, epochs: int, tiers: Sequence[str]) -> Batcher:
    """Create ``spacy_bioie.TierStages.v1``, for ``training.batcher``: training in two stages.

    Going on with good data after noisy data (GutUZH), in one training: one optimizer and one
    schedule of rates. The first epochs go over all documents; in those that follow, documents of
    other tiers are left out, so these epochs have fewer updates. The documents are shuffled as
    ``spacy train`` does it. Each epoch has all of its documents in memory: not for a corpus that
    is streamed (``max_epochs = -1``).

    batcher: another batcher, of both stages, such as ``spacy.batch_by_sequence.v1``.
    epochs: of the first stage, 0 or more.
    tiers: of the documents of the second stage, as ``bioie convert --tier`` wrote them; "" is that
        of a document without one.

    Raises ValueError where the settings are out of range, and, as training begins, where no
    document is of these tiers.
    """
    if epochs < 0:
        raise ValueError(f"TierStages: epochs is {epochs}, expected 0 or more.")
    if not tiers:
        raise ValueError("TierStages: tiers is empty, expected those of the last epochs.")
    passed = 0

    def batch(examples: Iterable[Example]) -> Iterator[List[Example]]:
        nonlocal passed
        passed += 1  # spacy train batches the documents once in each epoch
        examples = list(examples)
        kept = [eg for eg in examples if get_tier(eg.reference) in tiers]
        if examples and not kept:
            found = sorted({get_tier(eg.reference) for eg in examples})
            raise ValueError(
                f"TierStages: no document is of the tiers {sorted(tiers)}, expected some of those "
                f"of the corpus: {found}."
            )
        yield from batcher(kept if passed > epochs else examples)

    return batch
