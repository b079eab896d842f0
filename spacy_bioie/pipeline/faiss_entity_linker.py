"""The component ``faiss_entity_linker``: says which concept of a knowledge base a mention names."""

import warnings
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy
import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import SimpleFrozenList
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..annotation import (
    SPANS_KEY,
    Candidates,
    Mention,
    MentionTable,
    get_mentions,
    gold_mentions,
    mention_table,
    mention_texts,
    set_mentions,
)
from ..kb.faiss_backend import add_requirement
from ..kb.index import check_device
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import (
    CandidatePairs,
    LinkingSettings,
    find_candidates,
    hard_negatives,
    rank_candidates,
    score_pairs,
)
from ..kb.normalisation import normalise_name
from ..models.contrastive import contrastive_loss, cosines_of_pairs
from ..models.mention_encoder import MentionInput, MentionVectors

default_model_config = """
[model]
@architectures = "spacy_bioie.MentionEncoder.v1"
hidden_width = 256

[model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 2
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true
"""
DEFAULT_LINKER_MODEL = Config().from_str(default_model_config)["model"]


@Language.factory(
    "faiss_entity_linker",
    assigns=["doc.spans"],
    requires=["doc.spans"],
    default_config={
        "model": DEFAULT_LINKER_MODEL,
        "spans_key": SPANS_KEY,
        "top_k": 5,
        "threshold": 0.0,
        "n_search": 32,
        "context_weight": 0.1,
        "prior_weight": 0.01,
        "label_weight": 0.1,
        "n_negatives": 10,
        "temperature": 0.05,
        "loss_weight": 1.0,
        "device": "auto",
        "scorer": {"@scorers": "spacy_bioie.entity_linker_scorer.v1"},
    },
    default_score_weights={
        "nel_gold_acc1": 1.0,
        "nel_gold_acc5": 0.0,
        "nerd_strict_micro_f": 0.0,
    },
)
def make_faiss_entity_linker(
    nlp: Language,
    name: str,
    model: Model[MentionInput, MentionVectors],
    spans_key: str,
    top_k: int,
    threshold: float,
    n_search: int,
    context_weight: float,
    prior_weight: float,
    label_weight: float,
    n_negatives: int,
    temperature: float,
    loss_weight: float,
    device: str,
    scorer: Optional[Callable],
) -> "FaissEntityLinker":
    """Create a ``faiss_entity_linker`` component; see ``FaissEntityLinker`` for the settings."""
    return FaissEntityLinker(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        top_k=top_k,
        threshold=threshold,
        n_search=n_search,
        context_weight=context_weight,
        prior_weight=prior_weight,
        label_weight=label_weight,
        n_negatives=n_negatives,
        temperature=temperature,
        loss_weight=loss_weight,
        device=device,
        scorer=scorer,
    )


