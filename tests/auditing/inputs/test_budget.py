"""Budgets in every unit against arithmetic by hand, and what a file can hold of a change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from imaseg import load_cases, load_model
from imaseg.auditing.inputs.budget import Budgeted, room_of, scale_of
from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import AttackProbe, MarginProbe, VoxelMarginProbe
from imaseg.auditing.shortcuts import attack_plan, margin_plan
from imaseg.data.volume import Volume
from imaseg.results.case import CaseScale

SPACING = [1.0, 1.0, 8.0]
SCALE = CaseScale(spacing=SPACING, std=2.0, span=10.0, native=50.0)
"""Of the image below: one unit of the model's input is 50 HU."""


def test_the_scale_of_a_case_is_that_of_its_image():
    volume = Volume("a", np.array([[[0.0, 4.0], [0.0, 4.0]]], np.float32), None, np.diag([1.0, 0.5, 1.0, 1.0]))
    scale = scale_of(Loaded(volume, volume, [], 50.0))
    assert scale == CaseScale(spacing=[1.0, 0.5], std=2.0, span=4.0, native=50.0)


BUDGETS = [
    ("l2", "std", 0.3, 0.6, "rms"),
    ("linf", "std", 0.3, 0.6, "max"),
    ("l2", "range", 0.3, 3.0, "rms"),
    ("linf", "range", 0.3, 3.0, "max"),
    ("l2", "native", 20.0, 0.4, "rms"),
    ("linf", "native", 20.0, 0.4, "max"),
    ("l2", "rms", 0.3, 0.3, "rms"),
    ("l2", "norm", 7.0, 7.0, "norm"),
    ("l2", None, 7.0, 7.0, "norm"),
    ("linf", None, 0.3, 0.3, "max"),
    ("deformation", "mm", 3.0, 3.0, "mm"),
    ("deformation", None, 3.0, 3.0, "mm"),
    ("gamma", None, 0.3, 0.3, "relative"),
]


@pytest.mark.parametrize(("name", "unit", "eps", "by_hand", "own"), BUDGETS)
def test_the_same_unit_means_the_same_in_attack_margin_and_plan(name, unit, eps, by_hand, own):
    plan = Plan.model_validate(
        {
            "name": "p",
            "probes": [{"attack": "pgd", "perturbation": name, "unit": unit, "eps": [eps]}],
            "margins": [{"perturbation": name, "unit": unit, "eps": eps}],
            "voxel_margins": {"perturbation": name, "unit": unit, "eps": eps},
        }
    )
    attack = attack_plan("pgd", name, eps, unit=unit)
    probes = [*plan.probes, *attack.probes]
    if unit is not None:  # the usual unit of `imaseg margin` need not be the set's own
        margins = margin_plan([f"{name}:{eps:g}:{unit}"], criterion={"name": "dice-below", "threshold": 0.5})
        probes += margins.probes
    assert [type(probe) for probe in probes[:4]] == [AttackProbe, MarginProbe, VoxelMarginProbe, AttackProbe]
    for probe in probes:
        built = probe.build_set(eps, SCALE)
        assert (float(built.eps), built.unit) == (pytest.approx(by_hand), own)
        assert probe.factor(SCALE) == pytest.approx(by_hand / eps)
        assert probe.stated_unit == (unit or own)
    (walked,) = attack.attacks
    assert float(walked.build(eps, 0, SCALE).perturbation.eps) == pytest.approx(by_hand)


