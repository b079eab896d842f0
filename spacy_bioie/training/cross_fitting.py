"""Mentions predicted for the training documents themselves, by pipelines that did not see them.

A relation model that learns from gold mentions alone meets other mentions when it is used. Here
the training documents are dealt into folds; for each fold a pipeline is trained on the others and
finds the mentions of its documents, which go into a second span group of the references.
"""

import hashlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import astuple, replace
from io import StringIO
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, load_model
from spacy.vocab import Vocab
from thinc.api import Config
from tqdm import tqdm

from ..annotation import SPANS_KEY, Mention, get_mentions, get_tier, gold_mentions, set_mentions
from ..formats.atomic import write_texts
from ..formats.docbin import read_docbin, write_docbin
from .training_corpus import training_corpus

PREDICTED_KEY = "sc_predicted"
AnyPath = Union[str, Path]


def cross_fit(
    config: AnyPath,
    corpus: AnyPath,
    output: AnyPath,
    *,
    folds: int = 5,
    spans_key: str = SPANS_KEY,
    predicted_key: str = PREDICTED_KEY,
    seed: int = 0,
    overrides: Optional[Dict[str, Any]] = None,
    use_gpu: int = -1,
    progress: bool = False,
) -> Dict[str, Any]:
    """Write the training documents with mentions of pipelines that did not see them.

    For each fold the config is trained as ``spacy train`` does, with the documents of the other
    folds as its training corpus; everything else in it, such as the corpus that chooses the best
    checkpoint, stays as it is, and must not hold the documents.

    config: of a pipeline that finds mentions. Its training corpus is a reader with a ``path``.
    corpus: a .spacy file. output: the same documents, with ``doc.spans[predicted_key]``. The file
        is complete or untouched.
    folds: documents of one text come into one fold, those of each quality tier into all alike.
    spans_key: the group in which the trained pipeline leaves its mentions.
    seed: of the folds.
    overrides: settings of the config, "section.setting" -> value.
    use_gpu: number of the GPU that spaCy has been set to, or -1 for the CPU.
    progress: show what ``spacy train`` shows.

    What is done lies in the folder ``OUTPUT.folds`` until all is: a run that was broken off goes
    on with the next fold if it is started with the same arguments.

    RETURNS: "documents", "folds" that were trained in this run, the numbers of "gold" and
        "predicted" mentions and of those that are both, by borders and label, as "exact".
    Raises OSError or ValueError where something cannot be read, trained or written, or where the
    folder holds folds of a run with other arguments.
    """
    output, overrides = Path(output), dict(overrides or {})
    if predicted_key == spans_key:
        raise ValueError(
            f"predicted_key is '{predicted_key}', the key of the gold mentions. Expected another."
        )
    docs = list(read_docbin(corpus, Vocab()))
    assigned = assign_folds(docs, folds, seed)
    settings = load_config(Path(config), overrides=overrides, interpolate=False)
    training_corpus(settings)
    work = output.with_name(f"{output.name}.folds")
    _check_same_run(
        work,
        {
            "config": hashlib.sha256(settings.to_bytes()).hexdigest(),
            "corpus": hashlib.sha256(Path(corpus).read_bytes()).hexdigest(),
            "folds": folds,
            "seed": seed,
            "spans_key": spans_key,
        },
    )
    trained = 0
    for fold in range(folds):
        held_out = [doc for doc, own in zip(docs, assigned, strict=True) if own == fold]
        file = work / f"fold_{fold}.json"
        if not file.exists():
            others = [doc for doc, own in zip(docs, assigned, strict=True) if own != fold]
            with _trained(work / "training", others, settings, use_gpu, progress) as nlp:
                found = _find_mentions(nlp, held_out, spans_key, progress)
            write_texts({file: json.dumps(found, ensure_ascii=False)})
            trained += 1
        for doc, rows in zip(held_out, json.loads(file.read_text(encoding="utf8")), strict=True):
            set_mentions(doc, predicted_key, [Mention(*row) for row in rows], keep_ids=False)
    write_docbin(docs, output)
    shutil.rmtree(work)
    return {
        "documents": len(docs),
        "folds": trained,
        **_agreement(docs, spans_key, predicted_key),
    }


def assign_folds(docs: Sequence[Doc], folds: int, seed: int = 0) -> List[int]:
    """The fold of each document: those of one text in one, those of each tier in all alike.

    Raises ValueError for fewer than two folds, or more than there are texts.
    """
    tiers: Dict[str, str] = {}
    for doc in docs:
        tiers.setdefault(doc.text, get_tier(doc))
    if not 2 <= folds <= len(tiers):
        raise ValueError(
            f"{folds} folds of {len(tiers)} different documents: expected at least 2, and no more "
            "than there are documents."
        )
    texts = list(tiers)
    order = numpy.random.default_rng(seed).permutation(len(texts)).tolist()
    order.sort(key=lambda i: tiers[texts[i]])
    fold_of = {texts[i]: place % folds for place, i in enumerate(order)}
    return [fold_of[doc.text] for doc in docs]


def _check_same_run(folder: Path, settings: Dict[str, Any]) -> None:
    file = folder / "run.json"
    if not file.exists():
        write_texts({file: json.dumps(settings)})
        return
    before = json.loads(file.read_text(encoding="utf8"))
    changed = sorted(name for name in settings if before.get(name) != settings[name])
    if changed:
        raise ValueError(
            f"The folder '{folder}' holds the folds of a run with another {', '.join(changed)}. "
            "Expected the same arguments, to go on with it, or that you remove the folder."
        )


@contextmanager
def _trained(
    folder: Path, docs: Sequence[Doc], config: Config, use_gpu: int, progress: bool
) -> Iterator[Language]:
    """A pipeline trained on these documents: the best one, or without an evaluation the last.

    folder: what is written there while it is trained and used.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was broken off
    (folder / "output").mkdir(parents=True)
    write_docbin(docs, folder / "train.spacy")
    config = config.copy()
    training_corpus(config)["path"] = str(folder / "train.spacy")
    out, err = (sys.stdout, sys.stderr) if progress else (StringIO(), StringIO())
    nlp = init_nlp(config, use_gpu=use_gpu)
    train(nlp, folder / "output", use_gpu=use_gpu, stdout=out, stderr=err)
    models = (folder / "output" / name for name in ("model-best", "model-last"))
    yield load_model(next(path for path in models if path.is_dir()))
    shutil.rmtree(folder)


def _find_mentions(
    nlp: Language, docs: Sequence[Doc], key: str, progress: bool
) -> List[List[Tuple]]:
    """The mentions that a pipeline finds in documents, as rows of ``Mention``'s fields.

    They have the token borders of the given documents.
    """
    found = nlp.pipe(nlp.make_doc(doc.text) for doc in docs)
    rows = []
    with tqdm(found, total=len(docs), unit="doc", disable=not progress) as bar:
        for doc, predicted in zip(docs, bar, strict=True):
            mentions = gold_mentions(Example(doc, predicted), key)
            rows.append([astuple(replace(m, candidates=None)) for m in mentions])
    return rows


def _agreement(docs: Sequence[Doc], key: str, predicted_key: str) -> Dict[str, int]:
    """How many mentions there are, and how many of the predicted ones are right."""
    counts = {"gold": 0, "predicted": 0, "exact": 0}
    for doc in docs:
        gold, predicted = (
            {(m.start, m.end, m.label) for m in get_mentions(doc, own)}
            for own in (key, predicted_key)
        )
        counts["gold"] += len(gold)
        counts["predicted"] += len(predicted)
        counts["exact"] += len(gold & predicted)
    return counts
