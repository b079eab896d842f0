"""The component ``span_merger``: makes one span group of several."""

from dataclasses import replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc

from ..annotation import (
    SPANS_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    relations_key,
    set_mentions,
)

METHODS = ("union", "intersection", "vote", "priority")
OVERLAPS = ("any", "nested", "flat")
SCORES = ("found", "all")


class SpanMerger(Pipe):
    """Merges the mentions of several span groups into one group.

    Mentions are the same where tokens and label are. Which of them stay is said by the method:

    - ``union``: all.
    - ``intersection``: those that every group has.
    - ``vote``: those that at least ``min_votes`` groups have.
    - ``priority``: a mention gives way where it shares a token with a mention of a better rank.
      Its rank is the place of its best group in the order of its label; mentions of equal rank
      bear with each other.

    What then still overlaps is settled by score (``overlap``). The score of a mention is the mean
    of its scores in the groups, 1 in a group without scores; with ``scores = "all"`` and a
    ``min_score`` it is a vote weighted by score. Its link and candidates come from
    the first group that has a link for it, all else from the first group that has it; ids are
    numbered anew.
    """

    def __init__(
        self,
        name: str = "span_merger",
        *,
        input_keys: Sequence[str] = (SPANS_KEY, "ruler"),
        output_key: str = SPANS_KEY,
        method: str = "union",
        min_votes: int = 2,
        priority: Optional[Dict[str, List[str]]] = None,
        overlap: str = "any",
        scores: str = "found",
        weights: Optional[Dict[str, float]] = None,
        min_score: float = 0.0,
        scorer: Optional[Callable] = None,
    ) -> None:
        """Create the component.

        input_keys: the groups to merge, each of which every document with a token has to have.
        output_key: the group to write, which may be one of them.
        method: ``union``, ``intersection``, ``vote`` or ``priority``.
        min_votes: of ``vote``.
        priority: of ``priority``: for a label its groups, the best first. Groups that it does not
            name follow in the order of ``input_keys``, which is also that of all other labels.
        overlap: ``any`` keeps all; ``nested`` lets mentions lie in one another, also with equal
            borders, but not cross; ``flat`` keeps no two mentions that share a token. The better
            score stays, then the longer mention, then the first.
        scores: take the mean over the groups in which a mention is ``found``, or over ``all``
            groups, where one that lacks it counts 0.
        weights: of the groups in that mean, 1 where none is named.
        min_score: mentions of a lower mean are left out before overlaps are settled.
        scorer: the scoring method of the merged group, or None.

        Raises ValueError for a setting that cannot be.
        """
        keys = list(input_keys)
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(
                f"Component '{name}': input_keys is {keys}, expected distinct keys, at least one."
            )
        for setting, value, values in (
            ("method", method, METHODS),
            ("overlap", overlap, OVERLAPS),
            ("scores", scores, SCORES),
        ):
            if value not in values:
                raise ValueError(
                    f"Component '{name}': {setting} is '{value}', expected one of {list(values)}."
                )
        if method == "vote" and not 1 <= min_votes <= len(keys):
            raise ValueError(
                f"Component '{name}': min_votes is {min_votes}, expected 1 to {len(keys)}, the "
                "number of input_keys."
            )
        for label, order in (priority or {}).items():
            unknown = [key for key in order if key not in keys]
            if unknown or len(set(order)) < len(order):
                raise ValueError(
                    f"Component '{name}': priority of '{label}' is {order}, expected distinct keys "
                    f"of {keys}."
                )
        for key, weight in (weights or {}).items():
            if key not in keys or weight <= 0.0:
                raise ValueError(
                    f"Component '{name}': weights['{key}'] is {weight}, expected a weight "
                    f"above 0 of one of {keys}."
                )
        if not 0.0 <= min_score <= 1.0:
            raise ValueError(
                f"Component '{name}': min_score is {min_score}, expected a probability."
            )
        self.name = name
        self.input_keys = keys
        self.output_key = output_key
        self.method = method
        self.min_votes = {"intersection": len(keys), "vote": min_votes}.get(method, 1)
        self.priority = dict(priority or {})
        self.overlap = overlap
        self.scores = scores
        self.weights = [float((weights or {}).get(key, 1.0)) for key in keys]
        self.min_score = min_score
        self.scorer = scorer
        self.cfg = {"spans_key": output_key}  # which spaCy hands to the scorer

    def __call__(self, doc: Doc) -> Doc:
        if get_relation_rows(doc) and relations_key(doc) == self.output_key:
            raise ValueError(
                f"Component '{self.name}': the document has relations between the mentions of "
                f"doc.spans['{self.output_key}'], whose ids would be lost. Expected '{self.name}' "
                "ahead of the component that sets relations."
            )
        set_mentions(doc, self.output_key, self.merge(self._groups(doc)), keep_ids=False)
        return doc

    def merge(self, groups: Sequence[Sequence[Mention]]) -> List[Mention]:
        """Merge the mentions of one document, given for each of ``input_keys``.

        RETURNS: mentions with scores, in the order of the text, longer ones first.
        """
        found: Dict[Tuple[int, int, str], Dict[int, Mention]] = {}
        for i, group in enumerate(groups):
            for mention in group:
                place = (mention.start, mention.end, mention.label)
                found.setdefault(place, {}).setdefault(i, mention)
        mentions, ranks = [], []
        for _, same in sorted(found.items(), key=lambda item: _text_order(item[0])):
            if len(same) < self.min_votes:
                continue
            mention = self._combine(same)
            if (mention.score or 0.0) >= self.min_score:
                mentions.append(mention)
                ranks.append(self._rank(mention.label, same))
        if self.method == "priority":
            mentions = _better_ranked(mentions, ranks)
        if self.overlap != "any":
            mentions = _without_overlaps(mentions, nested=self.overlap == "nested")
        return mentions

    def _groups(self, doc: Doc) -> List[List[Mention]]:
        for key in self.input_keys:
            if key not in doc.spans and len(doc):
                raise ValueError(
                    f"Component '{self.name}': a document has no group doc.spans['{key}'], which "
                    f"input_keys names. Groups there: {sorted(doc.spans)}."
                )
        return [get_mentions(doc, key) for key in self.input_keys]

    def _combine(self, same: Dict[int, Mention]) -> Mention:
        """One mention of those that groups have of it, by the place of the group."""
        mentions = list(same.values())
        linked = next((m for m in mentions if m.kb_id), None)
        linked = linked or next((m for m in mentions if m.candidates is not None), mentions[0])
        total = sum(
            self.weights[i] * (1.0 if m.score is None else m.score) for i, m in same.items()
        )
        counted = self.weights if self.scores == "all" else [self.weights[i] for i in same]
        return replace(
            mentions[0],
            kb_id=linked.kb_id,
            candidates=linked.candidates,
            score=total / sum(counted),
        )

    def _rank(self, label: str, same: Dict[int, Mention]) -> int:
        named = self.priority.get(label, [])
        order = [*named, *(key for key in self.input_keys if key not in named)]
        return min(order.index(self.input_keys[i]) for i in same)


