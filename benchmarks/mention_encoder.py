"""The encoder of those systems of ``spans.py`` and ``relations.py`` that begin with mentions of
other corpora.

It is trained once on the training documents of corpora whose labels are not GutBrainIE's, each with
a head of its own (``spacy_bioie.training.mention_corpora``). None of their documents is one of
GutBrainIE's dev, test or held-out documents, by title or PubMed id.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

from spacy_bioie.formats import convert
from spacy_bioie.formats.atomic import replacing

FOLDER = Path(__file__).resolve().parent
# Name -> format, and the file or folder that is converted
CORPORA = {
    "anatem": ("conll", "iob/AnatEM-IOB/train.tsv"),
    "bc5cdr": ("conll", "iob/BC5CDR-IOB/train.tsv"),
    "bionlp13ge": ("conll", "iob/BioNLP13GE-IOB/train.tsv"),
    "ncbi_disease": ("conll", "iob/NCBI-disease-IOB/train.tsv"),
    "biored": ("pubtator", "biored/Train.PubTator"),
    "dimb_re": ("brat", "dimb_re/title_abs"),
    "bionne_en": ("bionne", "bionne_l/en/bionnel_en_train.tsv"),
}
SETTINGS = {"epochs": 2, "learn-rate": 3e-4, "batch-size": 16, "window": 256, "held-out": 0.02}


def prepare_encoder(
    data: Path, work: Path, encoder: str, gpu_id: int = -1
) -> Tuple[Path, Dict[str, Any]]:
    """Train the encoder, unless it is there, made of the same files and with the same settings.

    encoder: to begin with.
    RETURNS: its folder, whose name changes with what it is made of; and that, with the "report" of
    its training and its "cost". A training that was stopped goes on.
    Raises FileNotFoundError where a corpus is not in ``data``.
    """
    hashes = {path: hash_of(data / path) for _, path in CORPORA.values()}
    made = {"sources": hashes, "encoder": encoder, "settings": SETTINGS}
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:8]
    folder = work / "mentions" / digest
    done, out = folder / "done.json", folder / "encoder"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        corpora = [folder / f"{name}.spacy" for name in CORPORA]
        for (form, path), corpus in zip(CORPORA.values(), corpora, strict=True):
            convert(data / path, corpus, source=form, any_labels=True, skip_invalid=True)
        report, cost = folder / "report.json", folder / "cost.json"
        command = [sys.executable, "-m", "spacy", "bioie", "adapt-mentions", *map(str, corpora)]
        command += [str(out), "--encoder", encoder, "--json", str(report), "--resume"]
        command += [str(part) for name, value in SETTINGS.items() for part in (f"--{name}", value)]
        command += ["--gpu-id", str(gpu_id)]
        measure = [sys.executable, str(FOLDER / "measure.py"), str(cost)]
        subprocess.run([*measure, *command], check=True, stdout=subprocess.DEVNULL)
        figures = {path.stem: json.loads(path.read_text("utf8")) for path in (report, cost)}
        with replacing(done) as beside:
            beside.write_text(json.dumps({**made, **figures}), encoding="utf8")
    return out, json.loads(done.read_text("utf8"))


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder in the order of their names.

    Raises FileNotFoundError.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not path.exists():
        raise FileNotFoundError(f"'{path}' is absent: expected a corpus to train the encoder on.")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def describe_sources(made: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """The corpora for the data of a result."""
    pairs = zip(made["sources"].items(), made["report"]["corpora"], strict=True)
    return {
        path: {"sha256": sha256, "documents": corpus["documents"]}
        for (path, sha256), corpus in pairs
    }


def describe_encoder(made: Dict[str, Any]) -> Dict[str, Any]:
    """What the config of a result says of it: settings, cost and how well each head tagged."""
    report = made["report"]
    figures = zip(CORPORA, report["corpora"], strict=True)
    return {
        "settings": made["settings"],
        "steps": report["steps"],
        **made["cost"],
        "piece_f1": {name: corpus["piece_f1"] for name, corpus in figures},
    }
