"""Documents of ``spans.py``: what is learned from, what checkpoints are chosen on, what is scored.

GutBrainIE: platinum, gold and silver without the documents of
``assets/splits/gutbrainie_held_out.txt``, these, and dev; or, as one of several folds, a part of
platinum and gold in the place of dev. BioNNE-L: training documents without one in ten, these, and
dev. The corpora in IOB form that AdaBioBERT was measured on, as BioNNE-L; their tokens are those
of the file. Where a file does not say where documents end, ten sentences in succession are one,
which is about an abstract. Mentions that do not overlap are written to ``doc.ents`` too, the
longest first, which the component ``ner`` learns from.
"""

import gzip
import json
import random
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import spacy
from results import describe_files
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import filter_spans

from spacy_bioie.annotation import (
    META_KEY,
    SPANS_KEY,
    get_mentions,
    get_tier,
    set_mentions,
    set_tier,
)
from spacy_bioie.formats.articles import article_to_doc
from spacy_bioie.formats.atomic import replacing
from spacy_bioie.formats.bionne import read_bionne
from spacy_bioie.formats.conll import read_conll
from spacy_bioie.formats.conll_writing import LAYOUT_KEY
from spacy_bioie.formats.docbin import write_docbin
from spacy_bioie.formats.gutbrainie import read_articles
from spacy_bioie.tokenization import EnglishTokenizer_v1

# Of the eight of AdaBioBERT those can be taken whose folder is there
IOB = {
    "anatem": "AnatEM",
    "bc4chemd": "BC4CHEMD",
    "bc5cdr": "BC5CDR",
    "bionlp13ge": "BioNLP13GE",
    "jnlpba": "JNLPBA",
    "linnaeus": "linnaeus",
    "ncbi_disease": "NCBI-disease",
    "species800": "Species800",
}
CORPORA = ("gutbrainie", "bionne_en", *IOB)
TIERS = ("platinum", "gold", "silver")
BEST_TIERS = ("platinum", "gold", "")
ANNOTATIONS = "gutbrainie/Annotations"
BIONNE = "bionne_l/en/bionnel_en_{0}.tsv"
IOB_FILE = "iob/{0}-IOB/{1}.tsv"
SENTENCES = 10  # of a document, where the file does not say
# Vocabularies by the files that hold them; none has names from a corpus
VOCABULARIES = {
    "kb/kb_open_union.jsonl.gz": [
        *("CL", "Cellosaurus", "ChEBI", "GO-CC", "GO", "InterPro"),
        *("MeSH-disease", "NCBITaxon", "Pfam", "PubChem", "Uberon"),
    ],
    "kb/kb_mesh.jsonl.gz": ["MeSH"],
    "kb/kb_medic.jsonl.gz": ["MEDIC"],
}
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
    """Write the files of a part, unless they are there already, made of the same sources.

    Raises FileNotFoundError where the corpus is not in ``data``.
    """
    folder = work / "corpora" / part.name
    done = folder / "done.json"
    paths = source_files(data, part.corpus)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"'{missing[0].parent}' has no {missing[0].name}. Expected the corpus "
            f"'{part.corpus}' in {', '.join(str(path.relative_to(data)) for path in paths)} of "
            f"'{data}'."
        )
    sources = describe_files(paths)
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


def prepare_names(data: Path, work: Path) -> Tuple[Path, Dict[str, Dict[str, Any]]]:
    """Write a file of concepts for each vocabulary, unless they are there, made of the same ones.

    RETURNS: their folder, and what they were made of.
    """
    folder = work / "names"
    done = folder / "done.json"
    sources = describe_files(data / path for path in VOCABULARIES)
    if not done.is_file() or json.loads(done.read_text("utf8")) != sources:
        done.unlink(missing_ok=True)
        for path, names in VOCABULARIES.items():
            split_vocabularies(data / path, names, folder)
        with replacing(done) as beside:
            beside.write_text(json.dumps(sources), encoding="utf8")
    return folder, sources


def split_vocabularies(path: Path, names: Sequence[str], folder: Path) -> None:
    """Write the concepts of a file to ``NAME.jsonl``; where it holds several vocabularies, by the
    field "source" of each."""
    seen = set()
    with ExitStack() as stack, gzip.open(path, "rt", encoding="utf8") as lines:
        files = {
            name: stack.enter_context(
                stack.enter_context(replacing(folder / f"{name}.jsonl")).open("w", encoding="utf8")
            )
            for name in names
        }
        for line in lines:
            name = names[0] if len(names) == 1 else json.loads(line).get("source")
            seen.add(name)
            if name in files:
                files[name].write(line)
        if seen != set(names):
            raise ValueError(
                f"'{path}': its concepts are of {sorted(map(str, seen))}. Expected all of "
                f"{sorted(names)} in the field 'source', and no other."
            )


def source_files(data: Path, corpus: str) -> List[Path]:
    if corpus in IOB:
        return [data / IOB_FILE.format(IOB[corpus], name) for name in ("train", "devel")]
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
    elif corpus in IOB:
        groups = [read_iob(path, nlp) for path in paths]
    else:
        groups = [[article_to_doc(a, nlp.tokenizer) for a in read_articles(path)] for path in paths]
        for tier, docs in zip(TIERS, groups, strict=False):
            for doc in docs:
                set_tier(doc, tier)
    for docs in groups:
        for doc in docs:
            doc.ents = flat_entities(doc)
    return [doc for docs in groups[:-1] for doc in docs], groups[-1]


def read_iob(path: Path, nlp: Language) -> List[Doc]:
    """The documents of a file of IOB columns, or its sentences in groups."""
    docs = list(read_conll(path, nlp))
    if any(doc.user_data[LAYOUT_KEY]["marker"] for doc in docs):
        return docs
    return [join(docs[i : i + SENTENCES]) for i in range(0, len(docs), SENTENCES)]


def join(docs: Sequence[Doc]) -> Doc:
    """One document of several, with the id of the first."""
    joined = Doc.from_docs(list(docs), exclude=["spans", "user_data"])
    assert joined is not None
    mentions, offset = [], 0
    for doc in docs:
        for mention in get_mentions(doc):
            start, end = mention.start + offset, mention.end + offset
            mentions.append(replace(mention, start=start, end=end))
        offset += len(doc)
    set_mentions(joined, SPANS_KEY, mentions, keep_ids=False)
    joined.user_data[META_KEY] = {"id": identifier(docs[0])}
    return joined


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
    if part.corpus != "gutbrainie":
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
