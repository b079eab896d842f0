"""What the plugin costs a pipeline that does not use it: no heavy module is imported."""

import json
import pkgutil
import subprocess
import sys

import pytest

import spacy_bioie.pipeline

HEAVY = {
    *("faiss", "torch", "transformers", "spacy_transformers", "cupy", "sklearn"),
    *("pronto", "fastobo", "peft", "accelerate", "gliner"),
}

# Modules before and after the plugin is there, in one process: what is new is the plugin's. Its
# entry points are held back from catalogue, where spaCy looks for them.
COMPARISON = """
import importlib.metadata, json, sys

class Others(type(importlib.metadata.entry_points())):
    def select(self, **wanted):
        found = super().select(**wanted)
        return type(found)(e for e in found if not e.value.startswith("spacy_bioie"))

import catalogue

everything = catalogue.AVAILABLE_ENTRY_POINTS
catalogue.AVAILABLE_ENTRY_POINTS = Others(everything)
import spacy
had = spacy.blank("en").has_factory("nested_spancat")
without = set(sys.modules)
catalogue.AVAILABLE_ENTRY_POINTS = everything
import spacy_bioie
imported = set(sys.modules) - without
nlp = spacy.blank("en")
report = {
    "without": sorted(without),
    "import": sorted(imported),
    "blank": sorted(set(sys.modules) - without),
    "factory": [had, nlp.has_factory("nested_spancat")],
}
print(json.dumps(report))
"""

# Each module alone, in a process of its own that is forked where spaCy has been imported. A name
# that is None in sys.modules cannot be imported.
ALONE = """
import importlib, json, os, sys

heavy, names = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(heavy))
import spacy

sys.stdout.flush()
failed = []
for name in names:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def modules():
    report, _ = run(COMPARISON)
    return report


def foreign(names):
    return [name for name in names if name.split(".")[0] != "spacy_bioie"]


def test_comparison_is_one_with_and_without_the_plugin(modules):
    assert "spacy.language" in modules["without"]
    # an editable installation puts a finder of its own among the modules
    assert not [name for name in modules["without"] if name.split(".")[0] == "spacy_bioie"]
    assert modules["factory"] == [False, True]


def test_importing_the_package_imports_nothing_else(modules):
    assert "spacy_bioie.annotation" in modules["import"]
    assert foreign(modules["import"]) == []
    assert not [name for name in modules["import"] if name.startswith("spacy_bioie.models")]


def test_blank_pipeline_imports_only_light_modules_of_the_plugin(modules):
    assert "spacy_bioie.pipeline.faiss_entity_linker" in modules["blank"]
    assert foreign(modules["blank"]) == []


def test_faiss_is_not_imported(modules):
    assert "faiss" not in {*modules["without"], *modules["blank"]}


def test_each_component_alone_imports_nothing_heavy():
    found = pkgutil.iter_modules(spacy_bioie.pipeline.__path__, "spacy_bioie.pipeline.")
    names = [module.name for module in found]
    assert "spacy_bioie.pipeline.faiss_entity_linker" in names
    failed, errors = run(ALONE, json.dumps([sorted(HEAVY), names]))
    assert failed == [], errors


def test_a_heavy_import_would_be_noticed():
    failed, errors = run(ALONE, json.dumps([sorted(HEAVY), ["spacy_bioie.models.windows"]]))
    assert failed == ["spacy_bioie.models.windows"] and "spacy_transformers" in errors
