"""Plans: shipped ones hold, mistakes are named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imaseg.auditing import Plan, load_plan
from imaseg.errors import InputError

PLANS = Path(__file__).resolve().parents[2] / "configs" / "plans"
GOOD = {
    "name": "good",
    "probes": [{"attack": "pgd", "eps": [0.1], "unit": "rms"}],
    "showcase": {"eps": 0.1},
}


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_plan_builds(path):
    plan = load_plan(path)
    assert plan.validity is not None
    assert plan.showcase.eps in plan.probe(plan.showcase.attack).eps


def test_shipped_plans_are_found_by_name():
    assert load_plan("quick").name == "quick"


def _write(tmp_path, **changes):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    return path


def test_a_good_plan_builds_its_attacks(tmp_path):
    plan = load_plan(_write(tmp_path))
    attack = plan.probes[0].build(0.1, 4)
    assert (attack.name, attack.perturbation.eps, attack.perturbation.unit, attack.seed) == ("pgd", 0.1, "rms", 4)
    assert plan.probes[0].name == "pgd-l2"
    assert load_plan(plan) is plan


def test_names_tell_objectives_apart():
    plan = Plan.model_validate(GOOD | {"probes": [*GOOD["probes"], {**GOOD["probes"][0], "objective": "dice-ce"}]})
    assert [probe.name for probe in plan.probes] == ["pgd-l2", "pgd-l2-dice-ce"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"probes": []}, "probes must be valid"),
        ({"probes": [{"attack": "pgdd", "eps": [1.0]}]}, "attack must be one of"),
        ({"probes": [{"attack": "pgd", "eps": [-1.0]}]}, "eps must be finite"),
        ({"probes": [{"attack": "pgd", "eps": [1.0], "objective": "dise"}]}, "objective must be one of"),
        ({"probes": [{"attack": "fgsm", "eps": [1.0], "steps": 5}]}, "of FGSM must be 1"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "perturbation": "linf", "unit": "rms"}]}, "arguments of linf"),
        ({"probes": GOOD["probes"] * 2}, "probes must have different names"),
        ({"showcase": {"eps": 0.3}}, r"showcase.eps must be one of its probe's \[0.1\], got 0.3"),
        ({"validity": {"large_eps": float("inf"), "scaled_eps": 0.1}}, "validity.large_eps must be valid"),
        ({"validity": {"large_eps": -2.0, "scaled_eps": 0.1}}, "eps must be finite and >= 0"),
        ({"margins": [{"eps": 0.5, "rtol": 1e-9}]}, "rtol must be in"),
        ({"extra": 1}, "extra must be valid"),
        ({"showcase": {"attack": "fgsm", "eps": 0.1}}, r"showcase\.attack must be one of the plan's probes"),
        ({"margins": [{"eps": 0.5, "criterion": {"name": "dice-under"}}]}, "criterion must be one of"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        load_plan(_write(tmp_path, **changes))


def test_ladders_are_sorted():
    plan = Plan.model_validate(GOOD | {"probes": [{**GOOD["probes"][0], "eps": [0.3, 0.1, 0.2, 0.1]}]})
    assert plan.probes[0].eps == [0.1, 0.2, 0.3]


def test_a_missing_plan_lists_the_shipped_ones(tmp_path):
    with pytest.raises(InputError, match="plan must be one of quick, standard, thorough, demo or a YAML file"):
        load_plan(tmp_path / "none.yaml")


def test_broken_yaml_is_one_clear_line(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: [")
    with pytest.raises(InputError, match="must be valid YAML"):
        load_plan(path)
