"""``spacy package``: what a trained pipeline needs is named, and the package stands alone."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import spacy
import srsly
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from spacy.cli.package import get_third_party_dependencies, package

from tests.sample_training import CONFIGS, draw_predictions, train_sample, write_inputs

TEXT = "Butyrate and anxiety.\nButyrate made by gut bacteria lowered anxiety in 12 mice."
NAME, VERSION = "en_bioie_test", "1.2.3"

# Loads a package by its name and prints what it finds, and the modules that this took.
LOADING = """
import json, sys
import spacy

nlp = spacy.load(sys.argv[1])
doc = nlp(sys.argv[2])
report = {
    "version": nlp.meta["version"],
    "path": str(nlp.path),
    "spans": [[s.start, s.end, s.label_, s.kb_id_, s._.kb_ents] for s in doc.spans["sc"]],
    "relations": [[r.head.id_, r.label, r.tail.id_, r.score] for r in doc._.relations],
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
}
print(json.dumps(report))
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*cannot be learned:UserWarning"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained pipeline whose corpora, knowledge base and encoder are gone."""
    folder = tmp_path_factory.mktemp("training")
    inputs = write_inputs(folder / "inputs", n_train=3, n_dev=1)
    (config,) = (path for path in CONFIGS if path.stem == "minilm_cpu")
    pipeline = train_sample(config, folder / "trained", inputs.overrides(config, steps=1))
    draw_predictions(spacy.load(pipeline)).to_disk(folder / "pipeline")
    shutil.rmtree(folder / "inputs")
    shutil.rmtree(folder / "trained")
    return folder / "pipeline"


@pytest.fixture(scope="module")
def packaged(trained, tmp_path_factory):
    """The folder that ``spacy package`` makes of it."""
    folder = tmp_path_factory.mktemp("packages")
    package(
        trained,
        folder,
        name="bioie_test",
        version=VERSION,
        create_sdist=False,
        require_parent=True,
    )
    return folder / f"{NAME}-{VERSION}"


@pytest.fixture(scope="module")
def installed(packaged, tmp_path_factory):
    """A folder into which the package was installed, and nothing else."""
    target = tmp_path_factory.mktemp("site-packages")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(target), str(packaged)], check=True
    )
    return target


@pytest.fixture(scope="module")
def report(installed):
    """What a new process finds that loads the package by its name."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING, NAME, TEXT],
        capture_output=True,
        text=True,
        cwd=installed,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def required(names):
    """The distributions that requirements bring here, with their extras, all the way down."""
    found: dict[str, set[str]] = {}
    queue = [Requirement(name) for name in names]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras | {""}
        new = extras - found.get(name, set())
        if not new:
            continue
        found.setdefault(name, set()).update(new)
        try:
            below = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        for entry in map(Requirement, below):
            marker = entry.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in new):
                queue.append(entry)
    return set(found)


def test_training_writes_the_requirement(trained):
    requirements = srsly.read_json(trained / "meta.json")["requirements"]
    (own,) = (Requirement(entry) for entry in requirements)
    assert own.name == "spacy-bioie" and len(own.extras) == 1
    # what spaCy itself would write of a config lacks the extra, which brings faiss
    assert "faiss-cpu" in required(requirements) or "faiss-gpu" in required(requirements)
    assert not {"faiss-cpu", "faiss-gpu"} & required(["spacy-bioie"])
    assert metadata.version("spacy-bioie") in own.specifier


def test_package_names_each_requirement_once(packaged):
    requirements = srsly.read_json(packaged / "meta.json")["requirements"]
    names = [Requirement(entry).name for entry in requirements]
    assert sorted(names) == ["spacy", "spacy-bioie", "spacy-transformers"]
    for entry in map(Requirement, requirements):
        assert metadata.version(entry.name) in entry.specifier


def test_package_requires_what_loading_it_imports(installed, report):
    (distribution,) = metadata.distributions(path=[str(installed)])
    assert canonicalize_name(distribution.metadata["Name"]) == "en-bioie-test"
    assert distribution.version == VERSION
    brought = required(distribution.requires)
    owners = metadata.packages_distributions()
    needed = {"spacy", "spacy_bioie", "spacy_transformers", "thinc", "torch", "transformers"}
    needed |= {"faiss", "numpy", "tokenizers", "safetensors"}
    assert needed <= set(report["modules"])
    for module in needed:
        assert {canonicalize_name(name) for name in owners[module]} & brought, module


@pytest.mark.parametrize("component", ["biomedical_sentencizer", "nested_spancat"])
def test_other_components_need_the_plugin_too(component):
    nlp = spacy.blank("en")
    nlp.add_pipe(component)
    (own,) = map(Requirement, get_third_party_dependencies(nlp.config))
    assert own.name == "spacy-bioie" and metadata.version("spacy-bioie") in own.specifier


def test_package_is_found_by_its_entry_point(installed):
    (distribution,) = metadata.distributions(path=[str(installed)])
    (entry,) = distribution.entry_points
    assert (entry.group, entry.name, entry.value) == ("spacy_models", NAME, NAME)


def test_package_finds_what_the_pipeline_finds(trained, installed, report):
    assert report["version"] == VERSION
    assert Path(report["path"]).is_relative_to(installed)
    doc = spacy.load(trained)(TEXT)
    spans = [[s.start, s.end, s.label_, s.kb_id_] for s in doc.spans["sc"]]
    assert [row[:4] for row in report["spans"]] == spans
    for row, span in zip(report["spans"], doc.spans["sc"], strict=True):
        candidates = span._.kb_ents
        assert [concept for concept, _ in row[4]] == [concept for concept, _ in candidates]
        assert [s for _, s in row[4]] == pytest.approx([s for _, s in candidates], abs=1e-5)
    relations = [[r.head.id_, r.label, r.tail.id_] for r in doc._.relations]
    assert [row[:3] for row in report["relations"]] == relations
    assert spans and any(span[3] for span in spans) and relations


def test_training_leaves_requirements_that_are_there(trained, tmp_path):
    from spacy_bioie.kb.faiss_backend import add_requirement

    for own in ("spacy-bioie", "spacy_bioie[gpu]>=0.1.0"):
        meta = {"requirements": ["scispacy>=0.5", own]}
        add_requirement(meta)
        assert meta["requirements"] == ["scispacy>=0.5", own]
    meta = {"requirements": ["scispacy>=0.5"]}
    add_requirement(meta)
    add_requirement(meta)
    assert len(meta["requirements"]) == 2 and meta["requirements"][0] == "scispacy>=0.5"


@pytest.mark.parametrize(
    "faiss, extras", [(["faiss-cpu"], {"cpu"}), (["faiss-gpu"], {"gpu"}), ([], set())]
)
def test_requirement_names_the_extra_of_the_installed_faiss(monkeypatch, faiss, extras):
    from spacy_bioie.kb import faiss_backend

    monkeypatch.setattr(faiss_backend, "_is_installed", lambda name: name in faiss)
    meta: dict = {}
    faiss_backend.add_requirement(meta)
    (own,) = map(Requirement, meta["requirements"])
    assert own.extras == extras
    assert extras <= set(metadata.metadata("spacy-bioie").get_all("Provides-Extra"))
