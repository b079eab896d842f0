"""The component ``relation_extractor``: says which mentions of a document are related, and how."""

import warnings
from dataclasses import replace
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Literal, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..annotation import (
    SPANS_KEY,
    Mention,
    ensure_span_ids,
    get_mentions,
    get_relation_rows,
    gold_mentions,
    mention_table,
    mention_text,
    relations_key,
    set_relations,
)
from ..annotation.relations import RELATIONS_KEY
from ..models.candidates import PairCandidates, pair_candidates
from ..models.relation_decoding import ScoredRelations, decode_relations, eligible
from ..models.relation_schema import RelationSchema
from ..models.threshold_search import best_threshold, best_thresholds
from ..scoring.relation_items import relation_items
from ..scoring.relations import doc_relation_keys, relation_keys, score_relation_sets
