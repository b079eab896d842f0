"""The component ``label_consistency``: mentions of one name in a document get one label.

A mention alone often leaves its label open where the document, or the corpus, does not: Krishnan
and Manning, "An effective two-stage model for exploiting non-local dependencies in named entity
recognition", ACL 2006, observe the same of names in news. In 279 platinum and gold documents of
GutBrainIE 9 of 5,119 names have several labels in one document.
"""

from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_get_examples
from spacy.util import SimpleFrozenList, ensure_path, from_bytes, from_disk, to_bytes, to_disk

from ..annotation import (
    SPANS_KEY,
    Mention,
    expand_abbreviations,
    get_mentions,
    get_tier,
    mention_texts,
)
from ..kb.normalisation import normalise_name
from .span_weights import SpanWeights

# name -> label -> training mentions, by the weight of their tier
Counts = Dict[str, Dict[str, float]]


class LabelConsistency(Pipe):
    """Gives the mentions of a name in a document one label.

    It belongs behind what finds mentions, and ahead of what links or relates them by their labels.
    Mentions that are given, not found, need neither: disable both components for them.

    Mentions have one name where their normalised texts are the same, or become so when short forms
    are written out (the component ``abbreviations`` has to have found these). The label is that
    which training mentions of the name have, if nearly all agree; of the short form, where the long
    one is not known. Else it is that of the first mention in the document, which is the one most
    often written out and introduced.

    A name of which two mentions lie on the same tokens, with different labels, keeps its labels:
    there both are meant. Borders, ids, scores and all else of the group stay, and so does
    ``doc.ents``; a score then is that of the label the mention was found with. What the component
    knows of training mentions it learns when it is initialized, and needs no updates.
    """

    def __init__(
        self,
        name: str = "label_consistency",
        *,
        spans_key: str = SPANS_KEY,
        min_mentions: float = 2.0,
        min_share: float = 0.8,
        tier_weights: Optional[Dict[str, float]] = None,
    ) -> None:
        """Create the component.

        spans_key: the span group whose labels are changed.
        min_mentions: so many training mentions of a name are asked for its label.
        min_share: so large a part of them has to agree; above 1, training decides nothing.
        tier_weights: quality tier of a training document -> how much each of its mentions counts; 1
            where none is given.

        Raises ValueError for a setting out of range.
        """
        if min_mentions <= 0.0:
            raise ValueError(
                f"Component '{name}': min_mentions is {min_mentions}, expected more than 0."
            )
        if min_share <= 0.5:
            raise ValueError(
                f"Component '{name}': min_share is {min_share}, expected more than half."
            )
        SpanWeights(tier_weights or {}).check(name)
        self.name = name
        self.cfg: Dict[str, Any] = {
            "spans_key": spans_key,
            "min_mentions": min_mentions,
            "min_share": min_share,
            "tier_weights": dict(tier_weights or {}),
        }
        self.counts: Counts = {}

    @property
    def key(self) -> str:
        """The span group whose labels are changed."""
        return self.cfg["spans_key"]

    def __call__(self, doc: Doc) -> Doc:
        mentions = get_mentions(doc, self.key)
        labels = self.consistent_labels(doc, mentions)
        if any(label != m.label for label, m in zip(labels, mentions, strict=True)):
            group = doc.spans[self.key]
            spans = [
                Span(doc, s.start, s.end, label=label, kb_id=s.kb_id_, span_id=s.id_)
                for s, label in zip(group, labels, strict=True)
            ]
            attrs = dict(group.attrs)
            doc.spans[self.key] = SpanGroup(doc, name=self.key, attrs=attrs, spans=spans)
        return doc

    def consistent_labels(self, doc: Doc, mentions: Sequence[Mention]) -> List[str]:
        """The labels that mentions of a document should have, without modifying it."""
        texts = mention_texts(doc, mentions)
        groups: Dict[str, List[int]] = defaultdict(list)
        for i, text in enumerate(expand_abbreviations(doc, mentions)):
            groups[normalise_name(text)].append(i)
        groups.pop("", None)
        labels = [mention.label for mention in mentions]
        for name, members in groups.items():
            at: Dict[Tuple[int, int], Set[str]] = defaultdict(set)
            for i in members:
                at[mentions[i].start, mentions[i].end].add(mentions[i].label)
            if any(len(found) > 1 for found in at.values()):
                continue
            members.sort(key=lambda i: mentions[i].start)
            names = chain([name], (normalise_name(texts[i]) for i in members))
            known = next(filter(None, map(self._known_label, names)), None)
            for i in members:
                labels[i] = known or mentions[members[0]].label
        return labels

    def _known_label(self, name: str) -> Optional[str]:
        """The label on which the training mentions of a name agree."""
        counts = self.counts.get(name, {})
        total = sum(counts.values())
        if not total or total < self.cfg["min_mentions"]:
            return None
        # of two labels with equal counts none has a large enough part
        label = max(counts, key=counts.__getitem__)
        return label if counts[label] >= self.cfg["min_share"] * total else None

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Optional[Language] = None
    ) -> None:
        """Count the labels of the gold mentions of each name, in all examples that it is given.

        spaCy gives it the first hundred alone where ``training.max_epochs`` is -1.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        counts: Counts = defaultdict(lambda: defaultdict(float))
        for example in get_examples():
            doc = example.reference
            weight = self.cfg["tier_weights"].get(get_tier(doc), 1.0)
            mentions = get_mentions(doc, self.key)
            for mention, text in zip(mentions, mention_texts(doc, mentions), strict=True):
                name = normalise_name(text)
                if name and weight:
                    counts[name][mention.label] += weight
        self.counts = {name: dict(of_name) for name, of_name in counts.items()}

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """Settings and counts."""
        writers = {
            "cfg": lambda: srsly.json_dumps(self.cfg),
            "labels": lambda: srsly.msgpack_dumps(self.counts),
        }
        return to_bytes(writers, exclude)

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "LabelConsistency":
        """Take over what ``to_bytes`` gave."""
        readers = {
            "cfg": lambda data: self.cfg.update(srsly.json_loads(data)),
            "labels": lambda data: setattr(self, "counts", srsly.msgpack_loads(data)),
        }
        from_bytes(bytes_data, readers, exclude)
        return self

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Write settings and counts into a folder."""
        writers = {
            "cfg": lambda file: srsly.write_json(file, self.cfg),
            "labels": lambda file: srsly.write_msgpack(file, self.counts),
        }
        to_disk(ensure_path(path), writers, exclude)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "LabelConsistency":
        """Read what ``to_disk`` wrote."""
        readers = {
            "cfg": lambda file: self.cfg.update(srsly.read_json(file)),
            "labels": lambda file: setattr(self, "counts", srsly.read_msgpack(file)),
        }
        from_disk(ensure_path(path), readers, exclude)
        return self


@Language.factory(
    "label_consistency",
    assigns=["doc.spans"],
    requires=["doc.spans"],
    default_config={
        "spans_key": SPANS_KEY,
        "min_mentions": 2.0,
        "min_share": 0.8,
        "tier_weights": {},
    },
)
def make_label_consistency(
    nlp: Language,
    name: str,
    spans_key: str,
    min_mentions: float,
    min_share: float,
    tier_weights: Dict[str, float],
) -> LabelConsistency:
    """Create the component ``label_consistency``; see ``LabelConsistency`` for the settings."""
    return LabelConsistency(
        name,
        spans_key=spans_key,
        min_mentions=min_mentions,
        min_share=min_share,
        tier_weights=tier_weights,
    )
