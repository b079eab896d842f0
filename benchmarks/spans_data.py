"""Documents of ``spans.py``: what is learned from, what checkpoints are chosen on, what is scored.

GutBrainIE: platinum, gold and silver without the documents of
``assets/splits/gutbrainie_held_out.txt``, these, and dev; or, as one of several folds, a part of
platinum and gold in the place of dev. BioNNE-L: training documents without one in ten, these, and
dev. Mentions that do not overlap are written to ``doc.ents`` too, the longest first, which the
component ``ner`` learns from.
"""

import json
import random
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import spacy
from results import describe_files
from spacy.tokens import Doc, Span
from spacy.util import filter_spans

from spacy_bioie.annotation import META_KEY, get_mentions, get_tier, set_tier
from spacy_bioie.formats.articles import article_to_doc
from spacy_bioie.formats.bionne import read_bionne
from spacy_bioie.formats.docbin import write_docbin
from spacy_bioie.formats.gutbrainie import read_articles
from spacy_bioie.tokenization import EnglishTokenizer_v1

CORPORA = ("gutbrainie", "bionne_en")
TIERS = ("platinum", "gold", "silver")
BEST_TIERS = ("platinum", "gold", "")
ANNOTATIONS = "gutbrainie/Annotations"
BIONNE = "bionne_l/en/bionnel_en_{0}.tsv"
HELD_OUT = Path(__file__).resolve().parents[1] / "assets" / "splits" / "gutbrainie_held_out.txt"
SEED = 0


class Part(NamedTuple):
    """Which documents: at most so many are learned from; the fold that is scored, from 1, or 0
    for dev."""

    corpus: str = "gutbrainie"
    documents: Optional[int] = None
    fold: int = 0
    folds: int = 0

    @property
    def name(self) -> str:
        size = "" if self.documents is None else f"_{self.documents}docs"
        return self.corpus + size + (f"_fold{self.fold}of{self.folds}" if self.fold else "")


class Files(NamedTuple):
    """The files of a part; ``best`` is ``train`` without silver documents."""

    train: Path
    best: Path
    held_out: Path
    test: Path
    sources: Dict[str, Dict[str, Any]]
    documents: Dict[str, int]


def prepare(data: Path, work: Path, part: Part) -> Files:
    """Write the files of a part, unless they are there already, made of the same sources."""
    folder = work / "corpora" / part.name
    done = folder / "done.json"
    sources = describe_files(source_files(data, part.corpus))
    found = json.loads(done.read_text("utf8")) if done.is_file() else {}
    if found.get("sources") != sources:
        train, test = read(data, part.corpus)
        splits = split(train, test, part)
        for name, docs in splits.items():
            write_docbin(docs, folder / f"{name}.spacy")
        found = {"sources": sources, "documents": {k: len(docs) for k, docs in splits.items()}}
        done.write_text(json.dumps(found), encoding="utf8")
    paths = [folder / f"{name}.spacy" for name in ("train", "best", "held_out", "test")]
    return Files(*paths, sources, found["documents"])


def source_files(data: Path, corpus: str) -> List[Path]:
    if corpus == "bionne_en":
        return [data / BIONNE.format(name) for name in ("train", "dev")]
    train = "Train/{0}_quality/json_format/train_{0}.json"
    names = [*(train.format(tier) for tier in TIERS), "Dev/json_format/dev.json"]
    return [data / ANNOTATIONS / name for name in names]


def read(data: Path, corpus: str) -> Tuple[List[Doc], List[Doc]]:
    """The training documents and those of dev, in the order of their files."""
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    paths = source_files(data, corpus)
    if corpus == "bionne_en":
        groups = [list(read_bionne(path, nlp)) for path in paths]
    else:
        groups = [[article_to_doc(a, nlp.tokenizer) for a in read_articles(path)] for path in paths]
        for tier, docs in zip(TIERS, groups, strict=False):
            for doc in docs:
                set_tier(doc, tier)
    for docs in groups:
        for doc in docs:
            doc.ents = flat_entities(doc)
    return [doc for docs in groups[:-1] for doc in docs], groups[-1]


def flat_entities(doc: Doc) -> List[Span]:
    """Mentions that do not overlap, the longest first, without white space at their borders."""
    spans = []
    for mention in get_mentions(doc):
        start, end = mention.start, mention.end
        while start < end and doc[start].is_space:
            start += 1
        while start < end and doc[end - 1].is_space:
            end -= 1
        if start < end:
            spans.append(Span(doc, start, end, label=mention.label))
    return filter_spans(spans)


def split(train: Sequence[Doc], test: Sequence[Doc], part: Part) -> Dict[str, List[Doc]]:
    """Documents to learn from, without silver ones ("best"), to choose checkpoints and to score."""
    if part.corpus == "bionne_en":
        ids = {identifier(doc) for doc in shuffled(train)[: max(1, len(train) // 10)]}
    else:
        ids = set(HELD_OUT.read_text("utf8").split())
    held_out = [doc for doc in train if identifier(doc) in ids]
    if not held_out:
        raise ValueError(f"None of the documents of {HELD_OUT.name} is among the training ones.")
    rest = [doc for doc in train if identifier(doc) not in ids]
    if part.fold:
        best = shuffled([doc for doc in rest if get_tier(doc) in BEST_TIERS])
        test = best[part.fold - 1 :: part.folds]
        taken = {identifier(doc) for doc in test}
        rest = [doc for doc in rest if identifier(doc) not in taken]
    rest = cut_documents(rest, part.documents)
    best = [doc for doc in rest if get_tier(doc) in BEST_TIERS]
    return {"train": rest, "best": best, "held_out": held_out, "test": list(test)}


def cut_documents(docs: Sequence[Doc], n: Optional[int]) -> List[Doc]:
    """Draw ``n`` documents: of platinum and gold alike, and of silver what is then missing."""
    if n is None or n >= len(docs):
        return list(docs)
    kept: List[Doc] = []
    for best in (True, False):
        group = [doc for doc in docs if (get_tier(doc) in BEST_TIERS) == best]
        group = sorted(shuffled(group), key=get_tier)
        room = min(n - len(kept), len(group))
        # evenly over the sorted tiers, so that each has its share
        kept += [group[int((i + 0.5) * len(group) / room)] for i in range(room)]
    chosen = {identifier(doc) for doc in kept}
    return [doc for doc in docs if identifier(doc) in chosen]


def shuffled(docs: Sequence[Doc]) -> List[Doc]:
    return random.Random(SEED).sample(list(docs), len(docs))


def identifier(doc: Doc) -> str:
    return str(doc.user_data[META_KEY]["id"])