class FaissEntityLinker(TrainablePipe):
    """Links the mentions of a span group to the concepts of a ``FaissKnowledgeBase``.

    A mention's candidates are the concepts of its normalised name and those of the most similar
    names; similarity, training evidence for name and label, the labels and the frequency of
    a concept, and the mention's context make the score in [0, 1] (``kb.linking.score_pairs``).
    The best concept becomes ``span.kb_id_``, unless its score is below the threshold; the best
    ``top_k`` stand with their scores in ``doc.spans[key].attrs["candidates"]``, to be read as
    ``span._.kb_ents``.

    Only the mention encoder learns. The vectors of the concepts stay as they are, so that another
    knowledge base, made with the same name encoder, takes their place without training.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[MentionInput, MentionVectors],
        name: str = "faiss_entity_linker",
        *,
        spans_key: str = SPANS_KEY,
        top_k: int = 5,
        threshold: float = 0.0,
        n_search: int = 32,
        context_weight: float = 0.1,
        prior_weight: float = 0.01,
        label_weight: float = 0.1,
        n_negatives: int = 10,
        temperature: float = 0.05,
        loss_weight: float = 1.0,
        device: str = "auto",
        scorer: Optional[Callable] = None,
    ) -> None:
        """Create the component. It has no knowledge base before ``initialize`` or ``from_disk``.

        model: from documents and mention tables to mention vectors, see ``MentionEncoder_v1``.
        name: names the component's losses.
        spans_key: the span group whose mentions are linked.
        top_k: so many candidates of each mention are kept.
        threshold: a best candidate of a lower score is no link (``kb_id_`` is "").
        n_search: names that the search returns for a mention.
        context_weight: of the cosine between mention and concept. With 0 the model is not asked,
            and learns nothing.
        prior_weight, label_weight: see ``LinkingSettings``.
        n_negatives: in training, so many of a mention's best wrong candidates are contrasted with
            its concept, beside those and the concepts of all other mentions of the batch.
        temperature: cosines are divided by it before the softmax of the loss.
        loss_weight: factor on the gradient, to balance components that share an encoder. The
            loss that is reported is without it.
        device: where names are searched: "cpu", "gpu", or "auto", a GPU where faiss sees one.
        scorer: the scoring method, or None.

        All but ``loss_weight``, ``device`` and ``scorer`` lie in ``cfg`` and are saved with the
        component. Raises ValueError for a setting outside its range.
        """
        for setting, value, least in (
            ("top_k", top_k, 1),
            ("n_search", n_search, 0),
            ("context_weight", context_weight, 0),
            ("prior_weight", prior_weight, 0),
            ("label_weight", label_weight, 0),
            ("n_negatives", n_negatives, 0),
            ("loss_weight", loss_weight, 0),
        ):
            if value < least:
                raise ValueError(
                    f"Component '{name}': {setting} is {value}, expected {least} or more."
                )
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(
                f"Component '{name}': threshold is {threshold}, expected a score in [0, 1]."
            )
        if temperature <= 0.0:
            raise ValueError(
                f"Component '{name}': temperature is {temperature}, expected more than 0."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.loss_weight = loss_weight
        self.device = check_device(device)
        self.kb: Optional[FaissKnowledgeBase] = None
        self.cfg: Dict[str, Any] = {
            "spans_key": spans_key,
            "top_k": top_k,
            "threshold": threshold,
            "n_search": n_search,
            "context_weight": context_weight,
            "prior_weight": prior_weight,
            "label_weight": label_weight,
            "n_negatives": n_negatives,
            "temperature": temperature,
        }

    @property
    def key(self) -> str:
        """The key of the span group in ``doc.spans``."""
        return str(self.cfg["spans_key"])

    @property
    def settings(self) -> LinkingSettings:
        """How candidates are found and weighed."""
        names = ("n_search", "prior_weight", "label_weight", "context_weight")
        return LinkingSettings(**{name: self.cfg[name] for name in names})

    def set_kb(self, kb_loader: Callable[[Vocab], FaissKnowledgeBase]) -> None:
        """Take the knowledge base that ``kb_loader`` makes for this pipeline's vocabulary.

        Raises ValueError where it is no FaissKnowledgeBase, or where its vectors have another
        width than the mention encoder was sized for.
        """
        if not callable(kb_loader):
            raise ValueError(
                f"Component '{self.name}': expected kb_loader to be a function from a Vocab to a "
                f"FaissKnowledgeBase, got {type(kb_loader).__name__}."
            )
        self._take_kb(kb_loader(self.vocab))

    def require_kb(self) -> FaissKnowledgeBase:
        """The knowledge base. Raises ValueError where there is none."""
        if self.kb is None:
            raise ValueError(
                f"Component '{self.name}' has no knowledge base. Expected one from the config, "
                f"[initialize.components.{self.name}.kb_loader] with @misc = "
                '"spacy_bioie.FaissKnowledgeBase.v1" and the path of a folder that '
                "`python -m spacy bioie build-kb` wrote, or from set_kb()."
            )
        return self.kb

    def link(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> List[List[Candidates]]:
        """Find the candidates of any mentions, without modifying the documents.

        mentions: of each document.
        RETURNS: for each mention of each document its best ``top_k`` (concept id, score) pairs,
            best first, those below the threshold included.
        Raises ValueError without a knowledge base, and where the shared encoder has left nothing
        for a document while ``context_weight`` is not 0.
        """
        kb = self.require_kb()
        pairs = self._find(docs, mentions)
        context = None
        if self.cfg["context_weight"]:
            context = self._context(docs, mentions, pairs)
        scores = score_pairs(kb, pairs, self.settings, context)
        n = sum(len(row) for row in mentions)
        ranked = iter(rank_candidates(kb, pairs, scores, n, self.cfg["top_k"]))
        return [[next(ranked) for _ in row] for row in mentions]

    def predict(self, docs: Iterable[Doc]) -> List[List[Candidates]]:
        """The candidates of the mentions of ``doc.spans[key]``, see ``link``."""
        docs = list(docs)
        return self.link(docs, [get_mentions(doc, self.key) for doc in docs])

    def set_annotations(
        self, docs: Iterable[Doc], predictions: Sequence[Sequence[Candidates]]
    ) -> None:
        """Write ``span.kb_id_`` and the candidates; ids, scores and exact offsets stay."""
        for doc, candidates in zip(docs, predictions, strict=True):
            if self.key not in doc.spans:
                continue
            attrs = dict(doc.spans[self.key].attrs)
            mentions = get_mentions(doc, self.key)
            set_mentions(
                doc,
                self.key,
                [
                    replace(mention, kb_id=self._choose(found), candidates=found)
                    for mention, found in zip(mentions, candidates, strict=True)
                ],
            )
            for name, value in attrs.items():
                doc.spans[self.key].attrs.setdefault(name, value)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from the gold mentions of a batch.

        The model runs and its gradient is passed on for every batch with a token, also one
        without links: the last component on a shared encoder that did not would discard what
        all others passed.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "FaissEntityLinker.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        docs = [eg.predicted for eg in examples]
        tables = [_table(gold_mentions(eg, self.key)) for eg in examples]
        vectors, backprop = self.model.begin_update((docs, tables))
        loss, d_vectors = self.get_loss(examples, vectors)
        backprop(d_vectors)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(
        self, examples: Iterable[Example], scores: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        """InfoNCE of the mention vectors against frozen concept vectors, and its gradient.

        Each gold mention whose concept has a vector is to be nearer to it than to the other
        concepts of the batch: its own best ``n_negatives`` wrong candidates, those of the other
        mentions, and their concepts (``contrastive_loss``). The loss is the mean over these
        mentions, 0 where there are none or ``context_weight`` is 0.

        scores: mention vectors of the gold mentions of each example.
        """
        examples = list(examples)
        kb = self.require_kb()
        docs = [eg.predicted for eg in examples]
        mentions = [gold_mentions(eg, self.key) for eg in examples]
        ops: Any = self.model.ops
        xp = ops.xp
        zeros = [xp.zeros_like(vectors) for vectors in scores]
        gold = [kb.tables.concept_row(m.kb_id) if m.kb_id else -1 for row in mentions for m in row]
        target = numpy.asarray(gold, dtype="int64")
        if not self.cfg["context_weight"] or not (target >= 0).any():
            return 0.0, zeros
        n = self.cfg["n_negatives"]
        concepts = numpy.union1d(
            target[target >= 0],
            hard_negatives(kb, self._find(docs, mentions), target, self.settings, n),
        )
        concept_vectors = kb.concept_vectors(concepts)
        filled = concept_vectors.any(axis=1)
        concepts, concept_vectors = concepts[filled], concept_vectors[filled]
        learned = numpy.flatnonzero(numpy.isin(target, concepts))
        if not len(learned):
            return 0.0, zeros
        flat = xp.concatenate(scores)
        rows = ops.asarray1i(learned)
        loss, d_learned = contrastive_loss(
            flat[rows],
            ops.asarray2f(concept_vectors),
            ops.asarray1i(numpy.searchsorted(concepts, target[learned])),
            self.cfg["temperature"],
        )
        d_flat = xp.zeros_like(flat)
        d_flat[rows] = d_learned * self.loss_weight
        ends = numpy.cumsum([len(vectors) for vectors in scores]).tolist()
        return loss, [
            d_flat[end - len(vectors) : end] for end, vectors in zip(ends, scores, strict=True)
        ]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        kb_loader: Optional[Callable[[Vocab], FaissKnowledgeBase]] = None,
    ) -> None:
        """Take the knowledge base and set the size of the model.

        nlp: the pipeline; its meta comes to name this package and faiss among the requirements.
        kb_loader: makes the knowledge base, see ``load_knowledge_base``; without it the component
            keeps the one it has.

        Warns where links of the examples name concepts that the knowledge base lacks. Raises
        ValueError where there is no knowledge base.
        """
        validate_get_examples(get_examples, "FaissEntityLinker.initialize")
        if kb_loader is not None:
            self.set_kb(kb_loader)
        kb = self.require_kb()
        if not self.model.has_dim("nO"):
            self.model.set_dim("nO", kb.context_dims)
        sample = list(islice(get_examples(), 10))
        self.model.initialize(
            X=(
                [eg.predicted for eg in sample],
                [_table(gold_mentions(eg, self.key)) for eg in sample],
            )
        )
        self._warn_of_unknown_concepts(get_examples())
        if nlp is not None:
            add_requirement(nlp.meta)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predicted links, and the candidates of gold mentions beside them.

        Adds ``nel_gold_acc1``, ``nel_gold_acc5`` and ``nel_gold_mrr``, over all gold mentions with
        a link, and with ``_unseen`` over those whose concept no training mention has (in
        the knowledge base). They are left out where the documents no longer carry the output of
        the shared encoder and ``context_weight`` is not 0.
        """
        from ..scoring.links import score_candidates

        examples = list(examples)
        figures = dict(super().score(examples, **kwargs))
        kb = self.require_kb()
        if self.cfg["context_weight"] and not self._has_encoder_output(examples):
            return figures
        mentions = [gold_mentions(eg, self.key) for eg in examples]
        candidates = self.link([eg.predicted for eg in examples], mentions)
        pairs = [
            (mention.kb_id, found)
            for row, results in zip(mentions, candidates, strict=True)
            for mention, found in zip(row, results, strict=True)
            if mention.kb_id
        ]
        unseen = [pair for pair in pairs if not kb.training_mentions(pair[0])]
        figures.update(score_candidates(*_columns(pairs), prefix="nel_gold"))
        figures.update(score_candidates(*_columns(unseen), prefix="nel_gold_unseen"))
        return figures

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Settings, model and knowledge base as bytes."""
        self._validate_serialization_attrs()
        serialize: Dict[str, Callable[[], bytes]] = {
            "cfg": lambda: srsly.json_dumps(self.cfg).encode("utf8"),
            "vocab": lambda: self.vocab.to_bytes(exclude=tuple(exclude)),
            "model": self.model.to_bytes,
        }
        if self.kb is not None:
            serialize["kb"] = self.kb.to_bytes
        return util.to_bytes(serialize, exclude)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "FaissEntityLinker":
        """Load what ``to_bytes`` gave."""
        self._validate_serialization_attrs()
        util.from_bytes(
            bytes_data,
            {
                "cfg": lambda data: self.cfg.update(srsly.json_loads(data)),
                "vocab": lambda data: self.vocab.from_bytes(data, exclude=tuple(exclude)),
                "model": self.model.from_bytes,
                "kb": lambda data: self._take_kb(FaissKnowledgeBase(self.vocab).from_bytes(data)),
            },
            exclude,
        )
        return self

    def to_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> None:
        """Save settings, model and knowledge base; its name encoder lies inside it, once."""
        self._validate_serialization_attrs()
        serialize: Dict[str, Callable[[Path], None]] = {
            "cfg": lambda p: srsly.write_json(p, self.cfg),
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
            "model": lambda p: self.model.to_disk(p),
        }
        kb = self.kb
        if kb is not None:
            serialize["kb"] = lambda p: kb.to_disk(p)
        util.to_disk(path, serialize, exclude)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "FaissEntityLinker":
        """Load what ``to_disk`` wrote; tables and index of the knowledge base are memory-mapped."""
        self._validate_serialization_attrs()
        deserialize: Dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: self.cfg.update(srsly.read_json(p)),
            "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),
            "model": lambda p: self.model.from_bytes(p.read_bytes()),
            "kb": self._load_kb,
        }
        util.from_disk(path, deserialize, exclude)
        return self

    def add_label(self, label: str) -> int:
        """A linker has no labels of its own."""
        raise NotImplementedError(
            f"Component '{self.name}' has no labels: it links mentions of any label."
        )

    def _choose(self, candidates: Candidates) -> str:
        if candidates and candidates[0][1] >= self.cfg["threshold"]:
            return candidates[0][0]
        return ""

    def _find(self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]) -> CandidatePairs:
        names = [
            normalise_name(text)
            for doc, row in zip(docs, mentions, strict=True)
            for text in mention_texts(doc, row)
        ]
        labels = [mention.label for row in mentions for mention in row]
        return find_candidates(self.require_kb(), names, labels, self.settings)

    def _context(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]], pairs: CandidatePairs
    ) -> numpy.ndarray:
        """The cosine of mention and concept for each pair."""
        from ..models.listener import require_encoder_output

        if not len(pairs.mentions):
            return numpy.zeros((0,), dtype="float64")
        require_encoder_output(self.model, docs, self.name)
        vectors = self.model.predict((docs, [_table(row) for row in mentions]))
        flat: Floats2d = self.model.ops.xp.concatenate(vectors)
        concepts, place = numpy.unique(pairs.concepts, return_inverse=True)
        return cosines_of_pairs(
            self.model.ops.to_numpy(flat),
            self.require_kb().concept_vectors(concepts),
            pairs.mentions,
            place,
        )

    def _take_kb(self, kb: Any) -> None:
        if not isinstance(kb, FaissKnowledgeBase):
            raise ValueError(
                f"Component '{self.name}': expected a FaissKnowledgeBase, got {type(kb).__name__}."
            )
        if self.model.has_dim("nO") and self.model.get_dim("nO") != kb.context_dims:
            raise ValueError(
                f"Component '{self.name}': the mention encoder projects to "
                f"{self.model.get_dim('nO')} dimensions, the name vectors of this knowledge base "
                f"have {kb.context_dims}. Expected a knowledge base made with the same name "
                "encoder, or a component that is initialized anew."
            )
        kb.device = self.device
        self.kb = kb

    def _load_kb(self, path: Path) -> None:
        # A component that was saved before it had a knowledge base has no such folder
        if path.exists():
            self._take_kb(FaissKnowledgeBase(self.vocab).from_disk(path))

    def _has_encoder_output(self, examples: Sequence[Example]) -> bool:
        from ..models.listener import require_encoder_output

        try:
            require_encoder_output(self.model, [eg.predicted for eg in examples], self.name)
        except ValueError:
            return False
        return True

    def _warn_of_unknown_concepts(self, examples: Iterable[Example]) -> None:
        kb = self.require_kb()
        links = [
            mention.kb_id
            for eg in examples
            for mention in get_mentions(eg.reference, self.key)
            if mention.kb_id
        ]
        unknown = [concept_id for concept_id in links if concept_id not in kb]
        if unknown:
            warnings.warn(
                f"Component '{self.name}': {len(unknown)} of {len(links)} links of the training "
                f"mentions name concepts that the knowledge base lacks, for example "
                f"'{unknown[0]}'. Nothing is learned from these.",
                stacklevel=2,
            )


def _table(mentions: Sequence[Mention]) -> MentionTable:
    return mention_table(mentions, {})


def _columns(pairs: Sequence[Tuple[str, Candidates]]) -> Tuple[List[str], List[Candidates]]:
    return [gold for gold, _ in pairs], [found for _, found in pairs]
