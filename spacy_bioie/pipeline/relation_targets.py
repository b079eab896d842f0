"""What references say about relations: the schema, the targets, and what cannot be learned."""

from typing import Any, Callable, Iterable, List, Sequence, Tuple

import numpy
from spacy.training import Example

from ..annotation import get_relation_rows, gold_mentions, mention_table, relations_key
from ..annotation.relations import RELATIONS_KEY
from ..models.candidates import PairCandidates, pair_candidates
from ..models.relation_schema import RelationSchema, Triple

GoldRow = Tuple[int, str, int]  # head, predicate, tail; mentions by their index


def is_annotated(example: Example, key: str) -> bool:
    """Whether the reference says which mentions of ``doc.spans[key]`` are related, if any."""
    reference = example.reference
    return RELATIONS_KEY in reference.user_data and relations_key(reference) == key


def gold_rows(example: Example, key: str) -> List[GoldRow]:
    """The reference's relations between mentions that have tokens in the predicted document.

    Mentions are named by their index in ``gold_mentions(example, key)``.
    """
    if not is_annotated(example, key):
        return []
    index = {mention.id: i for i, mention in enumerate(gold_mentions(example, key))}
    return [
        (index[head], predicate, index[tail])
        for head, predicate, tail, _ in get_relation_rows(example.reference)
        if head in index and tail in index
    ]


def pair_targets(
    examples: Sequence[Example], candidates: PairCandidates, schema: RelationSchema, key: str
) -> numpy.ndarray:
    """Which predicates hold for each candidate pair: bool, (pairs, predicates).

    candidates: over the references' mentions; examples without any mention there are passed over.
    Relations that the schema does not allow are in no candidate pair or stay False.
    """
    index = {name: i for i, name in enumerate(schema.predicates)}
    rows = [
        (head + first, index.get(predicate, -1), tail + first)
        for eg, first, n in zip(
            examples,
            candidates.mention_starts.tolist(),
            candidates.doc_mentions.tolist(),
            strict=True,
        )
        if n
        for head, predicate, tail in gold_rows(eg, key)
    ]
    table = numpy.asarray(rows, dtype="int64").reshape((-1, 3))
    pairs = candidates.find(table[:, 0], table[:, 2])
    known = (pairs >= 0) & (table[:, 1] >= 0)
    targets = numpy.zeros((len(candidates.pairs), candidates.n_predicates), dtype=bool)
    targets[pairs[known], table[known, 1]] = True
    return targets & candidates.pair_legal()


def entity_targets(candidates: PairCandidates, targets: numpy.ndarray) -> numpy.ndarray:
    """Which predicates hold for any pair of mentions of the same two entities.

    targets: bool, (pairs, predicates), of the pairs of mentions. RETURNS: the same shape.
    """
    pairs, rows = candidates.entity_pairs()
    merged = numpy.zeros((len(pairs), targets.shape[1]), dtype=bool)
    numpy.logical_or.at(merged, rows, targets)
    return merged[rows]


def prior_logits(
    examples: Iterable[Example], schema: RelationSchema, key: str, smoothing: float = 1.0
) -> numpy.ndarray:
    """Log odds of each predicate given the labels of a pair, as counted in the references.

    Each triple is counted ``smoothing`` times more than it is there, with the odds of all legal
    triples, so that rare pairs of labels lean on the others.
    RETURNS: float32, (labels, labels, predicates); 0 where a triple is not legal.
    """
    shape = schema.legal.shape
    hits, pairs = numpy.zeros(shape), numpy.zeros(shape[:2])
    index = {label: i for i, label in enumerate(schema.labels)}
    for eg in examples:
        if is_annotated(eg, key):
            tables = [mention_table(gold_mentions(eg, key), index)]
            candidates = pair_candidates(tables, schema)
            labels = candidates.mentions[candidates.pairs, 2]
            gold = pair_targets([eg], candidates, schema, key)
            numpy.add.at(pairs, (labels[:, 0], labels[:, 1]), 1)
            numpy.add.at(hits, (labels[:, 0], labels[:, 1]), gold)
    trials = numpy.where(schema.legal, pairs[:, :, None], 0.0)
    mean = (hits.sum() + 0.5) / (trials.sum() + 1.0)
    rate = (hits + smoothing * mean) / (trials + smoothing)
    odds = numpy.log(rate) - numpy.log1p(-rate)
    return numpy.where(schema.legal, odds, 0.0).astype("float32")


def choose_schema(
    component: str,
    key: str,
    get_examples: Callable[[], Iterable[Example]],
    labels: Any,
    schema: Any,
) -> RelationSchema:
    """The schema that was given in one of two ways, or else the one of the references.

    component: named in errors. Raises ValueError, see ``RelationExtractor.initialize``.
    """
    where = f"Component '{component}', argument "
    given = [
        RelationSchema.from_data(data, f"{where}'{name}'")
        for name, data in (("relation_schema", schema), ("labels", labels))
        if data is not None
    ]
    if len(given) == 2 and given[0] != given[1]:
        raise ValueError(
            f"Component '{component}': 'labels' and 'relation_schema' are both given and differ. "
            "Expected one of them, or the same schema."
        )
    found = given[0] if given else RelationSchema.from_examples(get_examples(), key)
    if found is None:
        raise ValueError(
            f"Component '{component}' has no relation schema: none was given, and no reference "
            f"holds a relation between mentions of doc.spans['{key}']. Expected a corpus with "
            "relations (doc._.relations, written with store_user_data=True), or a schema under "
            f"[initialize.components.{component}.schema]; for a corpus without relations, leave "
            "the component out of the pipeline."
        )
    return found


def learning_problems(
    examples: Iterable[Example], schema: RelationSchema, key: str, max_relations: float
) -> List[str]:
    """Say what of a corpus cannot be learned: nothing at all, or single relations.

    max_relations: documents with more are not learned from.
    """
    documents = annotated = dense = relations = lost = 0
    illegal: List[Triple] = []
    for eg in examples:
        documents += 1
        if not is_annotated(eg, key):
            continue
        annotated += 1
        n_relations = len(get_relation_rows(eg.reference))
        rows = gold_rows(eg, key)
        relations += n_relations
        lost += n_relations - len(rows)
        dense += n_relations > max_relations
        label = [mention.label for mention in gold_mentions(eg, key)] if rows else []
        illegal.extend(
            (label[head], predicate, label[tail])
            for head, predicate, tail in rows
            if head == tail or (label[head], predicate, label[tail]) not in schema
        )
    problems = []
    if not relations:
        problems.append(
            f"none of {documents} examples has a relation between mentions of doc.spans['{key}'], "
            "so there is nothing to learn but to predict none."
        )
    elif dense == annotated:
        problems.append(
            f"all {annotated} examples with relations have more than max_gold_relations, "
            f"{max_relations}: there is nothing to learn from."
        )
    if illegal:
        problems.append(
            f"{len(illegal)} of {relations} relations are ignored, because the schema does not "
            f"allow them, such as {illegal[0]}."
        )
    if lost:
        problems.append(
            f"{lost} of {relations} relations are ignored, because a mention of theirs has no "
            "token in the predicted document."
        )
    return problems
