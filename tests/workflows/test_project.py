"""``python -m spacy project run``: the workflows of project.yml, run in a copy of the project.

They install what they make: that goes into an environment of the test's own, which sees the
packages of the one that runs the tests.
"""

import json
import os
import re
import shlex
import shutil
import site
import subprocess
import venv
from collections import Counter
from configparser import ConfigParser
from pathlib import Path

import pytest
import srsly
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from typer.main import get_command

from spacy_bioie.cli import app
from spacy_bioie.kb import FaissKnowledgeBase
from tests.tiny_encoder import make_tiny_bert

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = srsly.read_yaml(REPOSITORY / "project.yml")
COMMANDS = {command["name"]: command for command in PROJECT["commands"]}
# Once through the sample's training documents, which are three batches.
SHORT = {"max_epochs.sample": 1, "total_steps.sample": 3, "eval_frequency.sample": 2}
# Where the release has its training sets.
TRAIN = "Annotations/Train/{0}_quality/json_format/train_{0}.json"

# Unbuffered, so that the project's own lines stand before those of the commands that they announce.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONUNBUFFERED": "1",
    "NO_COLOR": "1",
}


def copy_project(folder: Path) -> Path:
    """What the workflows read: nothing that a run has left behind is copied."""
    for name in ("assets", "benchmarks", "configs"):
        left_behind = shutil.ignore_patterns("__pycache__", "gutbrainie")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=left_behind)
    shutil.copy(REPOSITORY / "project.yml", folder)
    return folder


def make_environment(folder: Path) -> Path:
    """A virtual environment over this one; returns its interpreter."""
    venv.create(folder, with_pip=False)
    (target,) = folder.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (target / "tests.pth").write_text("\n".join(lines) + "\n", encoding="utf8")
    return folder / "bin" / "python"


class Workspace:
    """A copy of the project, an environment, and an encoder that costs nothing."""

    def __init__(self, folder: Path, python: Path, encoder: str) -> None:
        self.project = copy_project(folder)
        self.python = python
        self.encoder = encoder

    def run(self, *arguments: str, timeout: int = 600) -> str:
        """Run a command of this environment in the project; returns what it printed."""
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.project,
            env={**os.environ, **SETTINGS},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def run_project(self, name: str, **variables) -> str:
        variables = {"encoder": self.encoder, **variables}
        options = [part for key, value in variables.items() for part in (f"--vars.{key}", value)]
        return self.run("-m", "spacy", "project", "run", name, ".", *map(str, options))

    def read_json(self, path: str):
        return json.loads((self.project / path).read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory):
    """Makes workspaces over one environment and one encoder."""
    folder = tmp_path_factory.mktemp("shared")
    python = make_environment(folder / "environment")
    encoder = make_tiny_bert(folder / "encoder", max_positions=512)
    return lambda name: Workspace(tmp_path_factory.mktemp(name), python, encoder)


@pytest.fixture(scope="module")
def sample(workspaces):
    """The workspace in which `all` has run on the sample corpus, and what it printed."""
    workspace = workspaces("sample")
    return workspace, workspace.run_project("all", **SHORT)


@pytest.fixture(scope="module")
def small_release(data_dir, tmp_path_factory):
    """Four documents of each part of GutBrainIE that the workflow reads, laid out as released."""
    source = data_dir / "gutbrainie"
    if not (source / "articles_test.json").is_file():
        pytest.skip("GutBrainIE is absent: expected it as 'gutbrainie' among the real corpora")
    folder = tmp_path_factory.mktemp("release")
    for quality in ("platinum", "gold", "silver"):
        copy_start(source, folder, TRAIN.format(quality))
    copy_start(source, folder, "Annotations/Dev/json_format/dev.json")
    copy_start(source, folder, "articles_test.json")
    return folder


def copy_start(source: Path, target: Path, name: str, n: int = 4) -> None:
    articles = json.loads((source / name).read_text(encoding="utf8"))
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    start = dict(list(articles.items())[:n])
    (target / name).write_text(json.dumps(start), encoding="utf8")


