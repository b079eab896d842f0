"""The documents of ``relations.py``: training, held out for thresholds, dev, and inputs of dev.

GutBrainIE: platinum, gold and silver documents with at most 60 relations, less those of
assets/splits/gutbrainie_held_out.txt. BC5CDR and BioRED state relations between concepts; all
pairs of their mentions hold them, and every tenth training document is held out.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import spacy
from gutbrainie_data import DEV, ENTITIES, TRAIN, dev_with_found_entities
from spacy.language import Language
from spacy.tokens import Doc

from spacy_bioie.annotation import (
    META_KEY,
    SPANS_KEY,
    get_mentions,
    get_relation_rows,
    set_mentions,
)
from spacy_bioie.annotation.gutbrainie import LABELS, PREDICATES
from spacy_bioie.formats import convert, read_docbin, read_ids, write_docbin
from spacy_bioie.formats.convert import blank_tokenizer
from spacy_bioie.training.saved_pipeline import folder_to_replace

REPOSITORY = Path(__file__).resolve().parent.parent
SPLIT = REPOSITORY / "assets/splits/gutbrainie_held_out.txt"
SCHEMA = REPOSITORY / "assets/schemas/gutbrainie.json"
TIERS = ("platinum", "gold", "silver")
MOST_RELATIONS = 60  # a document with more is annotated with whatever could be related
EVERY = 10


class Source(NamedTuple):
    """A corpus with relations between concepts: its files, and predicates without an order."""

    train: str
    dev: str
    symmetric: Tuple[str, ...] = ()


STATED = {
    "bc5cdr": Source("bc5cdr/CDR_train.PubTator.txt", "bc5cdr/CDR_dev.PubTator.txt"),
    "biored": Source("biored/Train.PubTator", "biored/Dev.PubTator", ("*",)),
}
CORPORA = ("gutbrainie", *STATED)


class Corpus(NamedTuple):
    """Files of DocBins in a folder, and what was read for them."""

    name: str
    folder: Path
    sources: List[Path]
    symmetric: Tuple[str, ...] = ()

    @property
    def levels(self) -> Tuple[str, ...]:
        """What relations are scored as, see ``RelationFinder.tune_thresholds``."""
        return ("c",) if self.name in STATED else ("bt", "tt", "tm")

    @property
    def target(self) -> str:
        """The level that thresholds are chosen for."""
        return self.levels[-1]

    def path(self, part: str) -> Path:
        """The file of "train", "held_out", "dev", "found" or "check" (one document)."""
        return self.folder / f"{part}.spacy"

    def docs(self, part: str, nlp: Language) -> List[Doc]:
        return list(read_docbin(self.path(part), nlp.vocab))

    def counts(self) -> Dict[str, int]:
        """The number of documents of each part."""
        return json.loads((self.folder / "counts.json").read_text(encoding="utf8"))

    def schema(self, every_pair: bool = False) -> Optional[Path]:
        """The legal relations; None where they are read off the training documents.

        every_pair: any predicate may stand between any two labels.
        """
        if self.name in STATED:
            if every_pair:
                raise ValueError(f"{self.name} has no schema to do without.")
            return None
        return self.folder / "every_pair.json" if every_pair else SCHEMA

    def inputs(self, nlp: Language, pipeline: Optional[Path]) -> Dict[str, List[Doc]]:
        """Dev with the mentions over which relations are found: by the name of the input.

        pipeline: finds the mentions of "own".
        """
        found = {"gold": self.docs("dev", nlp)}
        if self.path("found").is_file():
            found["gut_instincts"] = self.docs("found", nlp)
        if pipeline is not None:
            found["own"] = own_mentions(pipeline, nlp, found["gold"])
        return found


def prepare(name: str, data: Path, work: Path, documents: int = 0) -> Corpus:
    """Convert a corpus, unless the work folder has it.

    documents: only so many of each part, evenly spread over the training tiers; 0 for all.
    """
    folder = work / "corpus" / (f"{name}_{documents}" if documents else name)
    if name == "gutbrainie":
        files = [TRAIN.format(tier) for tier in TIERS] + [DEV, ENTITIES]
        corpus = Corpus(name, folder, [*(data / file for file in files), SPLIT])
    else:
        source = STATED[name]
        corpus = Corpus(name, folder, [data / source.train, data / source.dev], source.symmetric)
    if not folder.exists():
        with folder_to_replace(folder) as new:
            new.mkdir()
            _, vocab = blank_tokenizer()
            write = _write_gutbrainie if name == "gutbrainie" else _write_stated
            parts = write(corpus, data, new, vocab)
            parts = {part: _spread(docs, documents) for part, docs in parts.items()}
            parts["check"] = [doc for doc in parts["held_out"] if get_relation_rows(doc)][:1]
            for part, docs in parts.items():
                write_docbin(docs, new / f"{part}.spacy")
            counts = {part: len(docs) for part, docs in parts.items()}
            (new / "counts.json").write_text(json.dumps(counts), encoding="utf8")
    return corpus


def identifier(doc: Doc) -> str:
    return str(doc.user_data[META_KEY]["id"])


def own_mentions(pipeline: Path, nlp: Language, docs: Sequence[Doc]) -> List[Doc]:
    """Documents with the mentions that a trained pipeline finds."""
    finder = spacy.load(pipeline, exclude=["faiss_entity_linker", "relation_extractor"])
    found = []
    for doc, other in zip(docs, finder.pipe(doc.text for doc in docs), strict=True):
        fresh = nlp.make_doc(doc.text)
        fresh.user_data.update(doc.user_data)
        set_mentions(fresh, SPANS_KEY, get_mentions(other, SPANS_KEY))
        found.append(fresh)
    return found


def _write_gutbrainie(corpus: Corpus, data: Path, folder: Path, vocab: Any) -> Dict[str, List[Doc]]:
    docs: List[Doc] = []
    for tier in TIERS:
        path = folder / f"{tier}.spacy"
        convert(data / TRAIN.format(tier), path, tier=tier)
        docs += read_docbin(path, vocab)
        path.unlink()
    articles = folder / "found.json"
    text = json.dumps(dev_with_found_entities(data), ensure_ascii=False)
    articles.write_text(text, encoding="utf8")
    convert(articles, folder / "found.spacy")
    convert(data / DEV, folder / "dev.spacy")
    triples = [[head, name, tail] for head in LABELS for name in PREDICATES for tail in LABELS]
    every = {"labels": list(LABELS), "predicates": list(PREDICATES), "triples": triples}
    (folder / "every_pair.json").write_text(json.dumps(every), encoding="utf8")
    held_out = set(read_ids(SPLIT))
    return {
        "train": [
            doc
            for doc in docs
            if identifier(doc) not in held_out and len(get_relation_rows(doc)) <= MOST_RELATIONS
        ],
        "held_out": [doc for doc in docs if identifier(doc) in held_out],
        **{part: list(read_docbin(folder / f"{part}.spacy", vocab)) for part in ("dev", "found")},
    }


def _write_stated(corpus: Corpus, data: Path, folder: Path, vocab: Any) -> Dict[str, List[Doc]]:
    parts = []
    for path in corpus.sources:
        out = folder / f"{path.name}.spacy"
        convert(path, out, concept_pairs="all", symmetric=corpus.symmetric)
        parts.append(list(read_docbin(out, vocab)))
        out.unlink()
    train, dev = parts
    held_out = train[EVERY - 1 :: EVERY]
    chosen = set(map(identifier, held_out))
    train = [doc for doc in train if identifier(doc) not in chosen]
    return {"train": train, "held_out": held_out, "dev": dev}


def _spread(docs: List[Doc], n: int) -> List[Doc]:
    return docs[:: max(len(docs) // n, 1)][:n] if n else docs
