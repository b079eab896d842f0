"""Every entry point of setup.cfg: what it names is there, is registered, and is documented."""

import inspect
import re
from configparser import ConfigParser
from importlib import import_module, metadata
from pathlib import Path

import pytest
import spacy
from spacy.cli._util import app as spacy_app
from typer.main import get_command

from spacy_bioie.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
FACTORY_NAME = re.compile(r"[a-z][a-z0-9_]*")  # spaCy allows no dot in them
REGISTRY_NAME = re.compile(r"spacy_bioie\.[A-Za-z]\w*\.v[1-9]\d*")
# Where thinc and spaCy look for a group; the rest are registries of the same name.
REGISTRIES = {"thinc_optimizers": "optimizers", "spacy_factories": "_entry_point_factories"}


def read_entry_points():
    """The (group, name, value) of each entry point in setup.cfg."""
    parser = ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(REPOSITORY / "setup.cfg", encoding="utf8")
    found = []
    for group, lines in parser["options.entry_points"].items():
        for line in lines.strip().splitlines():
            name, _, value = line.partition(" = ")
            found.append((group, name.strip(), value.strip()))
    return found


ENTRY_POINTS = read_entry_points()
FUNCTIONS = [entry for entry in ENTRY_POINTS if entry[0] != "spacy_cli"]
FACTORIES = [name for group, name, _ in ENTRY_POINTS if group == "spacy_factories"]
every_entry_point = pytest.mark.parametrize("group, name, value", ENTRY_POINTS)
every_function = pytest.mark.parametrize("group, name, value", FUNCTIONS)


def find_object(value):
    module, _, attribute = value.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def test_installation_has_the_entry_points_of_setup_cfg():
    assert len(ENTRY_POINTS) > 15 and len(set(ENTRY_POINTS)) == len(ENTRY_POINTS)
    installed = metadata.distribution("spacy-bioie").entry_points
    assert sorted((e.group, e.name, e.value) for e in installed) == sorted(ENTRY_POINTS), (
        "The installed package has other entry points than setup.cfg: install it again."
    )


@every_entry_point
def test_entry_point_is_there(group, name, value):
    assert find_object(value) is not None


@every_function
def test_entry_point_is_registered(group, name, value):
    registry = getattr(spacy.registry, REGISTRIES.get(group, group.removeprefix("spacy_")))
    assert registry.get(name) is find_object(value)


@every_function
def test_name_follows_the_rule(group, name, value):
    rule = FACTORY_NAME if group == "spacy_factories" else REGISTRY_NAME
    assert rule.fullmatch(name), f"{group}: {name}"


@every_function
def test_function_and_its_module_are_documented(group, name, value):
    function = find_object(value)
    assert inspect.isfunction(function), f"{value} is a {type(function).__name__}"
    for thing in (function, inspect.getmodule(function)):
        # getdoc() would take the docstring of a base class where there is none
        assert (thing.__doc__ or "").strip(), f"{value} has no docstring"


@pytest.mark.parametrize("name", FACTORIES)
def test_factory_makes_the_component_that_it_names(name):
    nlp = spacy.blank("en")
    component = nlp.add_pipe(name)
    assert component.name == name  # type: ignore[attr-defined]
    meta = nlp.get_factory_meta(name)
    assert meta.factory == name and meta.assigns
    # a component that can be trained says what its checkpoints are chosen by
    assert bool(sum(meta.default_score_weights.values())) == hasattr(component, "update")
    assert (type(component).__doc__ or "").strip()


def test_names_that_the_code_asks_for_are_registered():
    """Names in the code and in the configs, such as the one that replace_listeners leaves."""
    asked = {}
    files = [*REPOSITORY.glob("spacy_bioie/**/*.py"), *REPOSITORY.glob("configs/*.cfg")]
    for file in files:
        for name in REGISTRY_NAME.findall(file.read_text(encoding="utf8")):
            asked.setdefault(name, file.name)
    assert len(asked) > 10
    registered = {name for _, name, _ in FUNCTIONS}
    assert {name: file for name, file in asked.items() if name not in registered} == {}


def test_sub_commands_are_documented():
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert get_command(spacy_app).commands["bioie"].commands.keys() == commands.keys()  # type: ignore[attr-defined]
    assert {"convert", "build-kb", "evaluate", "predict", "annotate"} <= set(commands)
    for name, command in commands.items():
        text = (command.help or "").strip()
        assert text.endswith("."), f"bioie {name}: {text!r}"
        assert "Exit codes" in text, f"bioie {name} does not say its exit codes"
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"bioie {name}: {parameter.name} has no help"


# Scorers are defaults of their components.
@pytest.mark.parametrize("name", [n for g, n, _ in FUNCTIONS if g != "spacy_scorers"])
def test_choice_is_in_the_documentation(name):
    """By its name, or in a config that uses it."""
    files = [REPOSITORY / "README.md", REPOSITORY / "METHODS.md"]
    text = "".join(path.read_text(encoding="utf8") for path in files)
    configs = "".join(p.read_text(encoding="utf8") for p in (REPOSITORY / "configs").glob("*.cfg"))
    assert f"`{name.removeprefix('spacy_bioie.')}`" in text or name in configs
