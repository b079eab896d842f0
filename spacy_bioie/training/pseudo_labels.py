"""Pseudo-labels: raw texts that a trained pipeline annotates for the training of others.

The documents have a quality tier of their own, by which ``tier_weights`` of ``nested_spancat`` and
of ``relation_extractor`` say how much they count. To label with several pipelines, whatever finds
their mentions, join them first, see ``ensembling``.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from ..annotation import (
    META_KEY,
    SPANS_KEY,
    Mention,
    get_mentions,
    get_relation_rows,
    relations_key,
    set_mentions,
    set_relations,
    set_tier,
)
from ..formats import write_docbin
from ..prediction import read_unannotated

AnyPath = Union[str, Path]
PROVENANCE_KEY = "bioie_pseudo_labels"  # doc.user_data
TIER = "pseudo"
UNSURE = ("spans", "documents")


@dataclass(frozen=True)
class Confidence:
    """What is sure enough to be learned from.

    min_score: least score of a mention. unsure: what is left out for a mention below that: the
        mention alone ("spans"), which is then taught to be none, or its document ("documents").
    min_mean: least mean score of a document's mentions, all that were found.
    min_relation: least score of a relation; others are left out.
    keep_empty: keep documents in which no mention was found, or none is left.

    Raises ValueError for another ``unsure``, and for a score that is no probability.
    """

    min_score: float = 0.0
    min_mean: float = 0.0
    min_relation: float = 0.0
    unsure: str = "documents"
    keep_empty: bool = False

    def __post_init__(self) -> None:
        if self.unsure not in UNSURE:
            raise ValueError(f"unsure is '{self.unsure}', expected one of {', '.join(UNSURE)}.")
        for name in ("min_score", "min_mean", "min_relation"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a probability.")


@dataclass
class PseudoLabels:
    """How many documents were read and written, and why the others were not; what those that were
    written hold, and what was left out of them.

    ``excluded`` documents were named, ``repeated`` ones have the id of an earlier one, ``unsure``
    ones an unsure mention, ``low_mean`` ones a low mean, ``empty`` ones no mention.
    """

    read: int = 0
    excluded: int = 0
    repeated: int = 0
    unsure: int = 0
    low_mean: int = 0
    empty: int = 0
    written: int = 0
    mentions: int = 0
    unsure_mentions: int = 0
    relations: int = 0
    unsure_relations: int = 0
    by_label: Dict[str, int] = field(default_factory=dict)


def write_pseudo_labels(
    nlp: Language,
    texts: Union[AnyPath, Sequence[AnyPath]],
    output: AnyPath,
    *,
    confidence: Confidence = Confidence(),  # noqa: B008  (frozen)
    tier: str = TIER,
    exclude_documents: Collection[str] = (),
    limit: Optional[int] = None,
    spans_key: str = SPANS_KEY,
    batch_size: int = 32,
    n_process: int = 1,
    progress: bool = False,
) -> PseudoLabels:
    """Annotate raw texts and write those that are sure enough as a training corpus.

    nlp: a trained pipeline or an ensemble.
    texts: files or folders, see ``prediction.read_unannotated``; read one document after the other.
    output: a .spacy file, complete or untouched. Its documents have mentions with links and
        scores, relations, the ``tier``, and in ``doc.user_data["bioie_pseudo_labels"]`` what
        labelled them: the pipeline's name and version, and the settings of ``confidence``.
    exclude_documents: ids that are passed over: those that the result is evaluated on.
    limit: number of documents to write.

    Raises ValueError where no document is left and for mentions without scores that should be
    filtered by score; FormatError and OSError as readers and writers do.
    """
    if not tier:
        raise ValueError("The tier is empty, expected a name such as 'pseudo'.")
    paths = [texts] if isinstance(texts, (str, Path)) else list(texts)
    counts = PseudoLabels()
    wanted = _wanted(paths, set(exclude_documents), counts)
    provenance = {"pipeline": pipeline_name(nlp), **asdict(confidence)}

    def labelled() -> Iterator[Doc]:
        pairs = nlp.pipe(wanted, as_tuples=True, batch_size=batch_size, n_process=n_process)
        with tqdm(pairs, unit="doc", disable=not progress) as bar:
            for doc, meta in bar:
                kept = keep_sure(doc, confidence, counts, spans_key)
                if kept is None:
                    continue
                new = nlp.make_doc(doc.text)  # without what the components leave for each other
                _copy(doc, new, kept, confidence, counts, spans_key)
                new.user_data[META_KEY] = meta
                new.user_data[PROVENANCE_KEY] = dict(provenance)
                set_tier(new, tier)
                yield new
                if counts.written == limit:
                    return
        if not counts.written:
            raise ValueError(f"{output}: of {counts.read} documents none is left to write.")

    write_docbin(labelled(), output)
    return counts


def pipeline_name(nlp: Language) -> str:
    """Name and version of a pipeline: "en_bioie_gutbrain 1.0.0"."""
    return f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}"


def keep_sure(
    doc: Doc, confidence: Confidence, counts: PseudoLabels, spans_key: str = SPANS_KEY
) -> Optional[List[Mention]]:
    """The mentions of a document to learn from, or None where it is left out, which is counted."""
    mentions = get_mentions(doc, spans_key)
    scores = _scores(doc, mentions, confidence)
    sure = [
        mention
        for mention, score in zip(mentions, scores, strict=True)
        if score >= confidence.min_score
    ]
    if scores and sum(scores) / len(scores) < confidence.min_mean:
        counts.low_mean += 1
    elif len(sure) < len(mentions) and confidence.unsure == "documents":
        counts.unsure += 1
    elif not sure and not confidence.keep_empty:
        counts.empty += 1
    else:
        counts.unsure_mentions += len(mentions) - len(sure)
        return sure
    return None


def _wanted(
    paths: Iterable[AnyPath], excluded: Collection[str], counts: PseudoLabels
) -> Iterator[Tuple[str, Dict[str, Any]]]:
    seen = set()
    for path in paths:
        for text, meta in read_unannotated(path):
            counts.read += 1
            identifier = str(meta.get("id") or "")
            if identifier and identifier in excluded:
                counts.excluded += 1
            elif identifier and identifier in seen:
                counts.repeated += 1
            else:
                seen.add(identifier)
                yield text, meta


def _scores(doc: Doc, mentions: Sequence[Mention], confidence: Confidence) -> List[float]:
    scores = [1.0 if mention.score is None else mention.score for mention in mentions]
    filtered = max(confidence.min_score, confidence.min_mean) > 0.0
    if filtered and any(mention.score is None for mention in mentions):
        raise ValueError(
            f"The mentions of the document {doc.text[:50]!r} have no scores to filter by. Expected "
            "a pipeline that scores them, or min_score and min_mean of 0."
        )
    return scores


def _copy(
    doc: Doc,
    new: Doc,
    mentions: Sequence[Mention],
    confidence: Confidence,
    counts: PseudoLabels,
    spans_key: str,
) -> None:
    """Copy mentions, and the relations between them that are sure enough."""
    set_mentions(new, spans_key, mentions)
    known = {mention.id for mention in mentions}
    rows = get_relation_rows(doc) if relations_key(doc) == spans_key else []
    rows = [row for row in rows if row[0] in known and row[2] in known]
    sure = [row for row in rows if row[3] >= confidence.min_relation]
    if sure:
        set_relations(new, spans_key, sure)
    counts.written += 1
    counts.mentions += len(mentions)
    counts.relations += len(sure)
    counts.unsure_relations += len(rows) - len(sure)
    for mention in mentions:
        counts.by_label[mention.label] = counts.by_label.get(mention.label, 0) + 1
