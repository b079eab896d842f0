"""A few documents of the sample corpus, a knowledge base and an encoder, small enough for tests."""

import json
from itertools import islice
from pathlib import Path
from typing import Any, Dict, NamedTuple

import spacy
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span

from spacy_bioie.formats import convert
from spacy_bioie.kb import read_concepts
from spacy_bioie.kb.building import build_knowledge_base
from spacy_bioie.kb.name_encoders import TransformerNameEncoder_v1
from tests.tiny_encoder import make_tiny_bert

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = sorted((REPOSITORY / "configs").glob("*.cfg"))
SAMPLE = REPOSITORY / "assets" / "sample"


class SampleInputs(NamedTuple):
    """What ``spacy train`` reads: two corpora, a knowledge base and an encoder."""

    train: Path
    dev: Path
    kb: Path
    encoder: str

    def overrides(self, config: Path, steps: int = 3) -> Dict[str, Any]:
        """Options for ``spacy train``: these inputs, and an end after so many steps."""
        raw = spacy.util.load_config(config)
        options: Dict[str, Any] = {
            f"paths.{name}": str(getattr(self, name))
            for name in ("train", "dev", "kb")
            if name in raw["paths"]
        }
        if "schema" in raw["paths"]:
            options["paths.schema"] = str(REPOSITORY / raw["paths"]["schema"])
        if "codes" in raw["paths"]:
            options["paths.codes"] = str(SAMPLE / "concepts.jsonl")
        if "vars" in raw:
            options["vars.encoder"] = self.encoder
        if isinstance(raw["training"]["optimizer"]["learn_rate"], dict):
            options["training.optimizer.learn_rate.total_steps"] = steps
        return options | {"training.max_steps": steps, "training.eval_frequency": 2}


def write_inputs(folder: Path, *, n_train: int = 6, n_dev: int = 3) -> SampleInputs:
    """Convert the first documents of both splits, draw an encoder, build a knowledge base."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = {"train": n_train, "dev": n_dev}
    for split, n in ids.items():
        convert(SAMPLE / "articles", folder / "all.json", split=split)
        articles = json.loads((folder / "all.json").read_text(encoding="utf8"))
        documents = list(islice(articles, n))
        convert(folder / "all.json", folder / f"{split}.spacy", documents=documents)
    encoder = make_tiny_bert(folder / "encoder", max_positions=512)
    concepts = islice(read_concepts(SAMPLE / "concepts.jsonl"), 60)
    kb, _ = build_knowledge_base(
        concepts,
        mentions=[folder / "train.spacy"],
        name_encoder=TransformerNameEncoder_v1(encoder),
        lexical_dims=32,
    )
    kb.to_disk(folder / "kb")
    return SampleInputs(folder / "train.spacy", folder / "dev.spacy", folder / "kb", encoder)


def keep_spans_only(source: Path, target: Path) -> Path:
    """Copy a corpus without anything but its texts, tokens and mentions with their labels."""
    nlp = spacy.blank("en")
    docs = DocBin()
    for doc in DocBin().from_disk(source).get_docs(nlp.vocab):
        words = [token.text for token in doc]
        bare = Doc(nlp.vocab, words, spaces=[bool(token.whitespace_) for token in doc])
        bare.spans["sc"] = [
            Span(bare, span.start, span.end, label=span.label_) for span in doc.spans["sc"]
        ]
        docs.add(bare)
    docs.to_disk(target)
    return target


def draw_predictions(nlp: Language) -> Language:
    """Set the weights of the tagger at random, so that an untrained pipeline finds mentions.

    All their legal pairs become relations.
    """
    import torch

    head = nlp.get_pipe("nested_spancat").model.get_ref("head")  # type: ignore[attr-defined]
    torch.manual_seed(0)
    for parameter in head.shims[0]._model.parameters():
        torch.nn.init.normal_(parameter)
    if nlp.has_pipe("relation_extractor"):
        nlp.get_pipe("relation_extractor").cfg["threshold"] = 0.0  # type: ignore[attr-defined]
    return nlp


def train_sample(config: Path, output: Path, options: Dict[str, Any]) -> Path:
    """Run ``spacy train`` and return the folder of the last pipeline."""
    train(config, output, overrides=options)
    return output / "model-last"
