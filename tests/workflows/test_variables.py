"""The variables of project.yml: what the corpus decides, and that every value can be changed.

Nothing is run: the lines of the commands are put together as ``project run`` does.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import srsly
from spacy.cli._util import parse_config_overrides
from spacy.util import load_config
from weasel.util import load_project_config

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = srsly.read_yaml(REPOSITORY / "project.yml")


@pytest.fixture
def project(tmp_path):
    """A folder with project.yml alone: loading it makes folders."""
    shutil.copy(REPOSITORY / "project.yml", tmp_path)
    return tmp_path


def plan(project: Path, name: str, **variables) -> list[list[str]]:
    """The lines that `project run` would run, split, with those of the commands that it calls."""
    overrides = {f"vars.{key}": value for key, value in variables.items()}
    config = load_project_config(project, overrides=overrides)
    if name in config["workflows"]:
        steps = config["workflows"][name]
        return [line for step in steps for line in plan(project, step, **variables)]
    (command,) = (command for command in config["commands"] if command["name"] == name)
    lines = []
    for line in command["script"]:
        words = shlex.split(line)
        if words[:5] == ["python", "-m", "spacy", "project", "run"]:
            called, folder, *options = words[5:]
            assert folder == "."
            passed_on = parse_config_overrides(options)
            values = {key.removeprefix("vars."): value for key, value in passed_on.items()}
            lines += plan(project, called, **values)
        else:
            lines.append(words)
    return lines


def options_of(lines: list[list[str]], *words: str) -> dict[str, str]:
    """The options of the one line that has these words, one after another."""
    found = [line for line in lines if f" {' '.join(words)} " in f" {' '.join(line)} "]
    assert len(found) == 1, found
    names = [i for i, word in enumerate(found[0]) if word.startswith("--")]
    return {found[0][i]: (*found[0], "")[i + 1] for i in names}


def check_package_and_schedule(lines, corpus, package, schedule, version="0.1.0"):
    training = options_of(lines, "spacy", "train")
    names = ("max_epochs", "optimizer.learn_rate.total_steps", "eval_frequency")
    assert tuple(int(training[f"--training.{name}"]) for name in names) == schedule
    assert training["--output"] == f"training/{corpus}"
    assert training["--paths.train"] == f"corpus/{corpus}/train.spacy"
    final = f"training/{corpus}/model-final"
    refitting = options_of(lines, "bioie", "refit", f"training/{corpus}/model-tuned")
    assert refitting["--paths.kb"] == f"kb/{corpus}_all"
    assert options_of(lines, f"corpus/{corpus}/all.spacy", final) == refitting
    packaging = options_of(lines, "spacy", "package", final)
    assert packaging["--name"] == package
    stem = f"en_{package}-{version}"
    (installing,) = (line for line in lines if "pip" in line)
    assert installing[-1] == f"packages/{stem}/dist/{stem}-py3-none-any.whl"
    assert options_of(lines, "bioie", "annotate", f"en_{package}") == {}


@pytest.mark.parametrize(
    "variables, corpus, package, schedule",
    [
        ({}, "sample", "bioie_sample", (40, 120, 17)),
        ({"corpus": "sample"}, "sample", "bioie_sample", (40, 120, 17)),
        ({"corpus": "gutbrainie"}, "gutbrainie", "bioie_gutbrain", (6, 276, 55)),
    ],
)
def test_corpus_alone_sets_package_and_schedule(project, variables, corpus, package, schedule):
    lines = plan(project, "all", **variables)
    check_package_and_schedule(lines, corpus, package, schedule)
    other = {"sample": "gutbrainie", "gutbrainie": "sample"}[corpus]
    folders = "|".join(PROJECT["directories"])
    pattern = re.compile(rf"\b({folders})/{other}\b|{PROJECT['vars']['package'][other]}")
    assert not [word for line in lines for word in line if pattern.search(word)]


def test_command_gutbrainie_is_the_workflow_on_that_corpus_and_more(project):
    lines = plan(project, "gutbrainie")
    workflow = plan(project, "all", corpus="gutbrainie")
    assert lines[: len(workflow)] == workflow
    more = [" ".join(line) for line in lines[len(workflow) :]]
    begins = ("python -m spacy bioie predict",) * 2 + ("python benchmarks/gutbrainie.py",)
    assert all(line.startswith(begin) for line, begin in zip(more, begins, strict=True))


def test_every_value_can_be_changed(project):
    variables = {
        "config": "tok2vec_cpu",
        "encoder": "some/encoder",
        "gpu_id": 3,
        "version": "1.2.3",
        "seed": 77,
        "gutbrainie": "/data/release",
        "concepts": "/data/names.jsonl",
        "package.gutbrainie": "mine",
        "adapt_layers": 3,
        "adapt_steps": 5,
        "max_epochs.gutbrainie": 2,
        "total_steps.gutbrainie": 94,
        "eval_frequency.gutbrainie": 31,
    }
    lines = plan(project, "gutbrainie", **variables)
    check_package_and_schedule(lines, "gutbrainie", "mine", (2, 94, 31), version="1.2.3")
    training = options_of(lines, "spacy", "train", "configs/tok2vec_cpu.cfg")
    expected = {"--vars.encoder": "some/encoder", "--gpu-id": "3", "--system.seed": "77"}
    assert expected.items() <= training.items()
    for kb in ("kb/gutbrainie", "kb/gutbrainie_all"):
        assert options_of(lines, "build-kb", kb, "/data/names.jsonl")
    assert options_of(lines, "bioie", "refit")["--gpu-id"] == "3"
    adapting = options_of(lines, "adapt-names", "/data/names.jsonl")
    expected = {"--encoder": "some/encoder", "--layers": "3", "--max-steps": "5"}
    expected |= {"--seed": "77", "--gpu-id": "3"}
    assert expected.items() <= adapting.items()
    assert not [word for line in lines for word in line if "assets/gutbrainie/" in word]
    short = {"max_epochs.sample": 1, "total_steps.sample": 3, "eval_frequency.sample": 2}
    check_package_and_schedule(plan(project, "all", **short), "sample", "bioie_sample", (1, 3, 2))


def test_every_value_is_passed_on():
    """A value that a command does not pass on would silently be the default again."""
    names = set()
    for name, value in PROJECT["vars"].items():
        names |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    pattern = r"--vars\.([\w.]+) \$\{vars\.([\w.]+)\}"
    passed_on = dict(re.findall(pattern, PROJECT["vars"]["passed_on"]))
    assert set(passed_on) == names - {"corpus", "passed_on"}
    assert all(name == value for name, value in passed_on.items())


def test_schedules_fit_their_corpora():
    """The rate falls to zero with the last update, and that one is evaluated."""
    articles = (REPOSITORY / "assets" / "sample" / "articles").glob("*.txt")
    training = sum("\nsplit: train\n" in path.read_text(encoding="utf8") for path in articles)
    held_out = (REPOSITORY / "assets" / "splits" / "sample_held_out.txt").read_text().split()
    documents = {"sample": training - len(held_out), "gutbrainie": 722}
    values = PROJECT["vars"]
    for corpus, count in documents.items():
        batches = -(-count // 16)
        assert values["total_steps"][corpus] == batches * values["max_epochs"][corpus]
        assert (values["total_steps"][corpus] - 1) % values["eval_frequency"][corpus] == 0


@pytest.mark.parametrize("config", ["minilm_cpu", "bert_base_gpu", "tok2vec_cpu"])
def test_configs_take_what_the_training_step_sets(project, config):
    (words,) = plan(project, "train", config=config)
    overrides = parse_config_overrides(words[words.index("--gpu-id") + 2 :])
    assert overrides["system.seed"] == PROJECT["vars"]["seed"]
    loaded = load_config(REPOSITORY / "configs" / f"{config}.cfg", overrides=overrides)
    assert loaded["paths"]["kb"] == "kb/sample"
    assert loaded["training"]["max_epochs"] == PROJECT["vars"]["max_epochs"]["sample"]
