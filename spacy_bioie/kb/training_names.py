"""Names that training mentions give to concepts."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Counter as CounterType
from typing import Dict, Iterable, List, Tuple, Union

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from ..annotation import SPANS_KEY, concept_ids, get_mentions, mention_texts
from .concepts import Concept
from .normalisation import normalise_name


@dataclass
class TrainingNames:
    """What training mentions say about names.

    counts: (normalised name, label, concept id) -> mentions. texts: concept id -> the mentions as
    written, with their counts. unlinked: mentions without a concept id, which say nothing.
    """

    counts: CounterType[Tuple[str, str, str]] = field(default_factory=Counter)
    texts: Dict[str, CounterType[str]] = field(default_factory=dict)
    unlinked: int = 0

    def add(self, text: str, label: str, concept_id: str) -> None:
        """Count one mention; of several concepts ("C1|C2") it is a name of each."""
        name = normalise_name(text)
        ids = concept_ids(concept_id) if name else []
        self.unlinked += not ids
        for each in ids:
            self.counts[(name, label, each)] += 1
            self.texts.setdefault(each, Counter())[text] += 1

    def add_docs(self, docs: Iterable[Doc], spans_key: str = SPANS_KEY) -> None:
        """Count the mentions of Docs."""
        for doc in docs:
            mentions = get_mentions(doc, spans_key)
            for text, mention in zip(mention_texts(doc, mentions), mentions, strict=True):
                self.add(text, mention.label, mention.kb_id)

    def new_concepts(self, known: Iterable[str]) -> List[Concept]:
        """Concepts for the ids that are not known; their name is the mention text used most."""
        known = set(known)
        return [
            Concept(concept_id, name=min(texts, key=lambda text: (-texts[text], text)))
            for concept_id, texts in sorted(self.texts.items())
            if concept_id not in known
        ]


def read_training_names(
    paths: Iterable[Union[str, Path]], spans_key: str = SPANS_KEY
) -> TrainingNames:
    """Read the mentions of ``.spacy`` files (DocBins).

    Raises FileNotFoundError and ValueError that name the file where it is absent or no DocBin, and
    ValueError where no Doc of a file has the group ``doc.spans[spans_key]``.
    """
    names = TrainingNames()
    for path in paths:
        names.add_docs(read_mention_docs(path, spans_key), spans_key)
    return names


def read_mention_docs(path: Union[str, Path], spans_key: str = SPANS_KEY) -> List[Doc]:
    """Read the Docs of a ``.spacy`` file; errors are those of ``read_training_names``."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"No such corpus of mentions: '{path}'.")
    try:
        docs = list(DocBin().from_disk(path).get_docs(Vocab()))
    except Exception as error:  # zlib, msgpack and spaCy raise errors of their own kinds
        raise ValueError(f"'{path}': expected a DocBin (.spacy), but {error}") from error
    if docs and not any(spans_key in doc.spans for doc in docs):
        keys = sorted({key for doc in docs for key in doc.spans})
        raise ValueError(
            f"'{path}': no Doc has the span group '{spans_key}'. Groups there: {keys}."
        )
    return docs
