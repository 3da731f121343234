"""`imaseg list`: complete by construction, readable, and data for scripts."""

from __future__ import annotations

import inspect
import json
import sys

import pytest
import yaml

from imaseg.attacks import Attack
from imaseg.attacks.presets import PRESETS
from imaseg.cli.listing import KINDS, _yaml, attacks
from imaseg.cli.main import run
from imaseg.corruptions import Corruption
from imaseg.data.resources import resource_names
from imaseg.margins import Criterion
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.training import TrainingMethod


@pytest.fixture
def imaseg(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["imaseg", *arguments])
        with pytest.raises(SystemExit) as stop:
            run()
        return stop.value.code or 0, *capsys.readouterr()

    return command


def listed(imaseg, kind):
    code, stdout, stderr = imaseg("list", kind, "--json")
    assert (code, stderr) == (0, "")
    return {entry["name"]: entry for entry in json.loads(stdout)}


NAMES = {
    "attacks": lambda: {*Attack.known(), *PRESETS},
    "objectives": lambda: set(Objective.known()),
    "perturbations": lambda: set(Perturbation.known()),
    "corruptions": lambda: set(Corruption.known()),
    "criteria": lambda: set(Criterion.known()),
    "methods": lambda: set(TrainingMethod.known()),
    "recipes": lambda: set(resource_names("data_prep")),
}


@pytest.mark.parametrize("kind", NAMES)
def test_everything_registered_is_listed_by_name(imaseg, kind):
    entries = listed(imaseg, kind)
    assert entries.keys() == NAMES[kind]()
    assert list(entries) == sorted(entries)
    assert all(entry["summary"].strip() for entry in entries.values())


def test_an_attack_has_settings_source_and_what_differs(imaseg):
    entries = listed(imaseg, "attacks")
    pgd, preset = entries["pgd"], entries["segpgd"]
    assert pgd["kind"] == "search"
    assert (pgd["settings"]["steps"], pgd["settings"]["objective"]) == (20, "dice")
    assert "Madry" in pgd["source"]
    assert "perturbation" not in pgd["settings"]
    assert pgd["differs"] is None
    assert preset["kind"] == "preset"
    assert preset["settings"] == {"attack": PRESETS["segpgd"].attack, **PRESETS["segpgd"].settings}
    assert preset["source"] == Attack.about("segpgd").reference
    assert preset["differs"] == PRESETS["segpgd"].differs
    keys = {"name", "kind", "summary", "settings", "source", "differs"}
    assert all(keys <= entry.keys() for entry in entries.values())


def test_arguments_and_defaults_are_those_of_the_constructor(imaseg):
    for kind, base in (("objectives", Objective), ("perturbations", Perturbation), ("criteria", Criterion)):
        for name, entry in listed(imaseg, kind).items():
            known = inspect.signature(base.known()[name]).parameters
            assert set(entry["required"]) | set(entry["settings"]) == set(known)
            for argument in entry["required"]:
                assert known[argument].default is inspect.Parameter.empty


def test_settings_are_printed_as_yaml_takes_them(imaseg):
    code, stdout, _ = imaseg("list", "probes")
    assert code == 0
    words = " ".join(stdout.split())
    assert "tau=[0.6, 0.75]" in words
    assert "criterion={name: dice-below, threshold: 0.5}" in words
    assert "cases=null" in words
    assert "per_class=false" in words
    assert "None" not in words
    for kind in KINDS:
        for entry in KINDS[kind]():
            for value in entry["settings"].values():
                if isinstance(value, str | int | float | list | tuple | dict | None):
                    assert json.dumps(yaml.safe_load(_yaml(value))) == json.dumps(value), (kind, entry["name"])


def test_units_are_named(imaseg):
    units = {name: entry["unit"] for name, entry in listed(imaseg, "perturbations").items()}
    assert units["l2"] == ["norm", "rms"]
    assert units["linf"] == ["max"]
    assert all(units.values())
    if "deformation" in units:
        assert units["deformation"] == ["voxel", "mm"]


def test_corruptions_say_where_they_occur_and_whose_physics_they_are(imaseg):
    entries = listed(imaseg, "corruptions")
    assert (entries["motion"]["images"], entries["motion"]["library"]) == ("all but CT", "torchio")
    assert (entries["ct-streaks"]["images"], entries["blur"]["images"]) == ("CT", "all")
    assert (entries["rotation"]["kind"], entries["gamma"]["kind"]) == ("physical", "by change")
    assert entries["rician-noise"]["title"] == "Rician noise"
    assert "Gudbjartsson" in entries["rician-noise"]["source"]


@pytest.mark.parametrize("kind", NAMES)
def test_the_table_is_no_wider_than_120_columns(imaseg, kind):
    code, stdout, _ = imaseg("list", kind)
    assert code == 0
    assert max(map(len, stdout.splitlines())) <= 120
    firsts = [line.split()[0] for line in stdout.splitlines()[1:] if not line.startswith(" ")]
    assert firsts == sorted(NAMES[kind]())


def test_an_unknown_kind_lists_the_known_ones(imaseg):
    code, stdout, stderr = imaseg("list", "corruption")
    assert (code, stdout) == (2, "")
    assert stderr == f"imaseg: kind must be one of {', '.join(KINDS)}, got 'corruption'.\n"


def test_a_new_attack_is_listed_by_being_defined(monkeypatch):
    monkeypatch.setattr(Attack, "registry", dict(Attack.registry))

    class Mine(Attack):
        """Looks nowhere.

        Longer words.
        """

        title = "mine"

        def _run(self, search):
            pass

    (entry,) = [entry for entry in attacks() if entry["name"] == "mine"]
    assert entry["summary"] == "Looks nowhere."
    assert Mine.name == "mine"
