"""Linking by spelling where torch and transformers are not installed, from sources to scores."""

import json
import subprocess
import sys

from spacy_bioie.kb import Concept

CONCEPTS = [
    Concept("C1", "depression", ("depressive disorder",), ("DDF",), alt_ids=("D1",)),
    Concept("C2", "gut microbiota", ("intestinal flora",), ("microbiome",)),
    Concept("C3", "serotonin", ("5-HT",), ("chemical",)),
    Concept("C4", "hollow", ("depression",), ("place",)),
]
MORE = [Concept("C5", "butyrate", ("butyric acid",), ("chemical",)), Concept("C3", "enteramine")]
# Linked mentions as (words, label, concept id)
TRAINING = [
    ("Depression lowers serotonin", [("Depression", "DDF", "C1"), ("serotonin", "chemical", "C3")]),
    ("Rain filled the depression", [("depression", "place", "C4")]),
]
HELD_OUT = [
    (
        "Butyrates of the gut-microbiota eased depressions",
        [
            ("Butyrates", "chemical", "C5"),
            ("gut-microbiota", "microbiome", "C2"),
            ("depressions", "DDF", "C1"),
        ],
    ),
    ("Enteramine and intestinal floras", [("Enteramine", "chemical", "C3")]),
]

# A name that is None in sys.modules cannot be imported; nor has what is not installed entry points
RUN = """
import importlib.metadata, json, sys

blocked = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))

class Others(type(importlib.metadata.entry_points())):
    def select(self, **wanted):
        found = super().select(**wanted)
        return type(found)(e for e in found if e.module.split(".")[0] not in blocked)

import catalogue

catalogue.AVAILABLE_ENTRY_POINTS = Others(catalogue.AVAILABLE_ENTRY_POINTS)
import spacy
from spacy.tokens import DocBin
from spacy.training import Example
from typer.testing import CliRunner
from spacy_bioie.annotation import Mention, set_mentions
from spacy_bioie.cli import app
from spacy_bioie.kb import load_knowledge_base

folder = sys.argv[2]
training, held_out = json.loads(sys.argv[3])
nlp = spacy.blank("en")

def make_doc(text, mentions, linked=True):
    doc = nlp.make_doc(text)
    found = []
    for words, label, concept_id in mentions:
        span = doc.char_span(text.index(words), text.index(words) + len(words))
        found.append(Mention(span.start, span.end, label, kb_id=concept_id if linked else ""))
    set_mentions(doc, "sc", found)
    return doc

def call(*args):
    result = CliRunner().invoke(app, [arg.replace("./", folder + "/") for arg in args])
    assert result.exit_code == 0, result.output

DocBin(docs=[make_doc(*pair) for pair in training]).to_disk(folder + "/train.spacy")
call("build-kb", "./kb", "./concepts.jsonl", "--no-encoder", "-m", "./train.spacy", "-i", "SQ8")
call("update-kb", "./kb", "./kb", "--add", "./more.jsonl", "--quiet")

linker = nlp.add_pipe("faiss_entity_linker")
linker.set_kb(load_knowledge_base(folder + "/kb", check="full"))
examples = [Example(make_doc(*pair, linked=False), make_doc(*pair)) for pair in training]
optimizer = nlp.initialize(lambda: examples)
losses = nlp.update(examples, sgd=optimizer)
nlp.to_disk(folder + "/pipeline")

found = []
for pipeline in (nlp, spacy.load(folder + "/pipeline")):
    pairs = [Example(make_doc(*pair, linked=False), make_doc(*pair)) for pair in held_out]
    scores = pipeline.evaluate(pairs)
    docs = list(pipeline.pipe(make_doc(*pair, linked=False) for pair in held_out))
    found.append({
        "links": [[span.kb_id_ for span in doc.spans["sc"]] for doc in docs],
        "candidates": [[span._.kb_ents for span in doc.spans["sc"]] for doc in docs],
        "nerd": scores["nerd_strict_micro_f"],
    })
imported = sorted({name.split(".")[0] for name, m in sys.modules.items() if m is not None})
print(json.dumps({"found": found, "losses": list(losses), "imported": imported}))
"""
BLOCKED = ["torch", "transformers", "spacy_transformers", "peft", "accelerate", "tokenizers"]


def write(path, concepts):
    path.write_text("".join(json.dumps(concept.to_record()) + "\n" for concept in concepts))


def test_lexical_linking_from_build_to_scores(tmp_path):
    write(tmp_path / "concepts.jsonl", CONCEPTS)
    write(tmp_path / "more.jsonl", MORE)
    arguments = [json.dumps(BLOCKED), str(tmp_path), json.dumps([TRAINING, HELD_OUT])]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    first, again = report["found"]
    expected = [[concept_id for *_, concept_id in mentions] for _, mentions in HELD_OUT]
    assert first["links"] == expected and first["nerd"] > 0.99999
    assert again == first
    assert report["losses"] == ["faiss_entity_linker"]
    assert "faiss" in report["imported"] and not set(BLOCKED) & set(report["imported"])
