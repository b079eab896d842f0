"""Scores: GutBrainIE's rules on files, the bootstrap over documents, and spaCy scorers."""

from .bootstrap import Difference, Interval, confidence_intervals, paired_bootstrap
from .files import evaluate_files
from .gutbrainie import Report, evaluate
from .links import score_candidates, score_links
from .relations import RelationKey, relation_keys, score_relation_sets, score_relations
from .rules import AVERAGES, RULES, TASKS
from .spans import score_spans

__all__ = [
    "AVERAGES",
    "RULES",
    "TASKS",
    "Difference",
    "Interval",
    "RelationKey",
    "Report",
    "confidence_intervals",
    "evaluate",
    "evaluate_files",
    "paired_bootstrap",
    "relation_keys",
    "score_candidates",
    "score_links",
    "score_relation_sets",
    "score_relations",
    "score_spans",
]