def test_budgets_of_one_unit_share_a_set():
    l2 = AttackProbe(attack="pgd", unit="std", eps=[0.1])
    assert l2.same_set(AttackProbe(attack="fgsm", unit="std", eps=[1.0]))
    assert not l2.same_set(AttackProbe(attack="fgsm", unit="rms", eps=[1.0]))
    assert not l2.same_set(AttackProbe(attack="fgsm", perturbation="linf", unit="std", eps=[1.0]))
    assert [Budgeted(perturbation=name, unit=unit).is_intensity for name, unit in (
        ("l2", "std"), ("l2", None), ("linf", None), ("gamma", None)
    )] == [True, False, True, False]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "unit", "text"),
    [
        ("l2", "nonsense", "unit must be 'norm' or 'rms'"),
        ("l2", "mm", "unit 'mm' must go with deformation, got 'l2'"),
        ("linf", "rms", "unit of linf must be max or std or native or range, got 'rms'"),
        ("gamma", "rms", "unit of gamma must be relative, got 'rms'"),
        ("gamma", "native", "unit 'native' must go with l2 or linf, got 'gamma'"),
        ("deformation", "std", "unit 'std' must go with l2 or linf, got 'deformation'"),
        ("deformation", "voxel", "unit of deformation must be mm, got 'voxel'"),
        ("l3", None, "perturbation must be one of"),
    ],
)
def test_units_that_a_set_does_not_know_are_refused(name, unit, text):
    with pytest.raises(ValueError, match=text):
        Budgeted(perturbation=name, unit=unit).build_set(1.0, SCALE)


def test_native_budgets_need_one_native_unit():
    with pytest.raises(ValueError, match="unit 'native' must have one native unit per case, got none or several"):
        Budgeted(unit="native").build_set(1.0, SCALE.model_copy(update={"native": None}))


@pytest.mark.parametrize("spacing", [[0.4, 0.4, 0.4], [1.0, 1.0, 5.0], [0.7, 0.7]])
@pytest.mark.parametrize("largest", [3.0, 40.0])
def test_deformations_in_mm_fit_any_voxel_size(spacing, largest):
    probe = AttackProbe(attack="strong", perturbation="deformation", eps=[1.0, largest])
    scale = SCALE.model_copy(update={"spacing": spacing})
    sets = [probe.build(eps, 0, scale).perturbation for eps in (0.0, 1.0, largest)]
    assert [one.eps for one in sets] == [0.0, 1.0, largest]
    assert len({one.control_spacing for one in sets}) == 1, "a ladder walks on one grid"
    usual = 8 * math.prod(spacing) ** (1 / len(spacing))
    assert sets[0].control_spacing == pytest.approx(max(usual, largest / 0.6)), "points move apart with the budget"
    assert list(sets[0].spacing) == spacing
    for one in sets:
        one.check(torch.zeros(1, 1, *[16] * len(spacing)))


@pytest.fixture(scope="module")
def loaded(tiny_run, raw_phantom):
    """By name: a prepared case, a raw one, and a raw one whose intensities are clipped."""
    model = load_model(tiny_run)
    clipped = model.card.model_copy(deep=True)
    clipped.recipe = clipped.recipe | {"normalise": "percentile", "spacing": None}
    cases = load_cases(raw_phantom)
    sources = {"raw": CaseSource(cases, model.card), "clipped": CaseSource(cases, clipped)}
    return {name: source.load(cases[4]) for name, source in sources.items()}


def test_only_what_a_file_can_hold_may_change(loaded):
    for one in loaded.values():
        room = room_of(one)
        tissue = one.volume.image != one.volume.image.min()
        assert room["region"].shape == (1, *one.volume.image.shape)
        assert not np.asarray(room["region"][0])[~tissue].any(), "air stays as it is"
    clean, room = loaded["clipped"].volume.image, room_of(loaded["clipped"])
    np.testing.assert_array_equal(np.asarray(room["region"][0]), (clean > 0) & (clean < 1))
    assert room["bounds"] == (0.0, 1.0)
    built = Budgeted(perturbation="linf", unit="std").build_set(9.0, SCALE, room)
    image = torch.from_numpy(clean)[None]
    moved = built.apply(image, built.project(image, torch.full_like(image, 9.0)))
    assert float(moved.max()) <= 1
    assert torch.equal(moved[~room["region"]], image[~room["region"]])
    assert Budgeted(perturbation="deformation").build_set(1.0, SCALE, room).region is None, "all tissue moves"


def test_prepared_files_hold_every_change(tiny_run, prepared_phantom):
    cases = load_cases(prepared_phantom)
    assert room_of(CaseSource(cases, load_model(tiny_run).card).load(cases[4])) == {}