@Language.factory(
    "span_merger",
    assigns=["doc.spans"],
    requires=["doc.spans"],
    default_config={
        "input_keys": [SPANS_KEY, "ruler"],
        "output_key": SPANS_KEY,
        "method": "union",
        "min_votes": 2,
        "priority": {},
        "overlap": "any",
        "scores": "found",
        "weights": {},
        "min_score": 0.0,
        "scorer": {"@scorers": "spacy_bioie.nested_spancat_scorer.v1"},
    },
)
def make_span_merger(
    nlp: Language,
    name: str,
    input_keys: List[str],
    output_key: str,
    method: str,
    min_votes: int,
    priority: Dict[str, List[str]],
    overlap: str,
    scores: str,
    weights: Dict[str, float],
    min_score: float,
    scorer: Optional[Callable],
) -> SpanMerger:
    """Create the component ``span_merger``; see ``SpanMerger`` for the settings."""
    return SpanMerger(
        name,
        input_keys=input_keys,
        output_key=output_key,
        method=method,
        min_votes=min_votes,
        priority=priority,
        overlap=overlap,
        scores=scores,
        weights=weights,
        min_score=min_score,
        scorer=scorer,
    )


def _text_order(place: Tuple[int, int, str]) -> Tuple[int, int, str]:
    start, end, label = place
    return start, -end, label


def _better_ranked(mentions: Sequence[Mention], ranks: Sequence[int]) -> List[Mention]:
    """The mentions that share no token with one of a better (lower) rank that is kept."""
    best = numpy.full((max((m.end for m in mentions), default=0),), len(mentions))
    kept = []
    for i in sorted(range(len(mentions)), key=lambda i: ranks[i]):
        tokens = best[mentions[i].start : mentions[i].end]
        if tokens.min() >= ranks[i]:
            numpy.minimum(tokens, ranks[i], out=tokens)
            kept.append(i)
    return [mentions[i] for i in sorted(kept)]


def _without_overlaps(mentions: Sequence[Mention], *, nested: bool) -> List[Mention]:
    """The mentions that neither share a token with, nor (nested) cross, a better one."""
    order = sorted(
        range(len(mentions)), key=lambda i: (-(mentions[i].score or 0.0), -_length(mentions[i]), i)
    )
    borders = numpy.asarray([(m.start, m.end) for m in mentions], dtype="int64").reshape((-1, 2))
    starts, ends = borders[:, 0], borders[:, 1]
    possible = numpy.ones((len(mentions),), dtype="bool")
    kept = []
    for i in order:
        if not possible[i]:
            continue
        kept.append(i)
        clash = (starts < ends[i]) & (ends > starts[i])
        if nested:
            inside = (starts >= starts[i]) & (ends <= ends[i])
            around = (starts <= starts[i]) & (ends >= ends[i])
            clash &= ~(inside | around)
        possible &= ~clash
    return [mentions[i] for i in sorted(kept)]


def _length(mention: Mention) -> int:
    return mention.end - mention.start
