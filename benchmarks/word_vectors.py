"""Vectors of words for those systems of ``spans.py`` that read them beside the encoder.

floret learns them once, from raw abstracts and the texts of GutBrainIE's silver and bronze
documents. None is of dev or test; but the abstracts have the texts, without any annotation, of all
training documents, those held out for the choice of a checkpoint among them. Letter case is left
out, as few texts stand against many forms.
"""

import gzip
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import spacy
from results import describe_files
from spacy.training.initialize import convert_vectors

from spacy_bioie.formats.atomic import replacing
from spacy_bioie.formats.gutbrainie import read_articles
from spacy_bioie.tokenization import EnglishTokenizer_v1

ABSTRACTS = ("text/biomedical_abstracts.jsonl.gz", "text/gut_brain_abstracts.jsonl.gz")
TIERS = ("silver", "bronze")
ARTICLES = "gutbrainie/Annotations/Train/{0}_quality/json_format/train_{0}.json"
# Of floret; one thread, as more of them learn something else each time
SETTINGS = {"dim": 96, "bucket": 50000, "epoch": 5, "minn": 4, "maxn": 5, "hashCount": 2}
SETTINGS.update(minCount=2, neg=5, thread=1)


def prepare_vectors(data: Path, work: Path) -> Tuple[Path, Dict[str, Any]]:
    """Learn the vectors, unless they are there, of the same texts and with the same settings.

    RETURNS: the folder of a pipeline that has them, for ``initialize.vectors``, whose name changes
    with what they are made of; and that: "sources", "settings", "words" (of the texts) and
    "seconds".
    Raises FileNotFoundError where a text is not in ``data``, ImportError without floret.
    """
    paths = [data / path for path in ABSTRACTS]
    paths += [data / ARTICLES.format(tier) for tier in TIERS]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"'{missing[0]}' is absent: expected texts to learn vectors from.")
    made: Dict[str, Any] = {"sources": describe_files(paths), "settings": SETTINGS}
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:8]
    folder = work / "vectors" / digest
    done, out = folder / "done.json", folder / "vectors"
    if not done.is_file():
        import floret  # needed by nothing else

        started = time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        text, learned = folder / "text.txt", folder / "vectors.floret"
        made["words"] = write_words(data, text)
        kind = {"model": "skipgram", "mode": "floret"}
        floret.train_unsupervised(str(text), **kind, **SETTINGS).save_floret_vectors(str(learned))
        nlp = spacy.blank("en")
        convert_vectors(nlp, learned, truncate=0, prune=-1, mode="floret", attr="LOWER")
        nlp.to_disk(out)
        text.unlink()
        made["seconds"] = time.perf_counter() - started
        with replacing(done) as beside:
            beside.write_text(json.dumps(made), encoding="utf8")
    return out, json.loads(done.read_text("utf8"))


def write_words(data: Path, path: Path) -> int:
    """Write each text as a line of words in lower case.

    RETURNS: how many words these are.
    """
    nlp = spacy.blank("en")
    nlp.tokenizer = EnglishTokenizer_v1()(nlp)
    written = 0
    with path.open("w", encoding="utf8") as file:
        for text in read_texts(data):
            words = [token.lower_ for token in nlp.make_doc(text) if not token.is_space]
            written += len(words)
            print(" ".join(words), file=file)
    return written


def read_texts(data: Path) -> Iterator[str]:
    sections = "{title} {abstract}"
    for path in ABSTRACTS:
        with gzip.open(data / path, "rt", encoding="utf8") as lines:
            for line in lines:
                record = json.loads(line)
                yield record["text"] if "text" in record else sections.format(**record)
    for tier in TIERS:
        for article in read_articles(data / ARTICLES.format(tier)):
            yield sections.format(**article.metadata)
