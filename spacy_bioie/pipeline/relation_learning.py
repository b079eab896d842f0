"""What a ``relation_extractor`` learns from: which pairs, and how much each of them counts."""

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy
from spacy.training import Example
from thinc.types import Floats2d

from ..annotation import get_relation_rows, get_tier
from ..models.candidates import PairCandidates
from ..models.relation_schema import RelationSchema
from .relation_mixing import MATCHES, with_predicted_mentions
from .relation_targets import entity_targets, is_annotated, pair_targets

TARGETS = ("mention", "any")


@dataclass(frozen=True)
class RelationLearning:
    """The training settings of a ``relation_extractor``; see there.

    loss: a ``models.relation_losses.PairLoss``.
    """

    loss: Any
    loss_weight: float = 1.0
    max_gold_relations: Optional[int] = None
    tier_weights: Dict[str, float] = field(default_factory=dict)
    predicate_weights: Dict[str, float] = field(default_factory=dict)
    negatives: Optional[float] = None
    hard_negatives: Optional[float] = None
    target: str = "mention"
    predicted_key: Optional[str] = None
    predicted_share: float = 0.0
    predicted_match: str = "exact"

    def check(self, component: str) -> None:
        """Raise ValueError, which names the component, for a setting that is out of its range."""
        weights = {
            "loss_weight": self.loss_weight,
            "max_gold_relations": self.max_gold_relations,
            **{f"tier_weights['{name}']": value for name, value in self.tier_weights.items()},
            **{f"predicate_weights['{name}']": v for name, v in self.predicate_weights.items()},
            "negatives": self.negatives,
            "hard_negatives": self.hard_negatives,
        }
        for name, value in weights.items():
            if value is not None and value < 0:
                raise ValueError(f"Component '{component}': {name} is {value}, expected 0 or more.")
        for name, choice, choices in (
            ("target", self.target, TARGETS),
            ("predicted_match", self.predicted_match, MATCHES),
        ):
            if choice not in choices:
                raise ValueError(
                    f"Component '{component}': {name} is {choice!r}, expected one of "
                    f"{', '.join(choices)}."
                )
        if not 0.0 <= self.predicted_share <= 1.0:
            raise ValueError(
                f"Component '{component}': predicted_share is {self.predicted_share}, expected a "
                "share of the documents from 0 to 1."
            )
        if self.predicted_share and not self.predicted_key:
            raise ValueError(
                f"Component '{component}': predicted_share is {self.predicted_share}, but there "
                "is no predicted_key. Expected the key of the span group with predicted mentions."
            )

    @property
    def max_relations(self) -> float:
        """The most gold relations of a document that is learned from."""
        return float("inf") if self.max_gold_relations is None else self.max_gold_relations

    def document_weight(self, eg: Example, key: str) -> float:
        """How much a document counts: 0 where it is not learned from."""
        reference = eg.reference
        if not is_annotated(eg, key) or len(get_relation_rows(reference)) > self.max_relations:
            return 0.0
        return self.tier_weights.get(get_tier(reference), 1.0)

    def mix(self, examples: Sequence[Example], key: str) -> List[Example]:
        """The examples, a share of them with predicted mentions in place of the gold ones.

        They are drawn from numpy's global generator, which spaCy seeds. A document without the
        group of predicted mentions, or that is not learned from, stays as it is.
        """
        if not (self.predicted_key and self.predicted_share):
            return list(examples)
        drawn = numpy.random.random(len(examples)) < self.predicted_share
        return [
            with_predicted_mentions(eg, key, self.predicted_key, self.predicted_match)
            if take and self.predicted_key in eg.reference.spans and self.document_weight(eg, key)
            else eg
            for eg, take in zip(examples, drawn.tolist(), strict=True)
        ]

    def targets(
        self,
        examples: Sequence[Example],
        candidates: PairCandidates,
        schema: RelationSchema,
        key: str,
    ) -> numpy.ndarray:
        """``pair_targets``, or with ``target = "any"`` those of the pair's two entities."""
        found = pair_targets(examples, candidates, schema, key)
        return entity_targets(candidates, found) if self.target == "any" else found

    def sample(
        self,
        examples: Sequence[Example],
        candidates: PairCandidates,
        schema: RelationSchema,
        key: str,
    ) -> PairCandidates:
        """The pairs to learn from: all, or all positive ones and some of the negative ones.

        Negatives are drawn for each document, without repetition, from numpy's global generator,
        which spaCy seeds: ``negatives`` times as many as there are positives, and as many in a
        document without one.
        """
        if self.negatives is None or not len(candidates.pairs):
            return candidates
        positive = self.targets(examples, candidates, schema, key).any(axis=1)
        docs = candidates.mention_docs[candidates.pairs[:, 0]]
        n_positive = numpy.bincount(docs[positive], minlength=len(candidates.doc_mentions))
        wanted = numpy.ceil(numpy.maximum(n_positive, 1) * self.negatives)
        # negatives of a document in random order, those to be kept first
        order = numpy.lexsort((numpy.random.random(len(docs)), positive, docs))
        starts = numpy.searchsorted(docs, numpy.arange(len(n_positive)))
        rank = numpy.empty_like(docs)
        rank[order] = numpy.arange(len(docs)) - starts[docs]
        return replace(candidates, pairs=candidates.pairs[positive | (rank < wanted[docs])])

    def get_loss(
        self,
        examples: Sequence[Example],
        candidates: PairCandidates,
        logits: Floats2d,
        schema: RelationSchema,
        key: str,
    ) -> Tuple[float, Floats2d]:
        """The loss of a batch and its gradient, which ``loss_weight`` multiplies.

        It is the sum of the pairs' losses divided by the number of mentions, both weighted by the
        documents. Not by the number of pairs: they grow with the square of the mentions and
        nearly all of them are easy negatives, so a mean over pairs would fade to nothing in long
        documents. On GutBrainIE, with about half a relation for each mention, the cross-entropy
        begins near 2, and the gradient of the token vectors is one to three times as long as that
        of a tagger's mean cross-entropy over tokens.
        """
        import torch
        from thinc.util import torch2xp, xp2torch

        from ..models.relation_losses import hardest_negatives

        leaf = xp2torch(logits).detach().requires_grad_()
        gold = self.targets(examples, candidates, schema, key)
        targets = torch.from_numpy(gold).to(leaf.device)
        legal = torch.from_numpy(candidates.pair_legal()).to(leaf.device)
        by_document = numpy.asarray([self.document_weight(eg, key) for eg in examples])
        mention_weights = by_document[candidates.mention_docs] * (candidates.mentions[:, 2] >= 0)
        docs = candidates.mention_docs[candidates.pairs[:, 0]]
        weights = torch.from_numpy(by_document[docs].astype("float32")).to(leaf.device)
        by_predicate = [self.predicate_weights.get(name, 1.0) for name in schema.predicates]
        with torch.enable_grad():
            losses = self.loss.losses(leaf, targets, legal, leaf.new_tensor(by_predicate))
            if self.hard_negatives is not None:
                positive = targets.any(dim=1)
                rows = torch.from_numpy(docs).to(leaf.device)
                weights = weights * hardest_negatives(losses, positive, rows, self.hard_negatives)
            total = float(mention_weights.sum())
            loss = (losses * weights).sum() / (total or 1.0)
            (gradient,) = torch.autograd.grad(loss * self.loss_weight, [leaf])
        d_logits: Any = torch2xp(gradient.contiguous())
        return loss.item(), d_logits
