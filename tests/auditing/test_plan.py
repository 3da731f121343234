"""Plans: shipped ones hold, mistakes are named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from imaseg.auditing.plan_probes import Probe, Ruler

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
        ({"margins": [{"eps": 0.5}] * 2}, "must have different names, got 'margin-l2-dice-below-0.5-norm' twice"),
        ({"margins": [{"eps": 0.5, "perturbation": "l3"}]}, "perturbation must be one of"),
        ({"certified": [{"sigma": 0.5, "tau": [0.4]}]}, r"tau must be in \(0.5, 1\)"),
        ({"certified": [{"sigma": 0.5}] * 2}, "must have different names, got 'certified-l2' twice"),
        ({"certified": [{"sigma": 0.5, "unit": "mm"}]}, "certified.0.unit must be valid"),
        ({"voxel_margins": {"eps": 0.5, "perturbation": "gamma", "unit": "std"}}, "unit 'std' must go with l2 or linf"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "unit": "mm"}]}, "unit 'mm' must go with deformation, got 'l2'"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        load_plan(_write(tmp_path, **changes))


def test_ladders_are_sorted():
    plan = Plan.model_validate(GOOD | {"probes": [{**GOOD["probes"][0], "eps": [0.3, 0.1, 0.2, 0.1]}]})
    assert plan.probes[0].eps == [0.1, 0.2, 0.3]


def test_margins_are_named_as_shortly_as_tells_them_apart():
    flipped = {"name": "voxels-flipped", "fraction": 0.1}
    margins = [
        {"perturbation": "linf", "eps": 0.4},
        {"eps": 0.4, "unit": "rms"},
        {"eps": 0.4, "unit": "rms", "criterion": flipped},
        {"eps": 9.0, "criterion": flipped},
        {"eps": 0.4, "unit": "rms", "criterion": {"name": "dice-below", "threshold": 0.9, "relative": True}},
        {"eps": 0.4, "name": "mine"},
    ]
    plan = Plan.model_validate(GOOD | {"margins": margins})
    assert [margin.name for margin in plan.margins] == [
        "margin-linf",
        "margin-l2-dice-below-0.5",
        "margin-l2-voxels-flipped-0.1-rms",
        "margin-l2-voxels-flipped-0.1-norm",
        "margin-l2-dice-below-0.9-relative",
        "mine",
    ]
    assert Plan.model_validate(plan.model_dump()) == plan


def test_std_counts_in_standard_deviations_of_the_case():
    ruler = Ruler.of(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]), (1.0, 1.0))
    assert ruler.std == 2.0
    l2 = Probe(attack="pgd", unit="std", eps=[0.1, 0.3])
    assert (l2.build(0.1, 0, ruler).perturbation.eps, l2.build(0.1, 0, ruler).perturbation.unit) == (0.2, "rms")
    assert l2.ladder(ruler) == [0.2, 0.6]
    assert l2.stated_unit == "std"
    linf = Probe(attack="pgd", perturbation="linf", unit="std", eps=[0.1])
    assert (linf.build(0.1, 0, ruler).perturbation.eps, linf.build(0.1, 0, ruler).perturbation.unit) == (0.2, "max")
    assert l2.same_set(Probe(attack="fgsm", unit="std", eps=[1.0]))
    assert not l2.same_set(Probe(attack="fgsm", unit="rms", eps=[1.0]))


@pytest.mark.parametrize("spacing", [(0.4, 0.4, 0.4), (1.0, 1.0, 5.0), (0.7, 0.7)])
def test_deformations_in_mm_fit_any_voxel_size(spacing):
    probe = Probe(attack="strong", perturbation="deformation", unit="mm", eps=[1.0, 3.0])
    sets = [probe.build_set(eps, Ruler(spacing)) for eps in (0.0, 1.0, 3.0)]
    assert [one.eps for one in sets] == [0.0, 1.0, 3.0]
    assert len({one.control_spacing for one in sets}) == 1, "a ladder walks on one grid"
    assert sets[0].spacing == spacing
    for one in sets:
        one.check(torch.zeros(1, 1, *[16] * len(spacing)))
    assert probe.stated_unit == "mm"


def test_attacks_keep_their_own_objective_unless_told():
    assert Probe(attack="strong", eps=[1.0]).build(1.0, 0).objective.name == "tempered-dice"
    assert Probe(attack="segpgd", eps=[1.0]).build(1.0, 0).objective.name == "segpgd"
    named = Probe(attack="strong", eps=[1.0], objective="dice")
    assert named.build(1.0, 0).objective.name == "dice"
    assert named.name == "strong-l2"


def test_a_missing_plan_lists_the_shipped_ones(tmp_path):
    with pytest.raises(InputError, match="plan must be one of quick, standard, thorough, demo or a YAML file"):
        load_plan(tmp_path / "none.yaml")


def test_broken_yaml_is_one_clear_line(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: [")
    with pytest.raises(InputError, match="must be valid YAML"):
        load_plan(path)
