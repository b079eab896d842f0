"""The component ``faiss_entity_linker``: says which concept of a knowledge base a mention names."""

import warnings
from dataclasses import replace
from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Literal, Optional, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model

from ..annotation import (
    SPANS_KEY,
    Candidates,
    Mention,
    MentionTable,
    get_mentions,
    gold_mentions,
    mention_table,
)
from ..kb.faiss_backend import add_requirement
from ..kb.index import check_device
from ..kb.knowledge_base import FaissKnowledgeBase
from ..kb.linking import CandidatePairs, LinkingSettings, rank_candidates, score_pairs
from ..models.candidate_reranker import Reranker, is_fitted
from ..models.mention_encoder import MentionInput, MentionVectors
from .link_annotation import set_links
from .linker_candidates import find_mention_candidates, same_text_groups, share_scores
from .linker_context import context_cosines, search_by_projection, search_in_context
from .linker_evaluation import score_gold_mentions
from .linker_reranking import (
    MIN_MENTIONS,
    after_rules,
    candidate_rows,
    fit_linker_reranker,
    insert_no_link,
    rerank,
)
from .linker_settings import check_settings
from .linker_storage import KnowledgeBasePipe
from .linker_training import warn_of_unknown_concepts
from .linking_objectives import ConceptContrast, LinkingObjective
from .trained_head import hash_embed_cnn

DEFAULT_LINKER_MODEL = {
    "@architectures": "spacy_bioie.MentionEncoder.v1",
    "hidden_width": 256,
    "tok2vec": hash_embed_cnn(2),
}


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
        "search_by": "name",
        "context_weight": 0.1,
        "prior_weight": 0.01,
        "label_weight": 0.1,
        "label_types": {},
        "expand_abbreviations": True,
        "coherence": False,
        "coherence_margin": 0.02,
        "n_negatives": 10,
        "temperature": 0.05,
        "learning": {"@misc": "spacy_bioie.ConceptContrast.v1"},
        "reranker": {"@architectures": "spacy_bioie.CandidateReranker.v1"},
        "no_link": False,
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
    search_by: Literal["name", "projection", "context"],
    context_weight: float,
    prior_weight: float,
    label_weight: float,
    label_types: Dict[str, List[str]],
    expand_abbreviations: bool,
    coherence: bool,
    coherence_margin: float,
    n_negatives: int,
    temperature: float,
    learning: LinkingObjective,
    reranker: Optional[Reranker],
    no_link: bool,
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
        search_by=search_by,
        context_weight=context_weight,
        prior_weight=prior_weight,
        label_weight=label_weight,
        label_types=label_types,
        expand_abbreviations=expand_abbreviations,
        coherence=coherence,
        coherence_margin=coherence_margin,
        n_negatives=n_negatives,
        temperature=temperature,
        learning=learning,
        reranker=reranker,
        no_link=no_link,
        loss_weight=loss_weight,
        device=device,
        scorer=scorer,
    )


