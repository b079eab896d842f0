"""Linking on GutBrainIE's dev documents, gold mentions and those of Gut-Instincts.

    python benchmarks/linking_gutbrainie.py --data FOLDER --cache FOLDER [--pipeline FOLDER]

FOLDER of the data holds ``gutbrainie``, ``peers`` and ``kb``; the cache keeps name vectors and the
adapted encoder of names, which takes minutes to train. ``--systems`` chooses; without it all run
but those with that encoder. A system whose result exists is left out, unless ``--again`` is given.

All systems see the concepts with their official names and, as further names, the mentions of
platinum and gold. The pipeline is one that ``python -m spacy project run gutbrainie`` trained; its
knowledge base lacks the mentions of the documents that were held out. Systems with coherence share
all that is fitted with those without it.

Gold mentions: Acc@1, Acc@5, MRR and recall of the candidates. NERD: F1 of span, label and concept
over the entities that Gut-Instincts found on dev. Repeated mentions, to which alone coherence can
make a difference, share normalised text and label with another of their document.
"""

import argparse
import json
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy
from gutbrainie_data import DEV, ENTITIES, TRAIN, dev_with_found_entities
from linking_gutbrainie_systems import (
    ADAPTED,
    FITTED,
    KEY,
    OF_PIPELINE,
    UNFITTED,
    Corpus,
    Linker,
    adapted_kb,
    describe_config,
    make_systems,
    rules_pipeline,
)
from linking_peers import TOP_K, CachedEncoder
from results import FOLDER, describe_files, write_result
from spacy.tokens import Doc
from spacy.training import Example

from spacy_bioie.annotation import get_mentions, mention_texts
from spacy_bioie.formats.articles import article_to_doc
from spacy_bioie.formats.gutbrainie import read_articles
from spacy_bioie.kb import FaissKnowledgeBase, build_knowledge_base, normalise_name
from spacy_bioie.kb.training_names import TrainingNames
from spacy_bioie.pipeline.link_annotation import set_links
from spacy_bioie.pipeline.linker_candidates import same_text_groups
from spacy_bioie.scoring.links import candidate_recall, score_candidates, score_links

CONCEPTS = "kb/gutbrainie_concepts.jsonl"


def read_corpus(data: Path, nlp: Any) -> Corpus:
    """Read all documents and send them through the rules of ``nlp``."""
    dev = dev_with_found_entities(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entities.json"
        path.write_text(json.dumps(dev, ensure_ascii=False), encoding="utf8")
        found = _read(path, nlp)
    train = [doc for tier in ("platinum", "gold") for doc in _read(data / TRAIN.format(tier), nlp)]
    return Corpus(train, _read(data / DEV, nlp), found)


def _read(path: Path, nlp: Any) -> List[Doc]:
    docs = [article_to_doc(article, nlp.tokenizer, KEY) for article in read_articles(path)]
    for _, rule in nlp.pipeline:
        docs = [rule(doc) for doc in docs]
    return docs


def score(kb: FaissKnowledgeBase, corpus: Corpus, link: Linker) -> Dict[str, Optional[float]]:
    """The figures of one system."""
    mentions = [get_mentions(doc, KEY) for doc in corpus.gold]
    found = [c for row in link(corpus.gold, mentions) for c in row]
    flat = [mention for row in mentions for mention in row]
    texts = [
        normalise_name(text)
        for doc, row in zip(corpus.gold, mentions, strict=True)
        for text in mention_texts(doc, row)
    ]
    same_text = same_text_groups(corpus.gold, mentions)
    rows = kb.tables.name_rows(texts)
    evidence = numpy.append(numpy.diff(kb.tables.evidence.offsets), 0)
    groups = {
        "": numpy.ones((len(flat),), dtype="bool"),
        "_unseen_names": (rows < 0) | (evidence[rows] == 0),
        "_unseen_concepts": numpy.asarray([not kb.training_mentions(m.kb_id) for m in flat]),
        "_repeated": numpy.bincount(same_text)[same_text] > 1,
    }
    figures: Dict[str, Optional[float]] = {}
    for group, members in groups.items():
        chosen = numpy.flatnonzero(members).tolist()
        ids, lists = [flat[i].kb_id for i in chosen], [found[i] for i in chosen]
        figures[f"mentions{group}"] = len(chosen)
        figures.update(score_candidates(ids, lists, f"gold{group}"))
        recall = candidate_recall(ids, lists, f"gold{group}", sizes=(10,))
        recall[f"gold{group}_recall{TOP_K}"] = recall.pop(f"gold{group}_recall")
        figures.update(recall)
    entities = [get_mentions(doc, KEY) for doc in corpus.found]
    linked = [doc.copy() for doc in corpus.found]
    for doc, candidates in zip(linked, link(corpus.found, entities), strict=True):
        set_links(doc, KEY, candidates, 0.0)
    examples = [Example(doc, gold) for doc, gold in zip(linked, corpus.gold, strict=True)]
    for name, value in score_links(examples, KEY).items():
        figures[f"gut_instincts_{name}"] = value
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of name vectors")
    parser.add_argument("--pipeline", type=Path, help="a trained pipeline")
    parser.add_argument("--systems", nargs="+", choices=(*UNFITTED, *FITTED, *OF_PIPELINE))
    parser.add_argument("--again", action="store_true", help="also where a result exists")
    arguments = parser.parse_args()
    needed = [system for system in OF_PIPELINE if system in (arguments.systems or ())]
    if needed and arguments.pipeline is None:
        parser.error(f"the system '{needed[0]}' needs --pipeline")
    nlp = rules_pipeline()
    corpus = read_corpus(arguments.data, nlp)
    names = TrainingNames()
    names.add_docs(corpus.train, KEY)
    concepts = arguments.data / CONCEPTS
    lexical, _ = build_knowledge_base([concepts], mentions=names)
    encoder = CachedEncoder(arguments.cache)
    encoder.fill(list(lexical.tables.names))
    kb, _ = build_knowledge_base([concepts], mentions=names, name_encoder=encoder)
    adapt = partial(adapted_kb, arguments.cache, concepts, names)
    systems = make_systems(kb, encoder, corpus, adapt, arguments.pipeline)
    chosen = arguments.systems or [system for system in systems if system not in ADAPTED]
    files = [arguments.data / TRAIN.format(tier) for tier in ("platinum", "gold")]
    described = describe_files([*files, concepts, arguments.data / DEV, arguments.data / ENTITIES])
    for system in chosen:
        title, make = systems[system]
        name = f"linking_gutbrainie_{system}"
        if (FOLDER / f"{name}.json").exists() and not arguments.again:
            continue
        begin, cpu = time.perf_counter(), time.process_time()
        metrics = score(kb, corpus, make())
        path = write_result(
            name,
            benchmark="linking_gutbrainie",
            system=title,
            metrics=metrics,
            data=described,
            config={
                **describe_config(system, corpus),
                "cpu_seconds": round(time.process_time() - cpu),
            },
            seeds=[0] if system in (*FITTED, "projection") else [],
            seconds=time.perf_counter() - begin,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
        shown = {k: v for k, v in metrics.items() if v is not None and ("acc" in k or "_f" in k)}
        print(path.name, {key: round(value, 4) for key, value in shown.items()})


if __name__ == "__main__":
    main()