def script_lines(prefix):
    """The lines of all scripts that begin with these words, split, without variables."""
    for command in PROJECT["commands"]:
        for line in command["script"]:
            words = shlex.split(re.sub(r"\$\{vars\.([\w.]+)\}", r"\1", line))
            for i in range(len(words)):
                if words[i : i + len(prefix)] == prefix:
                    yield command["name"], words[i + len(prefix) :]


def test_workflow_has_a_command_for_each_step():
    assert PROJECT["workflows"]["all"] == [
        "corpus",
        "kb",
        "train",
        "tune",
        "refit",
        "evaluate",
        "package",
        "annotate",
    ]
    for name, command in COMMANDS.items():
        assert command["help"], name


def test_scripts_use_sub_commands_and_options_that_exist():
    known = get_command(app).commands  # type: ignore[attr-defined]
    found = list(script_lines(["-m", "spacy", "bioie"]))
    assert len(found) >= 8
    for step, (name, *arguments) in found:
        assert name in known, f"{step}: bioie {name}"
        options = {flag for p in known[name].params for flag in (*p.opts, *p.secondary_opts)}
        used = {word for word in arguments if re.match(r"--?[a-z]", word)}
        if known[name].context_settings.get("allow_extra_args"):
            used = {word for word in used if "." not in word}  # settings of a config
        assert used <= options, f"{step}: bioie {name}"


def test_scripts_use_variables_and_files_that_exist():
    text = (REPOSITORY / "project.yml").read_text(encoding="utf8")
    used = set(re.findall(r"vars\.(\w+)", text))
    assert used == set(PROJECT["vars"])
    for path in re.findall(r"(?:assets/(?:sample|splits|schemas)|benchmarks)/[\w./]+", text):
        assert (REPOSITORY / path).exists(), path
    assert (REPOSITORY / "configs" / f"{PROJECT['vars']['config']}.cfg").is_file()


def test_held_out_documents_are_documents_of_the_sample():
    folder = REPOSITORY / "assets"
    held_out = (folder / "splits" / "sample_held_out.txt").read_text(encoding="utf8").split()
    assert len(held_out) >= 5
    for name in held_out:
        article = (folder / "sample" / "articles" / f"{name}.txt").read_text(encoding="utf8")
        assert "\nsplit: train\n" in article, name


def test_installation_can_build_the_package():
    """`spacy package --build wheel` ends with an error where neither of these is installed."""
    parser = ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf8")
    extras = [parser["options.extras_require"][extra] for extra in ("cpu", "minilm")]
    required = "\n".join([parser["options"]["install_requires"], *extras])
    assert re.search(r"^(build|wheel)\b", required, re.M)


def test_package_is_installed_in_every_environment():
    """In another environment nothing has changed for the project, and the step was skipped."""
    for corpus in PROJECT["vars"]["package"]:
        assert COMMANDS[f"package-{corpus}"].get("no_skip")


def test_project_has_no_deprecated_setting():
    """It is answered with a warning at each step."""
    assert "spacy_version" not in PROJECT


@pytest.mark.slow
def test_each_step_of_the_sample_ran(sample):
    _, printed = sample
    at = [printed.find(f" {name} ===") for name in PROJECT["workflows"]["all"]]
    assert -1 not in at and at == sorted(at), printed[-4000:]


@pytest.mark.slow
def test_pipeline_is_installed_as_a_package(sample):
    workspace, _ = sample
    place = "import en_bioie_sample as p; print(p.__version__, p.__file__)"
    version, file = workspace.run("-c", place).split()
    assert version == PROJECT["vars"]["version"]
    assert Path(file).is_relative_to(workspace.python.parents[1])
    requirements = workspace.read_json(f"packages/en_bioie_sample-{version}/meta.json")
    names = {re.split(r"[\[<>=]", entry)[0] for entry in requirements["requirements"]}
    assert names >= {"spacy", "spacy-bioie", "spacy-transformers"}
    assert any("spacy-bioie[" in entry for entry in requirements["requirements"])


