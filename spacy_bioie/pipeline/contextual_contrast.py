"""Learning mention vectors against names: the recipe of LYX_DMIIP_FDU at BioNNE-L 2025."""

from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from ..annotation import Mention, gold_mentions
from ..kb.context_search import context_name_vectors, search_names
from ..kb.tables import KnowledgeTables
from ..models.contrastive import contrast_of_rows
from ..models.mention_encoder import MentionVectors, split_rows
from .linker_context import mention_vectors
from .linker_training import concept_targets
from .linking_objectives import GetExamples, LinkingObjective, imitate_names

if TYPE_CHECKING:
    from .faiss_entity_linker import FaissEntityLinker

MINING = ("epoch", "batch")
BATCH = 32  # documents that are read together when names are mined
ROUNDS = 32  # of drawing names at random; some of them are names of the concept
Key = Tuple[str, int, int]  # the text of a document, and the tokens of a mention


class ContextualContrast:
    """First the vectors of names without context are learned, then contrasts between names.

    In the warm-up the vector of a mention in its context comes near to the vector that the frozen
    name encoder gives its text alone (``squared_distance``). Then InfoNCE sets one name of its
    concept against ``n_negatives`` names of others (``choose_names``), chosen among the names
    nearest to the vector of the mention. These are mined by a search with all training mentions
    at the start of each epoch, or with the mentions of the batch.

    An epoch is over when as many documents with mentions have passed as there are in the training
    examples. A component that trains on without ``initialize`` has no warm-up, and mines by batch.
    """

    def __init__(self, warmup_epochs: int, n_search: int, mine: str):
        if mine not in MINING:
            raise ValueError(
                f"spacy_bioie.ContextualContrast.v1: mine is '{mine}', expected one of "
                f"{list(MINING)}."
            )
        for setting, value, least in (
            ("warmup_epochs", warmup_epochs, 0),
            ("n_search", n_search, 1),
        ):
            if value < least:
                raise ValueError(
                    f"spacy_bioie.ContextualContrast.v1: {setting} is {value}, expected {least} or "
                    "more."
                )
        self.warmup_epochs = warmup_epochs
        self.n_search = n_search
        self.mine = mine
        self._get_examples: Optional[GetExamples] = None
        self._epoch = self._size = self._seen = 0
        self._mined: Dict[Key, numpy.ndarray] = {}

    def start(self, linker: "FaissEntityLinker", get_examples: GetExamples) -> None:
        self._mined = {}
        self._size = sum(bool(gold_mentions(eg, linker.key)) for eg in get_examples())
        self._get_examples = get_examples if self._size else None
        self._epoch, self._seen = -1, self._size  # the first batch begins epoch 0

    def loss(
        self, linker: "FaissEntityLinker", examples: Sequence[Example], vectors: MentionVectors
    ) -> Tuple[float, MentionVectors]:
        docs = [eg.predicted for eg in examples]
        mentions = [gold_mentions(eg, linker.key) for eg in examples]
        ops: Any = linker.model.ops
        xp = ops.xp
        flat = xp.concatenate(vectors)
        d_flat = xp.zeros_like(flat)
        loss = 0.0
        if len(flat):
            warm = self._enter(linker, sum(map(bool, mentions)))
            if warm:
                loss, learned, d_learned = imitate_names(linker, docs, mentions, flat)
            else:
                loss, learned, d_learned = self._contrast(linker, docs, mentions, flat)
            d_flat[ops.asarray1i(learned)] = d_learned
        return loss, split_rows(ops, d_flat, [len(rows) for rows in vectors])

    def _enter(self, linker: "FaissEntityLinker", n_docs: int) -> bool:
        """Count the documents of a batch, and begin an epoch. RETURNS: whether it is warm-up."""
        if self._get_examples is None:
            return False
        if self._seen >= self._size:
            self._epoch += 1
            self._seen = 0
            if self.mine == "epoch" and self._epoch >= self.warmup_epochs:
                self._mined = self._search(linker, self._get_examples)
        self._seen += n_docs
        return self._epoch < self.warmup_epochs

    def _contrast(
        self,
        linker: "FaissEntityLinker",
        docs: Sequence[Doc],
        mentions: Sequence[Sequence[Mention]],
        flat: Any,
    ) -> Tuple[float, numpy.ndarray, Any]:
        kb, cfg = linker.require_kb(), linker.cfg
        ops: Any = linker.model.ops
        concepts = concept_targets(kb, mentions)
        named = numpy.diff(kb.tables.concept_names.offsets) > 0
        learned = numpy.flatnonzero((concepts >= 0) & numpy.append(named, False)[concepts])
        if not len(learned):
            return 0.0, learned, flat[:0]
        chosen = ops.asarray1i(learned)
        keys = _keys(docs, mentions)
        hits = self._hits(linker, [keys[i] for i in learned], ops.to_numpy(flat[chosen]))
        rows = choose_names(kb.tables, hits, concepts[learned], cfg["n_negatives"])
        targets = context_name_vectors(kb, rows.clip(0).ravel()).reshape((*rows.shape, -1))
        known = ops.xp.asarray(rows >= 0)
        loss, gradient = contrast_of_rows(
            flat[chosen], ops.asarray3f(targets), known, cfg["temperature"]
        )
        return loss, learned, gradient

    def _hits(
        self, linker: "FaissEntityLinker", keys: Sequence[Key], vectors: numpy.ndarray
    ) -> numpy.ndarray:
        """The names nearest to mentions: as mined for the epoch, else those of their vectors."""
        missing = [i for i, key in enumerate(keys) if key not in self._mined]
        _, found = search_names(linker.require_kb(), vectors[missing], self.n_search)
        rows = dict(zip(missing, found, strict=True))
        return numpy.stack([rows[i] if i in rows else self._mined[k] for i, k in enumerate(keys)])

    def _search(
        self, linker: "FaissEntityLinker", get_examples: GetExamples
    ) -> Dict[Key, numpy.ndarray]:
        """The names nearest to each training mention, with the weights as they are now."""
        mined: Dict[Key, numpy.ndarray] = {}
        for batch in minibatch(get_examples(), BATCH):
            docs = [eg.predicted for eg in batch]
            mentions = [gold_mentions(eg, linker.key) for eg in batch]
            if not any(mentions):
                continue
            try:
                vectors = mention_vectors(linker.model, docs, mentions, linker.name)
            except ValueError as error:
                raise ValueError(
                    f"Component '{linker.name}': names cannot be mined for an epoch at once, since "
                    "the training documents are read anew. Expected mine = 'batch' in "
                    "spacy_bioie.ContextualContrast.v1, or a model with an encoder of its own. "
                    f"({error})"
                ) from error
            _, rows = search_names(linker.require_kb(), vectors, self.n_search)
            mined.update(zip(_keys(docs, mentions), rows, strict=True))
        return mined

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_get_examples": None, "_mined": {}}


