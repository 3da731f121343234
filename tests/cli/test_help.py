"""Help of every command, the version, and every key of the files that people write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

import imaseg
from imaseg import InputError
from imaseg.cli.keys import FILES, config_keys, markdown
from imaseg.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


def _commands(group=None, path=()):
    group = group or typer.main.get_command(app)
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*path, name))


def _at(path):
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return command


def _words(text):
    return re.findall(r"[^\s`│]+", text)


@pytest.mark.parametrize("path", list(_commands()), ids=" ".join)
def test_help_shows_every_word_that_was_written(path):
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    there = " ".join(_words(shown.output))
    command = _at(path)
    written = [command.help, *(parameter.help for parameter in command.params if not parameter.hidden)]
    for text in filter(None, written):
        for word in _words(text):
            assert word in there, f"{word!r} of {text!r}"


@pytest.mark.parametrize("path", [path for path in _commands() if path], ids=" ".join)
def test_help_speaks_in_sentences(path):
    command = _at(path)
    for text in [command.help, *(parameter.help for parameter in command.params if parameter.name != "help")]:
        if text is not None and not text.startswith(("Install completion", "Show completion")):
            assert text[0].isupper() or text[0] == "`", text
            assert text.rstrip().endswith((".", ")")), text


def test_the_version_is_that_of_the_package():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"imaseg {imaseg.__version__}\n")


@pytest.mark.parametrize("file", FILES)
def test_every_key_has_type_default_and_meaning(file):
    own = {part for part, model in FILES[file]() if model.__module__.startswith("imaseg.")}  # other tests add probes
    for part, keys in config_keys(file).items():
        assert keys, part
        for key in keys if part in own else ():
            assert key["meaning"].endswith((".", ")")), (part, key)
            assert "None" not in key["meaning"]
            assert key["type"]
            if key["default"]:
                json.loads(key["default"])


def test_keys_are_those_that_the_shipped_files_use():
    known = {key["key"] for key in config_keys("train")[""]}
    for path in (ROOT / "configs").glob("*.yaml"):
        assert yaml.safe_load(path.read_text()).keys() <= known
    defaults = {key["key"]: key["default"] for key in config_keys("train")[""]}
    assert (defaults["epochs"], defaults["schedule"], defaults["network"]) == ("20", '"cosine"', "")
    types = {key["key"]: key["type"] for key in config_keys("card")[""]}
    assert types["overlap"] == "float (>= 0, < 1)"
    assert types["class"] == "text, or null"
    assert {key["key"]: key["type"] for key in config_keys("plan")["validity:"]}["converged"] == "float (> 0)"
    assert "a probe of `kind: attack`:" in config_keys("plan")


def test_keys_are_printed_and_unknown_files_refused():
    text = CliRunner().invoke(app, ["config", "train"]).output
    assert 'schedule: cosine | poly | constant = "cosine"\n    Course of the learning rate over the epochs.' in text
    assert json.loads(CliRunner().invoke(app, ["config", "recipe", "--json"]).output) == config_keys("recipe")
    with pytest.raises(InputError, match="config must be one of train, plan, card, recipe, got 'plann'. Did you mean"):
        config_keys("plann")


def test_the_page_of_keys_is_the_generated_one():
    assert (ROOT / "docs" / "configuration.md").read_text() == markdown(), (
        'Run python -c "from imaseg.cli.keys import markdown; print(markdown(), end=str())" > docs/configuration.md'
    )