@pytest.mark.slow
def test_metrics_of_gold_and_of_predicted_input_are_written(sample):
    workspace, _ = sample
    check_metrics(workspace, "sample")
    metrics = workspace.read_json("metrics/sample/dev.json")
    # Names of the sample's concepts are found in its knowledge base without training
    assert metrics["nel_gold_acc1"] > 0.5
    for name in ("training_cost", "refit_cost"):
        cost = workspace.read_json(f"metrics/sample/{name}.json")
        assert cost["seconds"] > 0 and cost["peak_memory_mb"] > 100


def check_metrics(workspace: Workspace, corpus: str) -> None:
    metrics = workspace.read_json(f"metrics/{corpus}/dev.json")
    names = ["spans_sc_f", "ner_2025_micro_f", "nel_gold_acc1", "nerd_strict_micro_f"]
    names += [f"rel_{x}_{y}_micro_f" for x in ("gold", "pred") for y in ("bt", "tt", "tm")]
    for name in names:
        assert isinstance(metrics[name], float) and 0 <= metrics[name] <= 1, name
    # the file of predictions, scored by itself, says what the pipeline's scorer says
    official = workspace.read_json(f"metrics/{corpus}/dev_ner_official_2025.json")
    assert official["averages"]["micro_f"] == pytest.approx(metrics["ner_2025_micro_f"], abs=1e-6)


def check_final_pipeline(workspace: Workspace, corpus: str) -> None:
    """It knows the mentions that were held out, and has the thresholds that were chosen on them."""
    held_out = DocBin().from_disk(workspace.project / "corpus" / corpus / "held_out.spacy")
    linked = sum(
        bool(span.kb_id_) for doc in held_out.get_docs(Vocab()) for span in doc.spans["sc"]
    )
    counts, thresholds = [], []
    for model in ("model-tuned", "model-final"):
        folder = f"training/{corpus}/{model}"
        kb = workspace.project / folder / "faiss_entity_linker" / "kb"
        tables = FaissKnowledgeBase(Vocab()).from_disk(kb).tables
        counts.append(int(tables.evidence_counts.sum()))
        cfg = workspace.read_json(f"{folder}/relation_extractor/cfg")
        thresholds.append((cfg["threshold"], cfg["thresholds"]))
    assert linked and counts[1] == counts[0] + linked
    assert thresholds[0] == thresholds[1]


@pytest.mark.slow
def test_final_pipeline_has_seen_all_documents(sample):
    workspace, _ = sample
    check_final_pipeline(workspace, "sample")


@pytest.mark.slow
def test_new_article_is_annotated(sample):
    _, printed = sample
    report = printed[printed.find(" annotate ===") :]
    heading = re.compile(r"^(Mentions|Relations|Relations between concepts) \((\d+)\)$", re.M)
    counts = heading.findall(report)
    assert [name for name, _ in counts] == ["Mentions", "Relations", "Relations between concepts"]
    lines = re.findall(r"^  T\d+ +(title|abstract) \d+-\d+ ", report, re.M)
    assert len(lines) == int(counts[0][1])


@pytest.mark.slow
def test_gutbrainie_runs_on_a_folder_of_the_release(small_release, workspaces):
    workspace = workspaces("gutbrainie")
    platinum = json.loads((small_release / TRAIN.format("platinum")).read_text(encoding="utf8"))
    held_out = workspace.project / "assets" / "splits" / "gutbrainie_held_out.txt"
    held_out.write_text("\n".join(list(platinum)[:2]) + "\n", encoding="utf8")
    workspace.run_project("gutbrainie", gutbrainie=small_release, adapt_layers=1, adapt_steps=2)
    check_metrics(workspace, "gutbrainie")
    workspace.run("-c", "import en_bioie_gutbrain")
    docs = DocBin().from_disk(workspace.project / "corpus" / "gutbrainie" / "train.spacy")
    tiers = Counter(doc._.tier for doc in docs.get_docs(Vocab()))
    assert tiers == {"platinum": 2, "gold": 4, "silver": 4}
    check_final_pipeline(workspace, "gutbrainie")
    articles = json.loads((small_release / "articles_test.json").read_text(encoding="utf8"))
    for year in ("2025", "2026"):
        written = sorted((workspace.project / "submissions" / year).glob("*.json"))
        assert len(written) == 4
        for path in written:
            assert set(json.loads(path.read_text(encoding="utf8"))) <= set(articles), path.name