class FaissEntityLinker(KnowledgeBasePipe):
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
        search_by: str = "name",
        context_weight: float = 0.1,
        prior_weight: float = 0.01,
        label_weight: float = 0.1,
        label_types: Optional[Dict[str, List[str]]] = None,
        expand_abbreviations: bool = True,
        coherence: bool = False,
        coherence_margin: float = 0.02,
        n_negatives: int = 10,
        temperature: float = 0.05,
        learning: Optional[LinkingObjective] = None,
        reranker: Optional[Reranker] = None,
        no_link: bool = False,
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
        search_by: what names are searched with. "name": spelling and meaning of the mention's own
            name, which takes a pass of the name encoder for a new one. "projection": its spelling,
            and the model's vector instead of that pass; the model has to learn it, see
            ``NameProjection``, and the reranker, fitted to names, knows it less well. "context":
            the model's vector alone, whose cosine with a name then is their similarity. Equal
            names are found, too.
        context_weight: of the cosine between mention and concept. With 0 the model is not asked
            (but where it searches), and does not learn from concepts.
        prior_weight, label_weight: see ``LinkingSettings``.
        label_types: for an entity label the types or ids of the concepts that its mentions may
            name, as patterns, see ``keep_types``; other labels allow all.
        expand_abbreviations: names are looked up with the short forms in them written out, too,
            where the component ``abbreviations`` has found what these stand for. See
            ``kb.linking.merge_mentions``.
        coherence: mentions of one document with the same normalised text and label get one
            concept, or none, unless their contexts disagree. Nothing but the context tells them
            apart, so that it does nothing where neither model nor reranker reads that.
        coherence_margin: a mention whose own best candidate beats the shared one by more than
            this keeps it, see ``share_scores``.
        n_negatives: in training, so many wrong candidates of a mention are set against its concept.
        temperature: cosines are divided by it before the softmax of the loss.
        learning: what the model learns; ``ConceptContrast`` by default.
        reranker: scores the candidates anew, see ``CandidateReranker_v1`` and
            ``CandidateCrossEncoder_v1``; it is fitted where the component is initialized with
            enough links (``fit_linker_reranker``). Scores then are probabilities; the scores of
            ``score_pairs``, with their weights, order equal ones and say which candidates a
            cross-encoder reads. They are all there is without a reranker, and where ``search_by``
            is "context".
        no_link: mentions whose most probable choice, by the reranker, is none get no link. That
            choice is a candidate then, with the id "". It needs a reranker, and one that has been
            fitted: ``initialize`` warns where it has not.
        loss_weight: factor on the gradient, to balance components that share an encoder. The
            loss that is reported is without it.
        device: where names are searched: "cpu", "gpu", "gpu_fp16", or "auto", a GPU where there
            is one, see ``NameIndex``.
        scorer: the scoring method, or None.

        All but the last four lie in ``cfg`` and are saved. Raises ValueError for one out of range.
        """
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.learning: LinkingObjective = learning or ConceptContrast()
        self.reranker = reranker
        self.loss_weight = loss_weight
        self.device = check_device(device)
        self.kb: Optional[FaissKnowledgeBase] = None
        cfg = {
            "spans_key": spans_key,
            "top_k": top_k,
            "threshold": threshold,
            "n_search": n_search,
            "search_by": search_by,
            "context_weight": context_weight,
            "prior_weight": prior_weight,
            "label_weight": label_weight,
            "label_types": label_types or {},
            "expand_abbreviations": expand_abbreviations,
            "coherence": coherence,
            "coherence_margin": coherence_margin,
            "n_negatives": n_negatives,
            "temperature": temperature,
            "no_link": no_link,
        }
        check_settings(name, {**cfg, "loss_weight": loss_weight})
        self.cfg: Dict[str, Any] = cfg

    @property
    def settings(self) -> LinkingSettings:
        """How candidates are found and weighed."""
        names = ("n_search", "prior_weight", "label_weight", "context_weight", "label_types")
        return LinkingSettings(**{name: self.cfg[name] for name in names})

    def link(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> List[List[Candidates]]:
        """Find the candidates of any mentions, without modifying the documents.

        mentions: of each document.
        RETURNS: for each mention of each document its best ``top_k`` (concept id, score) pairs,
            best first, those below the threshold included.
        Raises ValueError without a knowledge base, and where the model is asked but the shared
            encoder has left nothing for a document.
        """
        kb = self.require_kb()
        pairs, context = self.find(docs, mentions)
        scores, no_link, ties = score_pairs(kb, pairs, self.settings, context), None, None
        if self.reranker is not None and pairs.details is not None:
            rows, ties = candidate_rows(kb, docs, mentions, pairs, scores), scores
            scale = self.cfg["context_weight"] / self.cfg["temperature"]
            scores, no_link = rerank(self.reranker, rows, context, scale)
        if self.cfg["coherence"]:
            groups = same_text_groups(docs, mentions)
            margin = self.cfg["coherence_margin"]
            scores, no_link = share_scores(pairs, scores, groups, margin, no_link)
        n = sum(map(len, mentions))
        ranked = rank_candidates(kb, pairs, scores, n, self.cfg["top_k"], ties)
        if no_link is not None and self.cfg["no_link"]:
            ranked = insert_no_link(ranked, no_link, self.cfg["top_k"])
        remaining = iter(ranked)
        return [[next(remaining) for _ in row] for row in mentions]

    def find(
        self, docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]
    ) -> Tuple[CandidatePairs, Optional[numpy.ndarray]]:
        """All candidates of mentions, before they are scored.

        RETURNS: the candidates, with details if there is a reranker for them, and the cosine of
        mention and concept for each, where the context counts. Raises as ``link`` does.
        """
        kb, how = self.require_kb(), self.cfg["search_by"]
        expand, context = self.cfg["expand_abbreviations"], None
        settings = replace(self.settings, details=how != "context" and is_fitted(self.reranker))
        if how == "name":
            pairs = find_mention_candidates(kb, docs, mentions, settings, expand=expand)
            if self.cfg["context_weight"]:
                context = context_cosines(self.model, kb, docs, mentions, pairs, self.name)
            return pairs, context
        search = search_in_context if how == "context" else search_by_projection
        return search(self.model, kb, docs, mentions, settings, self.name, expand=expand)

    def predict(self, docs: Iterable[Doc]) -> List[List[Candidates]]:
        """The candidates of the mentions of ``doc.spans[key]``, see ``link``."""
        docs = list(docs)
        return self.link(docs, [get_mentions(doc, self.key) for doc in docs])

    def set_annotations(
        self, docs: Iterable[Doc], predictions: Sequence[Sequence[Candidates]]
    ) -> None:
        """Write ``span.kb_id_`` and the candidates; ids, scores and exact offsets stay."""
        for doc, candidates in zip(docs, predictions, strict=True):
            if self.key in doc.spans:
                set_links(doc, self.key, candidates, self.cfg["threshold"])

    def begin_update(
        self, examples: List[Example]
    ) -> Tuple[List[Example], Any, Callable[[Any], Any]]:
        """Run the model over the gold mentions, see ``TrainedHead``."""
        docs = [eg.predicted for eg in examples]
        tables = [_table(gold_mentions(eg, self.key)) for eg in examples]
        vectors, backprop = self.model.begin_update((docs, tables))
        return examples, vectors, backprop

    def get_loss(
        self, examples: Iterable[Example], scores: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        """The loss of ``learning`` and its gradient. scores: vectors of each gold mention."""
        loss, d_scores = self.learning.loss(self, list(examples), scores)
        return loss, [d_vectors * self.loss_weight for d_vectors in d_scores]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        kb_loader: Optional[Callable[[Vocab], FaissKnowledgeBase]] = None,
    ) -> None:
        """Take the knowledge base, set the size of the model and fit the reranker.

        The reranker learns from the links of all examples; the components before this one that
        are not trained, such as ``abbreviations``, see copies of the documents first.

        nlp: the pipeline; its meta comes to name this package and faiss among the requirements.
        kb_loader: makes the knowledge base, see ``load_knowledge_base``; without it the component
            keeps the one it has.

        Warns where links of the examples name concepts that the knowledge base lacks, and where
        ``no_link`` asks for a reranker that these examples were too few to fit. Raises
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
        warn_of_unknown_concepts(kb, get_examples(), self.key, self.name)
        self.learning.start(self, get_examples)
        if self.reranker is not None and self.cfg["search_by"] != "context":
            fit_linker_reranker(
                self.reranker,
                kb,
                after_rules(get_examples(), nlp, self.name),
                self.key,
                self.settings,
                expand=self.cfg["expand_abbreviations"],
            )
        if self.cfg["no_link"] and not is_fitted(self.reranker):
            warnings.warn(
                f"Component '{self.name}': no_link is true, but there is no reranker that has "
                f"been fitted (that takes {MIN_MENTIONS} mentions whose concept is a candidate): "
                "no mention will go without a link.",
                stacklevel=2,
            )
        if nlp is not None:
            add_requirement(nlp.meta)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score predicted links, and the candidates of gold mentions beside them.

        Adds ``nel_gold_acc1``, ``nel_gold_acc5`` and ``nel_gold_mrr``, over all gold mentions with
        a link, and with ``_unseen`` over those whose concept no training mention has (in
        the knowledge base). They are left out where the documents no longer carry the output of
        the shared encoder while the model is asked.
        """
        from ..models.listener import require_encoder_output

        examples = list(examples)
        figures = super().score(examples, main_id=self.require_kb().main_id, **kwargs)
        if self.cfg["context_weight"] or self.cfg["search_by"] != "name":  # the model is asked
            try:
                require_encoder_output(self.model, [eg.predicted for eg in examples], self.name)
            except ValueError:
                return figures
        return {**figures, **score_gold_mentions(self, examples)}

    def add_label(self, label: str) -> int:
        """A linker has no labels of its own."""
        raise NotImplementedError(
            f"Component '{self.name}' has no labels: it links mentions of any label."
        )


def _table(mentions: Sequence[Mention]) -> MentionTable:
    return mention_table(mentions, {})
