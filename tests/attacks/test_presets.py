"""Presets build, run and hold the published numbers; what a result calls its attack builds that attack again."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import imaseg
from imaseg import L2, PGD, Frequency, Linf
from imaseg.attacks import PRESETS, Attack, WorstCase
from imaseg.objectives import CrossEntropy
from tests.attacks.models import trained_model

EPS = {"l2": 1.0, "linf": 0.1, "frequency": 40.0}
SETS = {"l2": L2, "linf": Linf, "frequency": Frequency}
ON = [
    (name, kind)
    for name, preset in PRESETS.items()
    for kind in ([preset.perturbation] if preset.perturbation else ["l2", "linf"])
]


@pytest.fixture(scope="module")
def trained():
    return trained_model()


@pytest.mark.parametrize(("name", "kind"), ON)
def test_a_preset_runs_and_keeps_the_budget(trained, name, kind):
    model, image, label = trained
    budget = SETS[kind](EPS[kind])
    attack = Attack.build({"name": name, "steps": 8}, budget, seed=3)
    result = attack(model, image, label)
    assert (attack.steps, attack.seed) == (8, 3)
    assert result.backward_calls == 8
    assert (result.size <= EPS[kind] * (1 + 1e-5)).all()
    torch.testing.assert_close(budget.size(result.params), result.size)
    assert (result.foreground_dice <= result.foreground_dice_clean).all()
    assert result.foreground_dice.mean() < result.foreground_dice_clean.mean() - 0.005
    with torch.no_grad():  # objectives that change on the way are stated as they are at the end
        torch.testing.assert_close(result.objective, attack.objective(model(result.image), label))
        torch.testing.assert_close(result.objective_clean, attack.objective(model(image), label))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_it_comes_from(name):
    preset = PRESETS[name]
    about = Attack.about(name)
    assert re.search(r"\b(19|20)\d\d\b", about.reference), "the reference should state its year"
    assert about.cited.split(" ")[0] in about.reference
    assert name not in Attack.known(), "a preset must not hide a search"
    assert preset.attack in Attack.known()


def test_published_settings():
    """PGD: 2/255 at 8/255; SegPGD and CosPGD: 0.01 at 8/255, 20 steps each; APGD: 100 steps; SEA: 300 each."""
    assert _settings("pgd-ce") == ("pgd", "cross-entropy", 20, 0.25, 0.0)
    assert _settings("segpgd") == ("pgd", "segpgd", 20, pytest.approx(0.01 * 255 / 8, rel=0.01), 0.0)
    assert _settings("cospgd") == ("pgd", "cospgd", 20, pytest.approx(0.01 * 255 / 8, rel=0.01), 0.0)
    for name, objective in (("apgd-ce", "cross-entropy"), ("apgd-dice", "dice")):
        attack = Attack.build(name, L2(1.0))
        assert (attack.name, attack.objective.name, attack.steps, attack.larger_first) == (
            "apgd",
            objective,
            100,
            False,
        )
    sea = Attack.build("sea", L2(1.0))
    assert isinstance(sea, WorstCase)
    assert [(one.name, one.steps, one.larger_first) for one in sea.members] == [("apgd", 300, True)] * 4
    four = ["masked-ce", "segpgd", "jensen-shannon", "masked-spherical"]
    assert [member.objective.name for member in sea.members] == four
    eccv = Attack.build("sea-eccv", L2(1.0))
    assert [(one.name, one.steps, one.larger_first) for one in eccv.members] == [("apgd", 300, True)] * 3
    three = ["balanced-masked-ce", "masked-ce", "jensen-shannon"]
    assert [member.objective.name for member in eccv.members] == three
    assert Attack.about("sea").reference.endswith("2023. arXiv:2306.12941v1.")
    assert "ECCV 2024" in Attack.about("sea-eccv").reference
    assert Attack.build("apgd-balanced-ce", L2(1.0)).objective.name == three[0]
    for name, objective in zip(("apgd-masked-ce", "apgd-segpgd", "apgd-js", "apgd-spherical"), four, strict=True):
        attack = Attack.build(name, L2(1.0))
        assert (attack.objective.name, attack.steps, attack.larger_first) == (objective, 300, True)


def _settings(name):
    attack = Attack.build(name, L2(1.0))
    return attack.name, attack.objective.name, attack.steps, attack.step_size, attack.decay


def test_the_caller_s_settings_win():
    sea = Attack.build({"name": "sea", "steps": 8}, L2(1.0))
    assert sea.steps == 8
    assert [member.steps for member in sea.members] == [2, 2, 2, 2]
    attack = Attack.build({"name": "segpgd", "step_size": 0.1, "objective": "dice"}, L2(1.0), seed=9, restarts=2)
    assert (attack.step_size, attack.objective.name, attack.seed, attack.restarts) == (0.1, "dice", 9, 2)
    assert Attack.build("segpgd", L2(1.0), objective=CrossEntropy()).objective.name == "cross-entropy"
    assert Attack.build("segpgd", L2(1.0)).step_size == 0.32, "presets must not remember what callers change"


@pytest.mark.parametrize("kind", [L2, Linf])
def test_vafa_is_refused_on_other_sets(kind):
    with pytest.raises(ValueError, match=f"(?i)perturbation of vafa must be frequency, got .*{kind.name}"):
        Attack.build("vafa", kind(1.0))


def test_vafa_s_set_may_be_named():
    assert Attack.build("vafa", perturbation=Frequency(20.0)).name == "ifgsm"


def test_unknown_names_list_presets_and_searches():
    with pytest.raises(ValueError, match="got 'seapgd'") as caught:
        Attack.build("seapgd", L2(1.0))
    assert all(f" {name}," in str(caught.value).replace("one of ", "one of  ") for name in (*PRESETS, *Attack.known()))


@pytest.mark.parametrize("spec", [5, ["pgd"], None, {"steps": 3}])
def test_what_names_no_attack_is_refused(spec):
    with pytest.raises(ValueError, match=re.escape(f"attack must be a name or a mapping with a name, got {spec!r}")):
        Attack.build(spec, L2(1.0))


@pytest.mark.parametrize(("kind", "eps"), [(L2, 1.0), (Linf, 0.1)])
def test_pgd_ce_is_the_classical_one(kind, eps):
    """A literal loop: x <- project(x + eps / 4 * steepest(g)), the worst point by Dice being kept."""
    model, image, label = trained_model()
    model, image = model.double(), image.double()
    delta = kind(eps).project(image, torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).double())
    seen = []
    handle = model.register_forward_hook(lambda _, given, __: seen.append((given[0] - image).detach()))
    attack = Attack.build("pgd-ce", kind(eps))
    attack(model, image, label, start=delta, criterion=lambda logits, *_: torch.zeros(len(logits), dtype=torch.bool))
    handle.remove()
    _clean, *points, last = seen
    assert len(points) == 20
    for found in points:
        torch.testing.assert_close(found, delta, rtol=0, atol=1e-9)
        leaf = (image + delta).requires_grad_()
        losses = torch.stack([cross_entropy(model(leaf[i, None]), label[i, None]) for i in range(8)])
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        if kind is Linf:
            delta = (delta + eps / 4 * gradient.sign()).clamp(-eps, eps)
        else:
            delta = delta + eps / 4 * gradient / gradient.flatten(1).norm(dim=1).view(8, 1, 1, 1)
            delta = delta * eps / delta.flatten(1).norm(dim=1).clamp(min=eps).view(8, 1, 1, 1)
    torch.testing.assert_close(last, delta, rtol=0, atol=1e-9)


SPECS = [
    "fgsm",
    {"name": "pgd", "steps": 3, "objective": {"name": "masked-ce"}, "restarts": 2},
    {"name": "apgd", "steps": 6, "objective": "logit-margin", "larger_first": True},
    {"name": "square", "steps": 9, "share": 0.3},
    {"name": "strong", "steps": 7},
    {"name": "gaussian-noise", "steps": 3},
    {"name": "minimum-norm", "steps": 9, "wrong": 0.5},
    {"name": "segpgd", "steps": 4},
    {"name": "sea", "steps": 8},
    {"name": "worst-case", "members": ["fgsm", {"name": "pgd", "steps": 5}, {"name": "square", "steps": 2}]},
]


@pytest.mark.parametrize("kind", [L2, Linf])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec if isinstance(spec, str) else spec["name"])
def test_what_a_result_calls_its_attack_gives_the_same_image_again(trained, spec, kind):
    model, image, label = trained
    budget = L2(0.06, unit="rms", bounds=(-9.0, 9.0)) if kind is L2 else Linf(torch.linspace(0.05, 0.2, 8))
    result = Attack.build(spec, budget, seed=11)(model, image, label)
    names = vars(imaseg.attacks) | vars(imaseg.perturbations) | vars(imaseg.objectives)
    again = eval(result.attack, dict(names))
    assert repr(again) == result.attack
    assert torch.equal(again(model, image, label).image, result.image)


def test_a_budget_given_as_a_numpy_number_is_stated_as_a_plain_one(trained):
    model, image, label = trained
    result = PGD(L2(np.float64(0.5)), steps=1)(model, image, label)
    assert "L2(eps=0.5," in result.attack
