"""Scores: the tasks' rules on files, the bootstrap over documents, and spaCy scorers."""

from .bionne_l import evaluate_bionne_files, score_ranked
from .bootstrap import Difference, Interval, confidence_intervals, paired_bootstrap
from .coding_files import evaluate_coding_files
from .files import evaluate_files
from .gutbrainie import Report, evaluate
from .links import candidate_recall, disambiguation_accuracy, score_candidates, score_links
from .relation_reports import report_relation_sets, report_relations
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
    "candidate_recall",
    "confidence_intervals",
    "disambiguation_accuracy",
    "evaluate",
    "evaluate_bionne_files",
    "evaluate_coding_files",
    "evaluate_files",
    "paired_bootstrap",
    "relation_keys",
    "report_relation_sets",
    "report_relations",
    "score_candidates",
    "score_links",
    "score_ranked",
    "score_relation_sets",
    "score_relations",
    "score_spans",
]