def ContextualContrast_v1(
    warmup_epochs: int = 1, n_search: int = 20, mine: Literal["epoch", "batch"] = "epoch"
) -> LinkingObjective:
    """Create the objective ``spacy_bioie.ContextualContrast.v1``, see ``ContextualContrast``.

    The linker's ``n_negatives`` and ``temperature`` are the number of wrong names for each
    mention, and what cosines are divided by.

    warmup_epochs: in which names without context are imitated.
    n_search: so many nearest names are searched for the choice.
    mine: names are searched by all training mentions at the start of each "epoch", which takes one
        more pass over the corpus, or by the mentions of each "batch", as a model with a shared
        encoder needs it.

    Raises ValueError where a setting is out of its range.
    """
    return ContextualContrast(warmup_epochs, n_search, mine)


def choose_names(
    tables: KnowledgeTables, hits: numpy.ndarray, concepts: numpy.ndarray, n_negatives: int
) -> numpy.ndarray:
    """Choose for each mention a name of its concept and names of other concepts.

    The right name is the last of those found: the one that is hardest to reach; a random name of
    the concept where none was found. The wrong ones are the first that were found, filled up with
    random ones.

    hits: int64, (mentions, k): rows of the names found, best first, -1 where there are no more.
    concepts: int64, (mentions,): rows of concepts, each with a name.
    RETURNS: int64, (mentions, 1 + n_negatives): rows of names, the right one first; -1 where (all
        but) no name of another concept is left.
    """
    n, k = hits.shape
    right = _names_concept(tables, hits.ravel(), numpy.repeat(concepts, k)).reshape((n, k))
    out = numpy.full((n, 1 + n_negatives), -1, dtype="int64")
    names = tables.concept_names
    starts, ends = names.offsets[concepts], names.offsets[concepts + 1]
    drawn = starts + (numpy.random.random(n) * (ends - starts)).astype("int64")
    last = k - 1 - right[:, ::-1].argmax(axis=1)
    out[:, 0] = numpy.where(
        right.any(axis=1), hits[numpy.arange(n), last], names.values[drawn].astype("int64")
    )
    wrong = (hits >= 0) & ~right
    rank = wrong.cumsum(axis=1)
    row, column = numpy.nonzero(wrong & (rank <= n_negatives))
    out[row, rank[row, column]] = hits[row, column]
    for _ in range(ROUNDS):
        row, column = numpy.nonzero(out < 0)
        if not len(row):
            break
        random = numpy.random.randint(len(tables.names), size=len(row))
        other = ~_names_concept(tables, random, concepts[row])
        out[row[other], column[other]] = random[other]
    return out


def _names_concept(
    tables: KnowledgeTables, names: numpy.ndarray, concepts: numpy.ndarray
) -> numpy.ndarray:
    """Whether names, rows or -1, are names of these concepts: bool, of the same shape (n,)."""
    filled = numpy.flatnonzero(names >= 0)
    which, positions = tables.name_concepts.positions(names[filled])
    same = tables.name_concepts.values[positions] == concepts[filled][which]
    out = numpy.zeros((len(names),), dtype="bool")
    out[filled[which[same]]] = True
    return out


def _keys(docs: Sequence[Doc], mentions: Sequence[Sequence[Mention]]) -> List[Key]:
    texts = [doc.text for doc in docs]
    return [
        (text, mention.start, mention.end)
        for text, row in zip(texts, mentions, strict=True)
        for mention in row
    ]
